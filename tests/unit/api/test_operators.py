"""Accounts for the operators' pages."""

from django.contrib.auth.models import User
from django.test import Client

from tests.unit.api.conftest import Person

OTTO = {"name": "otto", "password": "a long enough one"}


def test_an_operator_makes_an_account_and_changes_its_password(operator: Person) -> None:
    assert operator.call("POST", "operators", OTTO) == (201, {"name": "otto"})
    assert operator.call("POST", "operators", {**OTTO, "password": "another long one"})[0] == 201
    user = User.objects.get(username="otto")
    assert user.is_staff and user.check_password("another long one")


def test_a_customer_makes_no_operator(owner: Person, nobody: Person) -> None:
    assert owner.call("POST", "operators", OTTO)[0] == 403
    assert nobody.call("POST", "operators", OTTO)[0] == 401
    assert not User.objects.exists()


def test_a_short_password_or_a_strange_name_is_refused(operator: Person) -> None:
    assert operator.call("POST", "operators", {**OTTO, "password": "short"})[0] == 422
    assert operator.call("POST", "operators", {**OTTO, "name": "Otto!"})[0] == 422
    assert not User.objects.exists()


def test_a_customers_site_beside_the_apis_can_plant_no_cookie(operator: Person) -> None:
    """Browsers take a __Host- name from its own host alone, and only if it is set like this."""
    operator.call("POST", "operators", OTTO)
    environ = {"insula.door": "public", "HTTPS": "on"}
    client = Client()
    form = {"username": OTTO["name"], "password": OTTO["password"]}
    client.get("/admin/login/", **environ)  # type: ignore[arg-type]  # extra META keys
    client.post("/admin/login/", form, **environ)  # type: ignore[arg-type]  # extra META keys
    assert set(client.cookies) == {"__Host-csrf", "__Host-session"}
    for cookie in client.cookies.values():
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
