"""The ways to run a container that are measured beside each other, all from the same root tree."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import machine

# Every process of a peer's container carries this in its command line: a killed run is found by it.
MARK = "insula-peer-"
START_SECONDS = 20.0
PEERS_PROGRAMS = {"conmon", "podman", "crun", "runc", "lxc-start", "systemd-nspawn", "bwrap"}
UWSGI = (
    "/usr/bin/uwsgi", "--master", "--plugin", "python3", "--wsgi-file", "/mnt/app.py",
    "--processes", "1", "--chmod-socket=666", "--disable-logging",
)  # fmt: skip
APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "6")])
    return [b"hello\\n"]
"""


class CannotRun(Exception):
    """A peer that this machine cannot run; the text says why."""


@dataclass
class Place:
    """One directory for everything: root tree, directory shared with the containers, state."""

    path: Path

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def shared(self) -> Path:
        """Seen as /mnt in every peer's container."""
        return self.path / "shared"

    def fill(self, distro: Path) -> None:
        """Lay an overlay over the distro: peers write mount points into their root tree, and ours
        must not change."""
        self.shared.mkdir(parents=True)
        self.shared.chmod(0o777)
        (self.shared / "app.py").write_text(APP)
        for name in ("root", "upper", "work"):
            (self.path / name).mkdir()
        # A distro's name is a link to one of its builds.
        layers = f"lowerdir={distro.resolve(strict=True)}"
        layers += f",upperdir={self.path}/upper,workdir={self.path}/work"
        run(["mount", "-t", "overlay", "-o", layers, "overlay", str(self.root)])


class Engine(ABC):
    """Starts, enters and ends containers by name; ``start`` returns when the process in it runs."""

    name: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    version_words: tuple[str, ...]
    features: str

    def __init__(self, place: Place) -> None:
        self.place = place

    def version(self) -> str:
        done = subprocess.run(self.version_words, capture_output=True, text=True, timeout=20)
        lines = (done.stdout or done.stderr).splitlines()
        return lines[0].strip() if lines else "unknown"

    def missing(self) -> list[str]:
        return [program for program in self.programs if shutil.which(program) is None]

    @abstractmethod
    def launch(self, name: str, argv: Sequence[str]) -> None:
        """Run a command in a new container."""

    @abstractmethod
    def enter(self, name: str) -> None:
        """Run /bin/true in a running container, the way its user opens a shell."""

    @abstractmethod
    def stop(self, name: str) -> None:
        """End a container without grace; return when nothing of it runs."""

    def start_idle(self, name: str) -> None:
        told = self.place.shared / f"{name}.up"
        told.unlink(missing_ok=True)
        self.launch(name, ("/bin/sh", "-c", f"echo > /mnt/{name}.up; exec sleep 100000"))
        self._until(told.exists, name)

    def start_app(self, name: str) -> None:
        """Return when the app has answered over HTTP on its UNIX socket."""
        path = self.place.shared / f"{name}.sock"
        path.unlink(missing_ok=True)
        self.launch(name, (*UWSGI, "--http-socket", f"/mnt/{name}.sock"))
        self._until(lambda: answers(path), name)

    def _until(self, found: Callable[[], bool], name: str) -> None:
        try:
            machine.until(found, START_SECONDS, f"{self.name} starts {name}")
        except TimeoutError as error:
            raise CannotRun(str(error)) from error

    def processes(self) -> set[int]:
        """Everything that runs only because this engine's containers do."""
        return machine.mentioning(MARK)

    @abstractmethod
    def clean(self) -> None:
        """End every container of this bench, of a killed run too."""


def run(argv: Sequence[str], *, timeout: float = START_SECONDS) -> None:
    """Run to the end; a failure is the peer's reason, in the words that it gave."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise CannotRun(f"{argv[0]} did not end within {timeout:g} s") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise CannotRun(words[-1] if words else f"{argv[0]}: exit status {done.returncode}")


# crun refuses a machine with both cgroup versions; in a mount namespace of its own it sees one.
WITHOUT_HYBRID_CGROUPS = (
    (
        "unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
        'umount /sys/fs/cgroup/unified && exec "$@"', "sh",
    )
    if Path("/sys/fs/cgroup/unified/cgroup.procs").exists()
    else ()
)  # fmt: skip
OPEN_FILES = 4096


class Podman(Engine):
    """Debian's podman with one OCI runtime; no network but lo, which favours it."""

    programs: tuple[str, ...] = ("podman", "conmon")
    version_words = ("podman", "--version")
    features = "seccomp, capabilities dropped, memory and pids limit, network: lo alone"

    def __init__(self, place: Place, runtime: str) -> None:
        super().__init__(place)
        self.name, self.runtime = f"podman + {runtime}", runtime
        self.packages = ("podman", runtime)
        self.programs = ("podman", "conmon", runtime)

    def version(self) -> str:
        done = subprocess.run([self.runtime, "--version"], capture_output=True, text=True)
        return f"{super().version()}, {done.stdout.splitlines()[0]}"

    def _podman(self, *words: str) -> list[str]:
        state = self.place.path / f"podman-{self.runtime}"
        return [
            *WITHOUT_HYBRID_CGROUPS, "podman",
            "--root", f"{state}/storage", "--runroot", f"{state}/run", "--tmpdir", f"{state}/tmp",
            "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", self.runtime,
            *words,
        ]  # fmt: skip

    def launch(self, name: str, argv: Sequence[str]) -> None:
        # podman would raise both limits, which a machine without CAP_SYS_RESOURCE refuses.
        limits = [f"--ulimit={kind}={OPEN_FILES}:{OPEN_FILES}" for kind in ("nofile", "nproc")]
        run(
            self._podman(
                "run", "--detach", f"--name={name}", "--network=none", "--log-driver=none",
                *limits, "--memory=256m", "--pids-limit=512",
                f"--volume={self.place.shared}:/mnt", "--rootfs", str(self.place.root), *argv,
            )
        )  # fmt: skip

    def enter(self, name: str) -> None:
        run(self._podman("exec", name, "/bin/true"))

    def stop(self, name: str) -> None:
        run(self._podman("rm", "--force", "--time=0", name))

    def clean(self) -> None:
        if not self.missing() and (self.place.path / f"podman-{self.runtime}").exists():
            run(self._podman("rm", "--force", "--all", "--time=0"), timeout=120)


class Lxc(Engine):
    name = "lxc"
    packages = ("lxc",)
    programs = ("lxc-start", "lxc-attach", "lxc-stop")
    version_words = ("lxc-start", "--version")
    features = "memory and pids limit, no seccomp profile, network: lo alone"

    def _words(self, program: str, name: str) -> list[str]:
        return [program, "-P", str(self.place.path / "lxc"), "-n", name]

    def launch(self, name: str, argv: Sequence[str]) -> None:
        config = self.place.path / "lxc" / name / "config"
        config.parent.mkdir(parents=True, exist_ok=True)
        if Path("/sys/fs/cgroup/cgroup.controllers").exists():
            memory = "lxc.cgroup2.memory.max = 256M\nlxc.cgroup2.pids.max = 512\n"
        else:
            memory = "lxc.cgroup.memory.limit_in_bytes = 256M\nlxc.cgroup.pids.max = 512\n"
        config.write_text(
            f"lxc.rootfs.path = dir:{self.place.root}\nlxc.uts.name = {name}\n"
            "lxc.net.0.type = empty\nlxc.mount.auto = proc:mixed sys:ro\nlxc.autodev = 1\n"
            f"lxc.mount.entry = {self.place.shared} mnt none bind 0 0\n{memory}"
        )
        run([*self._words("lxc-start", name), "--", *argv])

    def enter(self, name: str) -> None:
        run([*self._words("lxc-attach", name), "--", "/bin/true"])

    def stop(self, name: str) -> None:
        run([*self._words("lxc-stop", name), "-k"])

    def clean(self) -> None:
        for config in (self.place.path / "lxc").glob(f"{MARK}*/config"):
            subprocess.run(
                [*self._words("lxc-stop", config.parent.name), "-k"], capture_output=True
            )


class Held(Engine):
    """A peer without a daemon of its own: its command stays in the foreground and is held here."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.held: dict[str, subprocess.Popen[bytes]] = {}

    @abstractmethod
    def words(self, name: str) -> list[str]:
        """The command line up to what is run."""

    def launch(self, name: str, argv: Sequence[str]) -> None:
        log = (self.place.path / f"{name}.log").open("wb")
        with log:
            self.held[name] = subprocess.Popen(
                [*self.words(name), *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _until(self, found: Callable[[], bool], name: str) -> None:
        def found_or_ended() -> bool:
            return found() or self.held[name].poll() is not None

        machine.until(found_or_ended, START_SECONDS, f"{self.name} starts {name}")
        if not found():
            lines = (self.place.path / f"{name}.log").read_text(errors="replace").splitlines()
            raise CannotRun(lines[-1] if lines else f"{self.name} ended at once")

    def enter(self, name: str) -> None:
        """With nsenter: these have no command of their own for it without systemd."""
        inner = max(machine.with_descendants([self.held[name].pid]))
        run(["nsenter", f"--target={inner}", "--all", "/bin/true"])

    def stop(self, name: str) -> None:
        process = self.held.pop(name)
        for pid in machine.with_descendants([process.pid]) - {process.pid}:
            _kill(pid)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    def clean(self) -> None:
        for name in list(self.held):
            self.stop(name)


class Nspawn(Held):
    name = "systemd-nspawn"
    packages = ("systemd-container",)
    programs = ("systemd-nspawn",)
    version_words = ("systemd-nspawn", "--version")
    features = "seccomp, capabilities dropped, no cgroup limits without systemd, network: lo alone"

    def words(self, name: str) -> list[str]:
        return [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
            f"--machine={name}", "--as-pid2", f"--bind={self.place.shared}:/mnt",
            "--link-journal=no", "--resolv-conf=off", "--timezone=off",
            # Two of them may not share one tree otherwise: each takes a lock on it.
            "--volatile=no", "--read-only", f"--directory={self.place.root}",
        ]  # fmt: skip


class Bubblewrap(Held):
    name = "bubblewrap"
    packages = ("bubblewrap",)
    programs = ("bwrap",)
    version_words = ("bwrap", "--version")
    features = "namespaces alone: no seccomp, no cgroup limits, network: lo alone"

    def words(self, name: str) -> list[str]:
        return [
            "bwrap", "--unshare-all", "--ro-bind", str(self.place.root), "/", "--proc", "/proc",
            "--dev", "/dev", "--tmpfs", "/tmp", "--bind", str(self.place.shared), "/mnt",
            "--setenv", "NAME", name, "--die-with-parent",
        ]  # fmt: skip


def remove_cgroups() -> None:
    """Remove what peers leave in the cgroup tree; one that is in use stays, as rmdir refuses it."""
    top = Path("/sys/fs/cgroup")
    for hierarchy in (top, *(path for path in top.iterdir() if path.is_dir())):
        found = [*hierarchy.glob(f"lxc.*{MARK}*"), hierarchy / "lxc.pivot"]
        for path in (*found, *hierarchy.glob("libpod_parent/*"), hierarchy / "libpod_parent"):
            with contextlib.suppress(OSError):
                path.rmdir()


def _is_a_peers(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe").rpartition("/")[2] in PEERS_PROGRAMS
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def answers(path: Path) -> bool:
    """Whether a page comes over HTTP from a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\nHost: bench\r\n\r\n")
            return b" 200 " in client.recv(64)
        except OSError:
            return False


def end_leftovers() -> None:
    """Kill what a killed run left: a peer's own programs with the mark in their line, all below."""
    tops = [pid for pid, line in machine.commands().items() if MARK in line and _is_a_peers(pid)]
    for pid in machine.with_descendants(tops):
        _kill(pid)
    deadline = time.monotonic() + 5
    while any(map(_is_a_peers, tops)) and time.monotonic() < deadline:
        time.sleep(0.05)
