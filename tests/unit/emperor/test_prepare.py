"""Tokens of the shipped files: replaced all, unknown ones refused, no value can break out."""

from pathlib import Path

import pytest

from insula.emperor import prepare
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node, NodeSettings, Paths

NODE = Node(Paths(Path("/srv/one")), NodeSettings())


def values(node: Node = NODE) -> dict[str, str]:
    return prepare.tokens(node, venv=Path("/srv/one/venvs/abc"), cpu_count=2)


def test_every_shipped_file_has_known_tokens_only() -> None:
    package = prepare.shipped()
    sources = prepare._others(package) + prepare._services(package)
    assert len(sources) >= 4
    for name, _, source in sources:
        if name.endswith(".ini"):
            assert "@" not in prepare.replaced(source.read_text(), values(), name=name)


def test_an_unknown_token_is_named() -> None:
    with pytest.raises(PreparationError, match="x.ini: @secret@ is not a token"):
        prepare.replaced("a = @secret@", values(), name="x.ini")


def test_tokens_are_replaced_with_the_nodes_own_paths() -> None:
    text = prepare.replaced("@etc@/a @http_port@ @router_uid@", values(), name="x")
    assert text == "/srv/one/etc/insula/a 80 29991"


@pytest.mark.parametrize("root", ["/srv/a%b", "/srv/a b", "/srv/a\nexec:b", "/srv/$(id)"])
def test_a_root_that_uwsgi_would_interpret_is_refused(root: str) -> None:
    with pytest.raises(PreparationError, match="cannot stand in a uWSGI file"):
        values(Node(Paths(Path(root)), NodeSettings()))


def test_the_daemons_file_changes_with_the_environment() -> None:
    other = prepare.tokens(NODE, venv=Path("/srv/one/venvs/def"), cpu_count=2)
    text = (prepare.shipped() / "services/daemons.ini").read_text()
    assert prepare.replaced(text, values(), name="d") != prepare.replaced(text, other, name="d")


def test_the_file_that_waits_for_the_next_start_names_no_environment_of_today() -> None:
    text = (prepare.shipped() / "services/containers.ini").read_text()
    written = prepare.replaced(text, values(), name="containers.ini")
    assert "/venvs/" not in written
    assert f"{NODE.paths.venv}/bin/insula-configurator" in written


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node with the files of another release, whose programs lie in venvs/old."""
    monkeypatch.setattr("insula.emperor.lxcfs.lack", lambda: "not here")
    node = Node(Paths(tmp_path), NodeSettings())
    for name in ("old", "new"):
        programs = node.paths.venvs / name / "bin"
        programs.mkdir(parents=True)
        for program in ("configurator", "dominator", "collector"):
            (programs / f"insula-{program}").touch()
        (programs / "python").touch()
    today = of_environment(node, "old")
    for services in (False, True):
        prepare.install(node, today, running=None, services=services)
    for path in (node.paths.container_ini, *node.paths.services.glob("*.ini")):
        path.write_text(path.read_text() + "; an older release\n")
    (node.paths.services / "pages.ini").unlink()
    (node.paths.services / "gone.ini").write_text("; no longer shipped\n")
    (node.paths.inside / "vassal").write_text("old")
    return node


def of_environment(node: Node, name: str) -> dict[str, str]:
    return prepare.tokens(node, venv=node.paths.venvs / name, cpu_count=2)


def install_all(node: Node, running: prepare.Running | None) -> list[str]:
    given = of_environment(node, "new")
    found = []
    for services in (False, True):
        found += prepare.install(node, given, running=running, services=services)
    return found


def texts(node: Node) -> dict[str, str]:
    found = [node.paths.container_ini, *node.paths.services.glob("*.ini")]
    return {path.name: path.read_text() for path in found}


def test_below_another_uwsgi_no_file_changes_but_the_programs_in_it(installed: Node) -> None:
    before = texts(installed)
    changed = install_all(installed, prepare.Running(other_uwsgi=True))
    old, new = installed.paths.venvs / "old", installed.paths.venvs / "new"
    assert texts(installed) == {
        name: text.replace(str(old), str(new)) for name, text in before.items()
    }
    assert "services/daemons.ini (its programs)" in changed
    assert {"container.ini (waits)", "services/pages.ini (waits)", "services/gone.ini (waits)"} <= {
        *changed
    }
    # Read by the distros' uWSGI, not by ours.
    assert (installed.paths.inside / "vassal").read_text() != "old"
    assert install_all(installed, prepare.Running(other_uwsgi=True)) == [
        name for name in changed if name.endswith("(waits)")
    ]


def test_programs_that_the_new_release_lacks_stay_the_old_ones(installed: Node) -> None:
    (installed.paths.venvs / "new/bin/insula-collector").unlink()
    before = texts(installed)
    changed = install_all(installed, prepare.Running(other_uwsgi=True))
    assert texts(installed) == before
    assert "services/daemons.ini (its programs)" not in changed
    assert prepare.environments(installed.paths) == {installed.paths.venvs / "old"}


def test_below_the_same_uwsgi_only_what_would_end_containers_waits(installed: Node) -> None:
    changed = install_all(installed, prepare.Running())
    assert [name for name in changed if "(waits)" in name] == ["services/containers.ini (waits)"]
    assert "services/gone.ini (removed)" in changed
    assert "older release" not in installed.paths.container_ini.read_text()


def test_a_lost_file_is_written_again_while_the_node_runs(installed: Node) -> None:
    (installed.paths.services / "containers.ini").unlink()
    assert "services/containers.ini" in install_all(installed, prepare.Running())
    assert (installed.paths.services / "containers.ini").exists()


def test_what_waits_is_named_and_taken_up_before_the_next_start(installed: Node) -> None:
    running, given = prepare.Running(other_uwsgi=True), of_environment(installed, "new")
    install_all(installed, running)
    assert prepare.waiting(installed, given, running) == [
        "container.ini",
        *(f"services/{name}.ini" for name in (
            "containers", "daemons", "pages-absent", "pages", "router", "gone",
        )),
    ]  # fmt: skip
    prepare.take_up(installed, given)
    assert prepare.waiting(installed, given, running) == []
    assert not (installed.paths.services / "gone.ini").exists()
    assert not any("older release" in text for text in texts(installed).values())


def test_the_filter_is_written_once(tmp_path: Path) -> None:
    node = Node(Paths(tmp_path), NodeSettings())
    node.paths.etc.mkdir(parents=True)
    assert [prepare.install_seccomp(node) for _ in range(2)] == [True, False]
