"""Root's actions while the customer whose ground they are on swaps names under its hands.

A canary stands where a link leads: nothing of it may be touched, read or taken over, and root's
action ends in time.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from insula.configurator import actual
from insula.emperor.daemon import beat, trace
from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import KernelError
from insula.emperor.kernel import beneath, libc
from insula.emperor.kernel.beneath import hold
from insula.emperor.settings import Paths
from insula.emperor.storage import driver, ioctl
from tests.kernel.machine import fresh_node
from tests.kernel.swapping import SECRET, UID, Canary, Count, busy, lay, lease, swapping
from tests.patience import BUSY

pytestmark = pytest.mark.kernel

SECONDS = 0.8
OWN = "what the customer's app has printed\n"


def again_and_again(
    act: Callable[[], object], swapped: Count, *, enough: Callable[[], object] | None = None
) -> None:
    """Do ``act`` while names are swapped, until it was done and refused; each time it ends soon."""
    done = refused = 0
    begin = time.monotonic()
    while True:
        begun = time.monotonic()
        try:
            act()
            done += 1
        except (KernelError, OSError):
            refused += 1
        now = time.monotonic()
        assert now - begun < 1.0 * BUSY
        saw_both = enough() if enough else done and refused
        if now - begin > SECONDS and saw_both and swapped() > 100:
            break
        # A busy machine may let one of the two wait; not so long.
        assert now - begin < 20 * BUSY, f"{done} done, {refused} refused, {swapped()} swaps"
    print(f"{done} done, {refused} refused, {swapped()} swaps")


def test_whoever_walks_by_name_loses(home: Path, canary: Canary) -> None:
    """Else the other tests would show nothing: this customer is fast enough."""
    (home / "logs").mkdir()
    (home / "logs/emperor.log").write_text(OWN)
    lay(home, canary, "link")
    read: set[str] = set()
    end = time.monotonic() + 5 * BUSY
    log = home / "logs/emperor.log"
    with swapping(home, "logs", "link"):
        while SECRET not in read or canary.is_untouched():
            assert time.monotonic() < end
            with suppress(FileNotFoundError):
                if not log.parent.is_symlink():
                    read.add(log.read_text())
                if not log.parent.is_symlink():
                    os.chown(log.parent, UID, UID)


@pytest.mark.parametrize("path", ["logs", "logs/deeper"])
def test_root_makes_and_gives_away_only_what_is_in_the_home(
    home: Path, canary: Canary, path: str
) -> None:
    """Attack: a directory becomes a link between its mkdir and its chown."""
    (home / "logs").mkdir()
    others = [lay(home, canary, name).name for name in ("link", "pipe", "directory", "hard-link")]
    with swapping(home, "logs", *others) as swapped, hold(home) as held:
        again_and_again(lambda: held.make_directory(path, mode=0o755, uid=UID, gid=UID), swapped)
    assert canary.is_untouched()


def test_root_reads_only_the_customers_own_plain_file(home: Path, canary: Canary) -> None:
    """Attack: a log becomes a link, a pipe, a device, another name of somebody else's file."""
    (home / "logs").mkdir()
    log = home / "logs/emperor.log"
    log.write_text(OWN)
    os.chown(log, UID, UID)
    kinds = ("file-link", "pipe", "device", "hard-link", "directory", "socket", "nothing-long")
    others = [lay(home / "logs", canary, name).name for name in kinds]
    os.chown(home / "logs", UID, UID)
    found = set()
    with swapping(home / "logs", "emperor.log", *others) as swapped, hold(home) as held:
        again_and_again(
            lambda: found.add(held.read_end("logs/emperor.log", 4096, owner=UID)), swapped
        )
    assert found <= {OWN.encode(), bytes(4096)}


def test_root_reads_through_no_directory_that_became_a_link(home: Path, canary: Canary) -> None:
    """Attack: ~/logs becomes a link to a directory that has an emperor.log, too."""
    (home / "logs").mkdir()
    (home / "logs/emperor.log").write_text(OWN)
    other = lay(home, canary, "link").name
    found = set()
    with swapping(home, "logs", other) as swapped, hold(home) as held:
        again_and_again(lambda: found.add(held.read("logs/emperor.log", 4096)), swapped)
    assert found == {OWN.encode()}


def test_a_lease_does_not_let_root_wait(home: Path) -> None:
    """Attack: fcntl's F_SETLEASE, which lets whoever opens the file wait for 45 seconds."""
    (home / "log").write_text(OWN)
    os.chown(home / "log", UID, UID)
    with busy(home, lambda: lease("log")), hold(home) as held:
        wait_for_a_lease()
        begin = time.monotonic()
        with pytest.raises(KernelError, match="temporarily unavailable"):
            held.read("log", 10, owner=UID)
        assert time.monotonic() - begin < 1.0 * BUSY


def test_a_lease_on_the_signing_key_does_not_stop_the_configurator() -> None:
    """Attack: whoever owns the file that root looks at in each round lets it wait, again and again.

    So the key is root's, and one that an older release has given to its container is replaced.
    """
    with fresh_node("dir") as node:
        place = node.paths.keys(UID)
        place.mkdir(parents=True)
        key = place / "signing.pem"
        key.write_text("secret")
        os.chown(key, UID, UID)
        key.chmod(0o600)
        with busy(place, lambda: lease(key.name)):
            wait_for_a_lease()
            begin = time.monotonic()
            assert actual.read_bytes(key) is None
            write_atomic(key, b"secret", mode=0o440, group=UID)
            assert time.monotonic() - begin < 1.0 * BUSY
        assert actual.read_bytes(key) == b"secret"
        tries = (lambda: lease(key.name), lambda: os.chmod(key.name, 0o644))
        for act in tries:
            with busy(place, act) as count:
                time.sleep(0.2)
                assert count() == 0
        assert "LEASE" not in Path("/proc/locks").read_text()


def wait_for_a_lease() -> None:
    deadline = time.monotonic() + 5 * BUSY
    while b"LEASE" not in Path("/proc/locks").read_bytes():
        assert time.monotonic() < deadline


@contextmanager
def server(path: Path) -> Iterator[list[int]]:
    """A UNIX socket; the list grows by one with each connection."""
    came: list[int] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen(128)
        stopping = threading.Event()

        def accept() -> None:
            listening.settimeout(0.05)
            while not stopping.is_set():
                try:
                    listening.accept()[0].close()
                    came.append(1)
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield came
        finally:
            stopping.set()
            thread.join()


def test_root_connects_to_no_socket_that_a_link_leads_to(home: Path, tmp_path: Path) -> None:
    """Attack: the API's container puts a link to another program's socket where its own was."""
    path, other = home / "api.sock", tmp_path / "other.sock"
    (home / "link").symlink_to(other)
    (home / "plain").write_text("")
    os.mkfifo(home / "pipe")
    with server(path) as own, server(other) as others:
        with swapping(home, "api.sock", "link", "pipe", "plain") as swapped:

            def ask() -> None:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(1.0)
                    beneath.connect(connection, path)

            again_and_again(ask, swapped)
        assert own and not others


def test_an_operator_reads_no_other_file_as_a_trace(tmp_path: Path) -> None:
    """Attack: the gate, should it be taken over, lays a link or a pipe where its trace was."""
    paths = Paths(tmp_path)
    written = trace.Trace(paths, "dominator")
    written.step(UID, "routed", detail="own")
    place = paths.trace("dominator", UID)
    secret = tmp_path / "secret.jsonl"
    secret.write_text(place.read_text().replace("own", "secret"))
    (place.parent / "link").symlink_to(secret)
    os.mkfifo(place.parent / "pipe")
    os.chown(place.parent, UID, UID)
    found: set[str] = set()
    with swapping(place.parent, place.name, "link", "pipe") as swapped:
        again_and_again(
            lambda: found.update(item.detail for item in trace.read(paths, UID)),
            swapped,
            enough=lambda: found,
        )
    assert found == {"own"}


def test_a_pipe_in_its_beats_place_holds_no_daemon(tmp_path: Path) -> None:
    """Attack: another daemon, should it be taken over, knows the name of the next file."""
    sign = beat.Beat(tmp_path)
    os.mkfifo(sign.path)
    begin = time.monotonic()
    sign()
    assert time.monotonic() - begin < 1.0 * BUSY


def test_figures_come_from_the_kernel_and_not_from_names(tmp_path: Path) -> None:
    """Attack: a subvolume whose name is a line of the table that a program would print."""
    with fresh_node("btrfs") as node:
        storage = driver(node)
        storage.prepare()
        for uid in (UID, UID + 1):
            storage.create_container(uid, 32 << 20)
        home = node.paths.containers / str(UID) / "home"
        ioctl.create_subvolume(home / f"x\n1{chr(0x2215)}{UID + 1} 7 7 7 x\n1")
        assert storage.limits() == {UID: 32 << 20, UID + 1: 32 << 20}
        (home / "file").write_bytes(os.urandom(8 << 20))
        libc.call("sync", about="writing all")
        used = storage.used_bytes()
        assert 8 << 20 <= used[UID] <= 10 << 20
        assert used[UID + 1] < 1 << 20


GUARDED = """
import os, subprocess, shutil, socket, sys
from pathlib import Path
from insula.emperor.errors import KernelError
from insula.emperor.kernel.beneath import hold, refuse_paths
from insula.emperor.settings import Paths
paths = Paths(Path(sys.argv[1]))
refuse_paths(paths)
home = paths.containers / "30001/home"
sock = paths.api_operator / "api.sock"
acts = [
    lambda: open(home / "file"), lambda: (home / "file").read_text(), lambda: os.listdir(home),
    lambda: list(home.iterdir()), lambda: os.chown(home / "file", 0, 0),
    lambda: (home / "file").unlink(), lambda: shutil.rmtree(home), lambda: os.mkdir(home / "new"),
    lambda: (home / "file").rename(home / "other"), lambda: os.symlink("x", home / "new"),
    lambda: subprocess.run(["ls", str(home)], check=True), lambda: os.chdir(home),
    lambda: socket.socket(socket.AF_UNIX).connect(str(sock)), lambda: os.utime(home / "file"),
    lambda: open(f"{paths.containers}/30001/../30001/home/file"), lambda: os.truncate(home, 0),
    lambda: open(paths.apps / "30001/home/file"), lambda: open(os.fsencode(home / "file")),
]
passed = []
for number, act in enumerate(acts):
    try:
        act()
        passed.append(number)
    except KernelError:
        pass
with hold(paths.containers, "30001") as held:
    assert held.read("home/file", 100) == b"x"
assert sorted(os.listdir(paths.containers)) == ["30001"]
assert (paths.containers / "30001").is_dir()
print(passed)
"""


def test_a_program_of_roots_refuses_every_path_into_a_home(tmp_path: Path) -> None:
    """What no test has found in our code, or an operator has typed, is stopped when it runs."""
    paths = Paths(tmp_path)
    home = paths.containers / "30001/home"
    home.mkdir(parents=True)
    (home / "file").write_text("x")
    (paths.apps / "30001/home").mkdir(parents=True)
    paths.api_operator.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr
    assert (home / "file").read_text() == "x"


def test_the_customer_is_gone_after_a_test() -> None:
    """Else the next one would measure something else."""
    with busy(Path("/"), lambda: signal.pause()) as count:
        assert count() == 0
