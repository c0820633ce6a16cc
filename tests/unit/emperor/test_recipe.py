"""What a distro is made from: which packages, which may be missing, when a pack is stale."""

import re

import pytest

from insula.emperor import aptsources
from insula.emperor.distros import building, recipe, steps
from insula.emperor.distros.recipe import GROUPS, PACKAGES, Recipe
from insula.vassals.errors import InvalidValue


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aptsources, "host_suite", lambda: "bookworm")
    monkeypatch.setattr(aptsources, "host_sources", lambda suite: ())


def test_the_default_distro_has_every_group() -> None:
    made = recipe.recipe()
    for group in GROUPS:
        assert set(group.packages) <= set(made.packages), group.purpose
        assert set(group.optional) <= set(made.optional), group.purpose


def test_a_minimal_distro_has_none_of_them() -> None:
    made = recipe.recipe(minimal=True, include=("php-cli",))
    assert made.packages == (*PACKAGES, "php-cli")
    assert made.optional == ()


def test_every_name_can_stand_in_an_apt_pattern() -> None:
    made = recipe.recipe()
    for name in made.packages:
        assert re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name)
    for name in made.optional:
        # inside the quotes of ?name("…"), next to others
        assert re.compile(name) and not set(name) & set('"()|')


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ({"redis-server", "uwsgi-plugin-rack-ruby3.1"}, []),
        ({"uwsgi-plugin-rack-ruby3.3"}, ["redis-server"]),
        # a name that only begins like it is another package
        ({"redis-server", "uwsgi-plugin-rack-ruby3.1-doc"}, ["uwsgi-plugin-rack-ruby[0-9.]+"]),
    ],
)
def test_what_a_release_does_not_have_is_named(installed: set[str], missing: list[str]) -> None:
    made = Recipe("trixie", (), ("git",), ("redis-server", "uwsgi-plugin-rack-ruby[0-9.]+"))
    assert made.missing(installed) == missing


def test_optional_packages_become_one_pattern_that_never_fails() -> None:
    made = Recipe("trixie", (), ("git",), ("redis-server", "valkey-server"))
    assert building._optional(made) == [
        '--include=?and(?not(?virtual),?name("^(redis-server|valkey-server)$"))'
    ]
    assert building._optional(Recipe("trixie", (), ("git",))) == []


def test_another_plugin_or_list_is_another_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Recipe("trixie", (), ("git",))
    keys = {made.key(), Recipe("trixie", (), ("git",), ("nano",)).key()}
    monkeypatch.setattr(steps, "digest", lambda: "other")
    keys.add(made.key())
    assert len(keys) == 3


def test_a_package_that_is_no_name_is_refused() -> None:
    with pytest.raises(InvalidValue):
        recipe.recipe(include=("--install-recommends",))
