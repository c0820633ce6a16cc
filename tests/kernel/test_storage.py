"""The storage drivers on a real loop-mounted btrfs: limits hold for whatever a customer does."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from insula.configurator.reconcile import kernel_of
from insula.emperor.errors import KernelError, StorageError
from insula.emperor.kernel import mounts
from insula.emperor.kernel.beneath import hold, open_beneath
from insula.emperor.settings import Node
from insula.emperor.storage import Storage, driver, image, ioctl
from tests import places
from tests.kernel.machine import fresh_node

pytestmark = pytest.mark.kernel
MEBIBYTE = 1 << 20


@pytest.fixture
def node() -> Iterator[Node]:
    with fresh_node("btrfs") as found:
        driver(found).prepare()
        yield found


@pytest.fixture
def storage(node: Node) -> Storage:
    return kernel_of(node).storage


def as_customer(uid: int, work: Callable[[], int]) -> int:
    """What ``work`` answers (0 to 250) when it runs as the customer."""
    child = os.fork()
    if child == 0:
        answer = 255
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            answer = work()
        finally:
            os._exit(answer)
    answer = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert answer != 255
    return answer


def written_mebibytes(path: Path) -> int:
    """How much fits, up to 100 MiB."""
    written = 0
    try:
        with path.open("wb", buffering=0) as file:
            while written < 100 * MEBIBYTE:
                written += file.write(os.urandom(MEBIBYTE))
    except OSError:
        pass
    return written >> 20


def test_a_home_holds_what_its_limit_says_and_more_after_a_resize(
    node: Node, storage: Storage
) -> None:
    storage.create_container(30001, 32 * MEBIBYTE)
    home = places.home(node.paths, 30001)
    assert as_customer(30001, lambda: written_mebibytes(home / "one")) <= 32
    storage.resize(30001, 64 * MEBIBYTE)
    assert 16 <= as_customer(30001, lambda: written_mebibytes(home / "two")) <= 33
    assert 0 < storage.used_bytes()[30001] <= 64 * MEBIBYTE


def test_a_subvolume_made_inside_does_not_escape_the_limit(node: Node, storage: Storage) -> None:
    storage.create_container(30001, 32 * MEBIBYTE)
    home = places.home(node.paths, 30001)

    def work() -> int:
        ioctl.create_subvolume(home / "mine")
        return written_mebibytes(home / "mine/file")

    assert as_customer(30001, work) <= 32


def test_what_is_set_aside_can_be_purged_with_all_that_was_made_in_it(
    node: Node, storage: Storage
) -> None:
    storage.create_container(30001, 32 * MEBIBYTE)
    home = places.home(node.paths, 30001)

    def work() -> int:
        ioctl.create_subvolume(home / "mine")
        ioctl.create_subvolume(home / "mine/deeper")
        (home / "link").symlink_to("/etc")
        ioctl.set_readonly(home / "mine/deeper", readonly=True)
        return 0

    as_customer(30001, work)
    aside = storage.set_aside(30001, at=1000.0)
    assert aside == node.paths.removed / "30001-1000"
    assert storage.used_bytes() == {}
    storage.purge(aside)
    assert list(node.paths.removed.iterdir()) == []


def test_prepare_and_create_twice_is_once(node: Node, storage: Storage) -> None:
    storage.create_container(30001, 32 * MEBIBYTE)
    before = places.home(node.paths, 30001).stat()
    storage.prepare()
    storage.create_container(30001, 32 * MEBIBYTE)
    assert places.home(node.paths, 30001).stat() == before


def test_the_pool_comes_back_after_it_was_released(node: Node, storage: Storage) -> None:
    storage.create_container(30001, 32 * MEBIBYTE)
    storage.release()
    assert node.paths.pool not in mounts.points()
    storage.prepare()
    assert storage.limits() == {30001: 32 * MEBIBYTE}


def test_a_lost_image_is_no_reason_for_an_empty_pool(node: Node, storage: Storage) -> None:
    storage.release()
    aside = node.paths.pool_image.rename(node.paths.lib / "aside")
    with pytest.raises(StorageError, match="missing, and this node has had a pool"):
        storage.prepare()
    assert not node.paths.pool_image.exists()
    node.paths.pool_image.write_bytes(b"not a file system")
    with pytest.raises(StorageError, match="mounting"):
        storage.prepare()
    aside.rename(node.paths.pool_image)
    storage.prepare()


def test_an_image_is_reserved_where_there_is_room(node: Node, storage: Storage) -> None:
    """What is deleted inside stays reserved, and one that was made sparse is made whole."""
    image_file = node.paths.pool_image
    assert image.unbacked_bytes(image_file) == 0
    storage.create_container(30001, 64 * MEBIBYTE)
    home = places.home(node.paths, 30001)
    assert as_customer(30001, lambda: written_mebibytes(home / "one")) > 32
    (home / "one").unlink()
    storage.release()
    assert image.unbacked_bytes(image_file) == 0
    sparse = node.paths.lib / "sparse"
    with sparse.open("wb") as file:
        file.truncate(64 * MEBIBYTE)
    assert image.unbacked_bytes(sparse) == 64 * MEBIBYTE
    assert image.reserve(sparse)
    assert image.unbacked_bytes(sparse) == 0


def test_an_image_stays_sparse_where_it_would_take_the_disk(node: Node) -> None:
    sparse = node.paths.lib / "sparse"
    with sparse.open("wb") as file:
        file.truncate(1 << 43)
    assert not image.reserve(sparse)
    assert image.unbacked_bytes(sparse) > 1 << 42


def test_a_half_built_container_is_built_again(node: Node, storage: Storage) -> None:
    ioctl.create_subvolume(node.paths.containers / ".30001")
    storage.create_container(30001, 32 * MEBIBYTE)
    assert places.home(node.paths, 30001).is_dir()
    assert not (node.paths.containers / ".30001").exists()


def test_a_finished_distro_is_read_only_and_can_be_cloned_and_deleted(
    node: Node, storage: Storage
) -> None:
    tree, copy = node.paths.distros / ".new", node.paths.distros / "copy"
    storage.create_tree(tree)
    (tree / "file").write_text("x")
    storage.make_readonly(tree)
    with pytest.raises(OSError, match="Read-only"):
        (tree / "file").write_text("y")
    storage.clone_tree(tree, copy)
    assert (copy / "file").read_text() == "x"
    storage.delete_tree(tree)
    storage.delete_tree(tree)
    assert not tree.exists()


def test_a_pool_on_a_full_disk_is_refused_with_a_remedy(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from insula.emperor.storage import layout

    monkeypatch.setattr(
        os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    )
    with pytest.raises(StorageError, match="0 MiB free"):
        layout.check_free(node.paths.lib, 1)


def test_root_follows_no_link_below_a_home(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir(mode=0o700)
    home = tmp_path / "home"
    home.mkdir()
    (home / "logs").symlink_to(tmp_path / "victim")
    with hold(home) as held:
        for path in ("logs/x", "logs", "../victim"):
            with pytest.raises(KernelError):
                held.make_directory(path, mode=0o755, uid=30001, gid=30001)
        with pytest.raises(KernelError):
            open_beneath(held.fd, "/etc/passwd", os.O_RDONLY)
    assert (tmp_path / "victim").stat().st_uid == 0
    assert list((tmp_path / "victim").iterdir()) == []


def test_the_directory_driver_keeps_the_same_layout() -> None:
    with fresh_node("dir") as node:
        storage = driver(node)
        storage.prepare()
        storage.create_container(30001, 32 * MEBIBYTE)
        assert storage.used_bytes() == {30001: -1}
        assert storage.limits() == {}
        assert places.sockets(node.paths, 30001).stat().st_mode & 0o7777 == 0o2730
        aside = storage.set_aside(30001, at=1000.0)
        assert aside is not None
        storage.purge(aside)
        assert not aside.exists()
