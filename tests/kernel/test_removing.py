"""A customer's tree is deleted while its customer works against root, whatever is in it."""

import os
import resource
import time
from pathlib import Path

import pytest

from insula.emperor.errors import KernelError, StorageError
from insula.emperor.kernel import mounts
from insula.emperor.kernel.beneath import hold, remove_tree
from insula.emperor.storage import driver, ioctl, layout
from tests.kernel.machine import fresh_node
from tests.kernel.swapping import SECRET, UID, Canary, busy, grow, lay, swapping

pytestmark = pytest.mark.kernel

SECONDS = 0.8


def test_a_tree_is_deleted_whoever_swaps_names_in_it(home: Path, canary: Canary) -> None:
    """Attack: a directory becomes a link while rm goes down to it, and comes back meanwhile."""
    tree = home / "tree"
    rounds, swaps, end = 0, 0, time.monotonic() + 2 * SECONDS
    while time.monotonic() < end:
        grow(tree)
        for name in ("link", "pipe", "hard-link"):
            lay(tree / "d0", canary, name)
        with swapping(tree / "d0", "d1", "link", "d2", "pipe", "d3", "hard-link") as swapped:
            while not swapped():
                continue
            layout.remove_tree(tree)
            swaps += swapped()
        assert not tree.exists()
        rounds += 1
        canary.before = canary.look()  # a hard link more or less
    print(f"{rounds} trees, {swaps} swaps")
    assert (canary.place / "secret").read_text() == SECRET
    assert canary.place.stat().st_mode & 0o7777 == 0o700


def test_whoever_still_holds_a_directory_cannot_fill_it_for_ever(home: Path) -> None:
    """Attack: a process that lives on makes files faster than root deletes them."""
    grow(home / "tree")
    held = [os.open(home / "tree" / name, os.O_PATH) for name in (".", "d0", "d1/d2")]

    def fill() -> None:
        for fd in held:
            for number in range(20):
                os.close(os.open(f"new{number}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
            os.mkdir(f"more{time.monotonic_ns()}", dir_fd=fd)

    try:
        with busy(home, fill) as filled:
            while filled() < 10:
                time.sleep(0.01)
            begin = time.monotonic()
            layout.remove_tree(home / "tree")
            print(f"deleted in {time.monotonic() - begin:.2f} s, refilled {filled()} times")
    finally:
        for fd in held:
            os.close(fd)
    assert not (home / "tree").exists()


def test_a_tree_may_be_deeper_than_descriptors_paths_and_recursion(tmp_path: Path) -> None:
    """Attack: directories in one another, more than any of them allows."""
    depth, here = 5_000, os.getcwd()
    (tmp_path / "tree").mkdir()
    try:
        os.chdir(tmp_path / "tree")
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, limits[1]))
    try:
        begin = time.monotonic()
        layout.remove_tree(tmp_path / "tree")
        print(f"{depth} levels in {time.monotonic() - begin:.2f} s")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert list(tmp_path.iterdir()) == []


def test_what_is_mounted_in_a_tree_ends_its_deletion(home: Path, canary: Canary) -> None:
    """A mount that an operator, or a mistake, has left there is no part of the customer's tree."""
    grow(home / "tree")
    mounts.bind(str(canary.place), home / "tree/d2/d1")
    try:
        with pytest.raises(StorageError, match="deleting .*tree") as refused:
            layout.remove_tree(home / "tree")
        assert "unmount it" in str(refused.value.hint)
        with hold(home) as held, pytest.raises(KernelError, match="Invalid cross-device"):
            held.read("tree/d2/d1/secret", 100)
    finally:
        mounts.unmount(home / "tree/d2/d1", lazy=True)
    assert canary.is_untouched()
    layout.remove_tree(home / "tree")


@pytest.mark.parametrize("name", ["link", "file-link", "pipe", "hard-link", "device"])
def test_what_is_no_directory_is_deleted_itself(home: Path, canary: Canary, name: str) -> None:
    lay(home, canary, name)
    layout.remove_tree(home / name)
    assert list(home.iterdir()) == []
    assert (canary.place / "secret").read_text() == SECRET


@pytest.mark.parametrize("kind", ["dir", "btrfs"])
def test_what_is_set_aside_is_purged_under_the_hands_of_a_process_that_lived_on(
    kind: str, canary: Canary
) -> None:
    """Attack: a process that escaped its end still holds its home, and works in it."""
    with fresh_node("btrfs" if kind == "btrfs" else "dir") as node:
        storage = driver(node)
        storage.prepare()
        storage.create_container(UID, 64 << 20)
        home = node.paths.containers / str(UID) / "home"
        grow(home / "tree")
        (home / "link").symlink_to(canary.place)
        if kind == "btrfs":
            ioctl.create_subvolume(home / "own")
            ioctl.create_subvolume(home / "own/deeper")
            grow(home / "own/deeper/tree")
            ioctl.set_readonly(home / "own/deeper", readonly=True)
        with swapping(home, "tree", "link", "vassals") as swapped:
            while not swapped():
                time.sleep(0.01)
            aside = storage.set_aside(UID, at=1000.0)
            assert aside is not None
            begin = time.monotonic()
            storage.purge(aside)
            print(f"purged in {time.monotonic() - begin:.2f} s, {swapped()} swaps")
        assert list(node.paths.removed.iterdir()) == []
    assert canary.is_untouched()


def test_a_full_home_can_be_purged() -> None:
    """Neither the limit nor what a customer made of it keeps an operator from deleting it."""
    with fresh_node("btrfs") as node:
        storage = driver(node)
        storage.prepare()
        storage.create_container(UID, 16 << 20)
        home = node.paths.containers / str(UID) / "home"
        ioctl.create_subvolume(home / "own")
        grow(home / "own/tree", depth=2)
        with pytest.raises(OSError, match="[Qq]uota"), (home / "own/tree/big").open("wb") as file:
            while True:
                file.write(os.urandom(1 << 20))
                file.flush()
                os.fsync(file.fileno())
        aside = storage.set_aside(UID, at=1000.0)
        assert aside is not None
        storage.purge(aside)
        assert not aside.exists()


def test_a_removed_directory_of_the_gates_is_removed_whatever_is_in_it(
    tmp_path: Path, canary: Canary
) -> None:
    """Attack: the gate, should it be taken over, swaps names in <run>/subscribe/<uid>."""
    place = tmp_path / "subscribe"
    end, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        grow(place, breadth=2, depth=2)
        (place / "link").symlink_to(canary.place)
        with swapping(place, "d0", "link") as swapped:
            while not swapped():
                continue
            layout.remove_tree(place)
        rounds += 1
        assert not place.exists()
    assert rounds > 2
    assert canary.is_untouched()


def test_removing_what_is_not_there_is_no_fault(tmp_path: Path) -> None:
    layout.remove_tree(tmp_path / "nothing")
    layout.remove_tree(tmp_path / "nothing/below")
    top = os.open(tmp_path, os.O_PATH)
    try:
        remove_tree(top, "nothing")
    finally:
        os.close(top)
