"""What the configurator sees of the distros."""

from pathlib import Path

from insula.configurator.actual import (
    ContainerActual,
    extrausers_texts,
    firewall_file,
    loaded_firewall,
    observe_grounds,
)
from insula.emperor.distros import builds
from insula.emperor.distros.builds import Build
from insula.emperor.distros.upgrades import Upgrade
from insula.emperor.settings import Node, NodeSettings, Paths
from insula.vassals.spec import ContainerSpec
from tests.unit.configurator.examples import container


def node_with(tmp_path: Path, *names: str) -> Node:
    node = Node(Paths(tmp_path), NodeSettings())
    for name in names:
        etc = node.paths.distros / name / "etc"
        etc.mkdir(parents=True)
        (etc / "passwd").write_text(f"{name}\n")
        (etc / "group").write_text("g\n")
    return node


def stands_on(node: Node, spec: ContainerSpec, *, vassal: bytes | None = None) -> Build | None:
    """On which build the configurator wants it to stand."""
    written = spec.vassal.encode() if vassal is None else vassal
    containers = {spec.uid: ContainerActual(uid=spec.uid, vassal=written)}
    found = observe_grounds(node, [spec], containers).get(spec.uid)
    return found.build if found else None


def pin(node: Node, uid: int, build: Build) -> None:
    place = node.paths.boot_ini(uid)
    place.parent.mkdir(parents=True, exist_ok=True)
    line = f"hook-asap = mount:none {build.tree(node.paths)} /x bind\n"
    place.write_text(line)


def test_a_distro_that_is_still_being_built_is_none(tmp_path: Path) -> None:
    node = node_with(tmp_path, ".default.tmp")
    assert stands_on(node, container()) is None


def test_a_tree_at_the_distros_own_name_counts(tmp_path: Path) -> None:
    assert stands_on(node_with(tmp_path, "default"), container()) == Build("default", 0)


def test_a_crash_keeps_the_build_and_a_reboot_takes_the_current_one(tmp_path: Path) -> None:
    node = node_with(tmp_path, ".default+1", ".default+2")
    builds.make_current(node.paths, Build("default", 2))
    pin(node, 30001, Build("default", 1))
    assert stands_on(node, container()) == Build("default", 1)
    assert stands_on(node, container(), vassal=b"another generation") == Build("default", 2)


def test_while_an_upgrade_is_open_a_reboot_moves_nobody(tmp_path: Path) -> None:
    node = node_with(tmp_path, ".default+1", ".default+2")
    builds.make_current(node.paths, Build("default", 1))
    upgrade = Upgrade("default", 1, 2, "moving").saved(node.paths, "moving")
    pin(node, 30001, Build("default", 2))
    assert stands_on(node, container(), vassal=b"another generation") == Build("default", 2)
    upgrade.saved(node.paths, "done")
    assert stands_on(node, container(), vassal=b"another generation") == Build("default", 1)


def test_another_distro_is_taken_up_even_while_an_upgrade_is_open(tmp_path: Path) -> None:
    node = node_with(tmp_path, ".default+1", ".other+3")
    builds.make_current(node.paths, Build("default", 1))
    Upgrade("default", 1, 2, "moving").saved(node.paths, "moving")
    pin(node, 30001, Build("other", 3))
    assert stands_on(node, container()) == Build("default", 1)


def test_a_build_that_is_gone_holds_nobody(tmp_path: Path) -> None:
    node = node_with(tmp_path, ".default+2")
    builds.make_current(node.paths, Build("default", 2))
    pin(node, 30001, Build("default", 1))
    assert stands_on(node, container()) == Build("default", 2)


def test_a_damaged_text_is_read_as_another_text(tmp_path: Path) -> None:
    """An error here would end every round until a person removes the file."""
    node = node_with(tmp_path)
    for path in (firewall_file(node), node.paths.extrausers / "passwd"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\x00garbage")
    assert loaded_firewall(node, ask_kernel=False) == "\ufffd\x00garbage"
    assert extrausers_texts(node)["passwd"] == "\ufffd\x00garbage"
