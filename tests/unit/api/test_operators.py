"""Accounts for the operators' pages."""

from django.contrib.auth.models import User

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
