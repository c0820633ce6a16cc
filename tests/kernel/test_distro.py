"""Distros on the real kernel: finished trees are harmless, swaps are whole, users are respected."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from insula.emperor.distros import building, store
from insula.emperor.distros.recipe import Recipe
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node, NodeSettings, Paths
from insula.emperor.storage import driver
from insula.vassals.errors import InvalidValue

pytestmark = pytest.mark.kernel


@pytest.fixture
def node() -> Iterator[Node]:
    for left in Path("/tmp").glob("insula-test-distro-*-*"):
        # what a test run that was killed has left
        if not Path("/proc", left.name.split("-")[3]).exists():
            driver(Node(Paths(left), NodeSettings())).release()
            shutil.rmtree(left)
    root = Path(tempfile.mkdtemp(prefix=f"insula-test-distro-{os.getpid()}-", dir="/tmp"))
    node = Node(Paths(root), NodeSettings(pool_bytes=1 << 30))
    try:
        node.paths.lib.mkdir(parents=True)
        node.paths.vassals.mkdir(parents=True)
        driver(node).prepare()
        yield node
    finally:
        driver(node).release()
        shutil.rmtree(root)


def pack(tmp_path: Path, word: str) -> Path:
    """A small packed tree with everything that a distro must not keep."""
    tree = tmp_path / f"tree-{word}"
    for name in ("etc/apt", "usr/bin", "var", "dev"):
        (tree / name).mkdir(parents=True)
    (tree / "word").write_text(word)
    (tree / "etc/apt/sources.list").write_text("deb http://user:secret@mirror.test x main\n")
    (tree / "etc/resolv.conf").symlink_to("/run/elsewhere")
    (tree / "usr/bin/su").write_text("")
    (tree / "usr/bin/su").chmod(0o6755)
    os.mknod(tree / "usr/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
    target = tmp_path / f"{word}.tar"
    shutil.make_archive(str(target.with_suffix("")), "tar", tree)
    return target


def build(node: Node, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "packed", lambda *_, fresh: packed)
    recipe = Recipe(suite="bookworm", sources=(), packages=("python3",))
    building.build(node, "one", recipe, lambda _: None)


def shown(node: Node) -> list[str]:
    """What lies in the directory of distros, without the builds' numbers."""
    names = sorted(path.name for path in node.paths.distros.iterdir())
    kinds = {True: "facts", False: "build"}
    return [kinds[name.endswith(".json")] if name.startswith(".one+") else name for name in names]


def test_a_finished_tree_holds_no_device_no_set_uid_and_no_secret(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(node, pack(tmp_path, "first"), monkeypatch)
    tree = node.paths.distros / "one"
    assert not (tree / "usr/disk").exists()
    assert stat.S_IMODE((tree / "usr/bin/su").stat().st_mode) == 0o755
    assert not (tree / "etc/apt/sources.list").exists()
    assert (tree / "etc/resolv.conf").is_file() and not (tree / "etc/resolv.conf").is_symlink()
    assert all((tree / place).is_dir() for place in ("containers", ".old_root", "opt/insula"))
    with pytest.raises(OSError, match="Read-only"):
        (tree / "word").write_text("changed")


def test_a_new_build_takes_the_old_ones_place(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(node, pack(tmp_path, "first"), monkeypatch)
    build(node, pack(tmp_path, "second"), monkeypatch)
    assert (node.paths.distros / "one/word").read_text() == "second"
    assert shown(node) == ["build", "facts", "one"]


def test_a_broken_build_leaves_the_good_one(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(node, pack(tmp_path, "first"), monkeypatch)
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no archive" * 1000)
    with pytest.raises(PreparationError, match="cannot be unpacked"):
        build(node, broken, monkeypatch)
    assert (node.paths.distros / "one/word").read_text() == "first"
    assert shown(node) == ["build", "facts", "one"]


def test_a_distro_in_use_is_not_removed(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(node, pack(tmp_path, "first"), monkeypatch)
    vassal = node.paths.vassals / "30007.ini"
    vassal.write_text("[uwsgi]\nset-ph = distro=one\n")
    with pytest.raises(store.DistroInUse, match="in use by 30007") as caught:
        store.remove(node, "one")
    assert caught.value.exit_code == 5
    vassal.unlink()
    store.remove(node, "one")
    assert store.listed(node) == []


@pytest.mark.parametrize("name", ["..", ".one", "a/b", "", "a b"])
def test_a_name_that_is_a_path_is_refused(node: Node, name: str) -> None:
    with pytest.raises(InvalidValue):
        store.remove(node, name)
