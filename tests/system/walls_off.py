"""Takes single walls of a throw-away node down, and puts them up again.

Where a daemon, sshd or the API is the wall, a few words of the installed code or file are replaced
and that one process starts again; where the doctor's own process is, its code is replaced there.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from insula.emperor import removed, storage
from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.traps.customer import customer
from insula.emperor.isolation.traps.homes import reboot
from insula.emperor.kernel import (
    cgroup,
    firewall,
    libc,
    lxcfs_group,
    mounts,
    namespaces,
    shares,
)
from insula.emperor.settings import Node as Settings
from insula.emperor.statistics import vassals_of
from insula.vassals import grammar, names, spec
from insula.vassals.errors import InsulaError
from insula.vassals.identity import API_UID
from tests.system import processes
from tests.system.conftest import CHECKOUT, until
from tests.system.wall_edits import API, ENTER, GATE, PAM, SSHD, Edit

_MS_REMOUNT, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 32, 2, 4, 8
_SECONDS = 60.0


# How each threat's walls come down, where not by the wall alone.
BY_PAM = {"tunnel-to-machine", "tunnel-to-socket", "copy-from-outside", "log-in-while-booting"}
BY_ENTER = {"link-logs", "look-like-first-process"}
IN_PROCESS = {"feed-hostile-names", "write-hostile-vassal", "link-home-folders"}


@contextlib.contextmanager
def quick_restarts(node: Settings) -> Iterator[None]:
    """Daemons that end soon after their start come again after a second, however often that was."""
    path = node.paths.services / "daemons.ini"
    kept = path.read_text()

    def write(text: str) -> None:
        old = _daemons(node, "insula-dominator")
        path.write_text(text)
        until(lambda: _has_other(node, old), _SECONDS, "the daemons have started again")

    write(kept.replace(",max_throttle=5", ",max_throttle=1"))
    try:
        yield
    finally:
        write(kept)


def _has_other(node: Settings, old: list[int]) -> bool:
    return bool(set(_daemons(node, "insula-dominator")) - set(old))


@contextlib.contextmanager
def down(made: Arena, threat: str, walls: tuple[str, ...]) -> Iterator[None]:
    """Take a threat's walls down on the arena's node, all at once. KeyError for an unknown one."""
    with contextlib.ExitStack() as stack:
        settle(made, but=starts_again(threat, set(walls)))
        left = set(walls)
        for wall in sorted(left & set(_OTHERS)):
            stack.enter_context(_OTHERS[wall](made))
            left.discard(wall)
        if threat in IN_PROCESS:
            for wall in left:
                stack.enter_context(_HERE[wall]())
        elif left:
            kind = _kind(threat, left)
            edits = [edit for wall in sorted(left) for edit in _TABLES[kind][wall]]
            stack.enter_context(_TAKERS[kind](made, edits))
        if threat == "log-in-while-booting":
            stack.enter_context(_slow_boot(made))
        yield


def starts_again(threat: str, walls: set[str]) -> str:
    """What these walls start anew by themselves."""
    if threat in IN_PROCESS or walls <= set(_OTHERS):
        return ""
    if "system-calls" in walls:
        return "sshd"
    kind = _kind(threat, walls)
    return {"pam": "sshd", "enter": ""}.get(kind, kind)


def _kind(threat: str, walls: set[str]) -> str:
    if threat in BY_PAM:
        return "pam"
    if threat in BY_ENTER:
        return "enter"
    return next(kind for kind, table in _TABLES.items() if walls <= set(table))


@contextlib.contextmanager
def _edited(place: Path, edits: list[Edit]) -> Iterator[None]:
    """The files with other words in them. AssertionError when they hold no such words."""
    kept = {edit.file: (place / edit.file).read_bytes() for edit in edits}
    try:
        for edit in edits:
            text = (place / edit.file).read_text()
            assert edit.old in text, f"{edit.file} no longer says {edit.old!r}"
            _write(place / edit.file, text.replace(edit.old, edit.new).encode())
        yield
    finally:
        for name, data in kept.items():
            _write(place / name, data)


def _write(path: Path, data: bytes) -> None:
    """In place, and without the compiled copy: Python compares whole seconds."""
    path.write_bytes(data)
    for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        cached.unlink()


@contextlib.contextmanager
def _gate(made: Arena, edits: list[Edit]) -> Iterator[None]:
    with _restarting(made, "gate"), _edited(_installed(made.node.paths.venv), edits):
        _restart_gate(made)
        yield


def _restart_gate(made: Arena) -> None:
    """The sockets of all containers are new ones when the new gate listens."""
    path = made.node.paths.subscribe(made.attacker.uid) / "http"
    before = path.stat().st_ino
    _kill_daemon(made, "insula-dominator")
    until(lambda: path.exists() and path.stat().st_ino != before, _SECONDS, "the gate listens")


@contextlib.contextmanager
def _sshd(made: Arena, edits: list[Edit]) -> Iterator[None]:
    own = [Edit(edit.file, edit.old, edit.new.replace("ATTACKER", str(made.attacker.uid)))
           for edit in edits]  # fmt: skip
    with _restarting(made, "sshd"), _edited(made.node.paths.ssh, own):
        _restart_sshd(made)
        yield


def _restart_sshd(made: Arena) -> None:
    """Sessions that are open stay; the new listener greets."""
    old = _kill_daemon(made, "/etc/ssh/sshd_config")

    def greets() -> bool:
        if old in _daemons(made.node, "/etc/ssh/sshd_config"):
            return False
        try:
            port = made.node.settings.ssh_port
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    until(greets, _SECONDS, "sshd greets")


@contextlib.contextmanager
def _pam(made: Arena, edits: list[Edit]) -> Iterator[None]:
    """The module without the wall, built from the checkout's source."""
    target = made.node.paths.lib / "pam_insula.so"
    source = made.node.paths.run / "isolation" / "keys" / "pam"
    shutil.copytree(CHECKOUT / "pam", source, ignore=shutil.ignore_patterns("*.so"))
    kept = target.read_bytes()
    try:
        with _edited(source, edits):
            built = source / "built.so"
            words = ["make", "-s", "-C", str(source), f"OUT={built}"]
            subprocess.run(words, check=True, capture_output=True, timeout=60)
            target.write_bytes(built.read_bytes())
        with _restarting(made, "sshd"):
            _restart_sshd(made)
            yield
    finally:
        target.write_bytes(kept)
        shutil.rmtree(source)


@contextlib.contextmanager
def _api(made: Arena, edits: list[Edit]) -> Iterator[None]:
    place = _installed(made.node.paths.api / "current" / "venv")
    with _restarting(made, "api"), _edited(place, edits):
        _restart_api(made)
        yield


def _restart_api(made: Arena) -> None:
    """A worker that is started again loads the app anew; the node's door stays."""
    old = _api_workers(made)
    for pid in old:
        os.kill(pid, signal.SIGKILL)

    def answers() -> bool:
        new = _api_workers(made)
        if not new or new & old:
            return False
        try:
            made.call("GET", "/api/v1/ping")
            with customer(made) as asking:
                return asking.ask("GET", "/api/v1/ping")[0] == 200
        except (InsulaError, OSError, http.client.HTTPException):
            return False

    until(answers, _SECONDS, "the API answers again")


def _api_workers(made: Arena) -> set[int]:
    """The processes that serve the public door of this node's API."""
    (group, *_) = made.node.paths.cgroups(API_UID).read_text().splitlines()
    pids = (Path(group) / "cgroup.procs").read_text().split()
    words = "insula-api public uWSGI worker"
    return {int(pid) for pid in pids if processes.command(int(pid)).startswith(words)}


@contextlib.contextmanager
def _enter(made: Arena, edits: list[Edit]) -> Iterator[None]:
    homes = str(made.node.paths.containers)
    own = [Edit(edit.file, edit.old, edit.new.replace("HOMES", homes)) for edit in edits]
    with _edited(_installed(made.node.paths.venv), own):
        yield


@contextlib.contextmanager
def _links_count(made: Arena) -> Iterator[None]:
    """The router's view without nosymfollow."""
    flags = mounts.MS_BIND | _MS_REMOUNT | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    path = made.node.paths.apps
    libc.call("mount", b"none", os.fsencode(path), None, flags, None, about="links count")
    try:
        yield
    finally:
        options = "remount,bind,nosuid,nodev,noexec,nosymfollow"
        subprocess.run(["mount", f"--options={options}", path], check=True, timeout=30)


@contextlib.contextmanager
def _all_system_calls(made: Arena) -> Iterator[None]:
    """A filter that allows everything, for the attacker's container and for new sessions."""
    path = made.node.paths.seccomp
    kept = path.read_bytes()
    path.write_bytes(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000))
    try:
        with _restarting(made, "sshd"):
            _restart_sshd(made)
            reboot(made)
            yield
    finally:
        path.write_bytes(kept)
        reboot(made)


@contextlib.contextmanager
def _no_own_log(made: Arena) -> Iterator[None]:
    """The container goes on writing where its boot wrote."""
    line = "hook-as-user = log:/containers/%(container)/logs/emperor.log\n"
    try:
        with _edited(made.node.paths.etc, [Edit("container.ini", line, "")]):
            reboot(made)
            yield
    finally:
        reboot(made)


@contextlib.contextmanager
def _slow_boot(made: Arena) -> Iterator[None]:
    """A boot that stays a second where the machine's files are still in sight."""
    line = "hook-asap = trace:cgroup-joined %(container) %(generation)\n"
    edit = Edit("container.ini", line, f"{line}hook-asap = exec:sleep 1\n")
    with _edited(made.node.paths.etc, [edit]):
        yield
    # without its wall a login works before the boot is over
    until(lambda: _has_booted(made), _SECONDS, "the container has booted")


def _has_booted(made: Arena) -> bool:
    uid = made.attacker.uid
    try:
        door = namespaces.find(made.node.paths.cgroups(uid), uid=uid)
    except InsulaError:
        return False
    os.close(door.pidfd)
    return True


@contextlib.contextmanager
def _restarting(made: Arena, kind: str) -> Iterator[None]:
    """Its files are put back behind us; it starts with them before the next other wall falls."""
    settle(made, but=kind)
    _dirty.add(kind)
    yield


def settle(made: Arena, *, but: str = "") -> None:
    """Start again whatever still runs with a wall down; ``but`` starts anyway."""
    for kind in sorted(_dirty - {but}):
        _RESTARTS[kind](made)
        _dirty.discard(kind)


def _kill_daemon(made: Arena, word: str) -> int:
    """End one attached daemon; uWSGI starts it again."""
    (pid,) = _daemons(made.node, word)
    os.kill(pid, signal.SIGTERM)
    return pid


def _daemons(node: Settings, word: str) -> list[int]:
    """The node's attached daemons whose command line has a word."""
    for item in vassals_of(node.paths.emperor_stats):
        if item["id"] == "daemons.ini":
            below = processes.children(int(str(item["pid"])))
            return [pid for pid in below if word in processes.command(pid)]
    return []


def _installed(venv: Path) -> Path:
    (place,) = venv.resolve().glob("lib/python3*/site-packages/insula")
    return place


# ---- the doctor's own process --------------------------------------------------------------------


@contextlib.contextmanager
def _any_names() -> Iterator[None]:
    as_it_is = mock.Mock(side_effect=lambda text, **_: text)
    with contextlib.ExitStack() as stack:
        for name in ("label", "timezone", "locale"):
            stack.enter_context(mock.patch.object(names, name, as_it_is))
        stack.enter_context(mock.patch.object(spec, "token", as_it_is))
        yield


@contextlib.contextmanager
def _any_grammar() -> Iterator[None]:
    """Further lines may follow."""
    lenient = re.compile(grammar._FORM.pattern + "(?s:.*)")
    with mock.patch.object(grammar, "_FORM", lenient):
        yield


@contextlib.contextmanager
def _links_are_followed() -> Iterator[None]:
    """What a container left is deleted by its paths first, as a script would."""
    real = storage.driver

    class Driver:
        def __init__(self, node: Settings) -> None:
            self.node = node

        def purge(self, tree: Path) -> None:
            for place, _, files in os.walk(tree, followlinks=True):
                for name in files:
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(place, name))
            real(self.node).purge(tree)

    with mock.patch.object(removed, "driver", Driver):
        yield


_TABLES = {"gate": GATE, "sshd": SSHD, "api": API, "enter": ENTER, "pam": PAM}
_TAKERS = {"gate": _gate, "sshd": _sshd, "api": _api, "enter": _enter, "pam": _pam}


@contextlib.contextmanager
def _small_tables(_made: Arena) -> Iterator[None]:
    """Queues of asynchronous input and output as few as a machine has by default."""
    table = Path("/proc/sys/fs/aio-max-nr")
    kept = table.read_text()
    table.write_text("65536")
    try:
        yield
    finally:
        table.write_text(kept)


@contextlib.contextmanager
def _uncounted(made: Arena) -> Iterator[None]:
    """Nobody counts connections."""
    table = made.node.nft_table
    firewall.load(f"delete table inet {firewall.connections_table(table)}\n")
    try:
        yield
    finally:
        assert firewall.limit_connections(table=table, prefix=made.node.link_prefix)


@contextlib.contextmanager
def _unlimited_lxcfs(made: Arena) -> Iterator[None]:
    """As much as the platform's other services."""
    groups = lxcfs_group.paths_of(cgroup.detect(made.node.cgroup_name))
    for group in groups:
        shares.weigh(group, shares.PLATFORM)
        for name, value in (("cpu.cfs_quota_us", "-1"), ("cpu.max", "max")):
            if (group / name).exists():
                (group / name).write_text(value)
    try:
        yield
    finally:
        lxcfs_group.limit(groups)


_RESTARTS = {"gate": _restart_gate, "sshd": _restart_sshd, "api": _restart_api}
# what runs with a wall down though its files are whole again
_dirty: set[str] = set()
_OTHERS = {
    "own-log": _no_own_log,
    "no-links": _links_count, "system-calls": _all_system_calls, "shared-tables": _small_tables,
    "connection-limit": _uncounted, "lxcfs-limit": _unlimited_lxcfs,
}  # fmt: skip
_HERE = {"names": _any_names, "grammar": _any_grammar, "beneath": _links_are_followed}
