"""A guest: Debian on a User Mode Linux kernel, which runs as an ordinary process of this machine.

Nothing of it is left when this process ends, however it ends: each part dies with its parent.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.vm import packs

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD_IMAGE = Path(__file__).parent / "build-image"
CACHE = Path("/var/cache/insula")
ADDRESS, GATEWAY = "10.77.0.11", "10.77.0.1"
MEMORY = "3G"
BOOT_SECONDS = 60.0
BOOT_TRIES = 3
STOP_SECONDS = 20.0
_WITH_US = ["setpriv", "--pdeathsig", "KILL"]
_NOT_COPIED = (".venv", ".git", ".types", "__pycache__", ".mypy_cache", ".ruff_cache")
_SSH_OPTIONS = (
    "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes",
    "ConnectTimeout=5", "ServerAliveInterval=15", "ServerAliveCountMax=8", "LogLevel=ERROR",
)  # fmt: skip
_HANDED_OVER = (
    "PIP_", "SSL_CERT_", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy",
    "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip


def image_directory() -> Path:
    """Where kernel and disks are kept between runs."""
    return Path(os.environ.get("INSULA_VM", CACHE / "vm"))


def build_image(suite: str) -> None:
    """Make kernel and disk if they are missing."""
    subprocess.run([BUILD_IMAGE, image_directory(), suite], check=True)


class GuestError(Exception):
    """The guest did not boot or does not answer."""


@dataclass(slots=True)
class Guest:
    """A running guest."""

    suite: str
    work: Path
    network: "subprocess.Popen[bytes]"
    machine: "subprocess.Popen[bytes] | None" = None
    boot_seconds: float = 0.0

    def run(
        self, command: str, *, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of root's shell in the guest, with the settings that it was handed."""
        line = f"set -a; . /etc/environment; set +a; {command}"
        done = subprocess.run(
            [*_within(self.network), *self._ssh(), line],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done

    def _ssh(self) -> list[str]:
        options = [f"-o{option}" for option in _SSH_OPTIONS]
        key = image_directory() / "id"
        return ["ssh", "-F", "none", "-i", str(key), *options, f"root@{ADDRESS}", "--"]

    def answers(self) -> bool:
        try:
            return self.run("true", check=False, timeout=10).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def reboot(self) -> float:
        """Boot the same disk again; return the seconds until ssh answers."""
        before = self.run("cat /proc/sys/kernel/random/boot_id").stdout
        self.run("(sleep 0.3; systemctl reboot) >/dev/null 2>&1 &")
        start = time.monotonic()
        while time.monotonic() - start < 2 * BOOT_SECONDS:
            time.sleep(0.5)
            if self.answers() and self.run("cat /proc/sys/kernel/random/boot_id").stdout != before:
                return time.monotonic() - start
        raise GuestError(f"no ssh after the reboot\n{self.console()}")

    def cut_power(self) -> float:
        """End the kernel in the middle of what it does, boot again; the seconds until ssh answers.

        What only the guest's memory had is gone, as it is on a real machine.
        """
        assert self.machine is not None
        self.machine.kill()
        self.machine.wait()
        _boot_with_retries(self, fresh=False)
        return self.boot_seconds

    def console(self) -> str:
        """The last lines that the kernel and systemd wrote."""
        lines = (self.work / "console.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-20:])

    def stop(self) -> None:
        """Shut down, or kill what does not; idempotent."""
        if self.machine is None:
            return
        if self.machine.poll() is None:
            try:
                self.run("systemctl poweroff", check=False, timeout=10)
                self.machine.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.machine.kill()
        self.machine.wait()
        self.machine = None


@contextmanager
def guest(suite: str) -> Iterator[Guest]:
    """Boot a guest with a copy of the checkout at /root/insula; stop it whatever happens."""
    with tempfile.TemporaryDirectory(prefix="insula-guest-") as place, _network() as network:
        work = Path(place)
        _share(work / "share", suite)
        running = Guest(suite, work, network)
        try:
            _boot_with_retries(running)
            _bring_in(running)
            yield running
        finally:
            running.stop()


def _within(network: "subprocess.Popen[bytes]") -> list[str]:
    return ["nsenter", f"--net=/proc/{network.pid}/ns/net", "--"]


_LET_GO = """
    for point in $(cut -d' ' -f2 /proc/self/mounts | grep -E '/(lib|run)/insula(/|$)'); do
        umount --lazy "$point" 2>&-
    done
    exec "$@"
"""


@contextmanager
def _network() -> Iterator["subprocess.Popen[bytes]"]:
    """A network namespace: a veth pair for the guest, and slirp4netns as its way out."""
    # unshare becomes sleep, so this process is the one that holds the namespace.
    holder = subprocess.Popen([*_WITH_US, "unshare", "--net", "--", "sleep", "infinity"])
    way_out = None
    try:
        _until(lambda: _is_apart(holder.pid), 10, "a network namespace")
        # Long packets put together by the host's offloading do not pass a raw socket.
        script = f"""
            ip link set lo up
            ip link add gate type veth peer name port
            ip link set gate gso_max_segs 1
            ip link set port gso_max_segs 1
            ip address add {GATEWAY}/24 dev gate
            ip link set gate up
            ip link set port promisc on up
            echo 1 > /proc/sys/net/ipv4/ip_forward
            nft add table ip guest
            nft 'add chain ip guest out {{ type nat hook postrouting priority 100; }}'
            nft add rule ip guest out oifname egress masquerade
        """
        subprocess.run([*_within(holder), "sh", "-ec", script], check=True)
        way_out = subprocess.Popen(
            [*_WITH_US, "slirp4netns", "--configure", "--mtu=1400", "--disable-host-loopback",
             str(holder.pid), "egress"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        show = [*_within(holder), "ip", "route", "show", "default"]
        _until(
            lambda: bool(subprocess.run(show, capture_output=True).stdout), 10, "slirp4netns' route"
        )
        yield holder
    finally:
        for process in (way_out, holder):
            if process is not None:
                process.send_signal(signal.SIGTERM)
                process.wait(10)


def _is_apart(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def _share(share: Path, suite: str) -> None:
    """What the guest finds at /share: the checkout, caches, and this machine's ways to packages."""
    etc = share / "etc"
    for name in ("ssl/certs", "apt/apt.conf.d", "apt/sources.list.d"):
        (etc / name).mkdir(parents=True)
    for name in ("resolv.conf", "ssl/certs/ca-certificates.crt", "pip.conf"):
        if (Path("/etc") / name).exists():
            shutil.copy(Path("/etc") / name, etc / name)
    for path in Path("/etc/apt/apt.conf.d").glob("*"):
        if any(word in path.read_text() for word in ("Acquire::http", "Acquire::https", "Proxy")):
            shutil.copy(path, etc / "apt/apt.conf.d")
    for name in ("sources.list", "sources.list.d/debian.sources"):
        if (Path("/etc/apt") / name).exists():
            text = (Path("/etc/apt") / name).read_text()
            for known in ("bookworm", "trixie"):
                text = text.replace(known, suite)
            (etc / "apt" / name).write_text(text)
    environment = {
        name: value
        for name, value in os.environ.items()
        # A directory of wheels lies outside of the guest.
        if name.startswith(_HANDED_OVER) and name != "PIP_FIND_LINKS"
    }
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items())
    (etc / "environment").write_text(lines)
    without = [f"--exclude={name}" for name in _NOT_COPIED]
    # Others may edit meanwhile: "file changed as we read it" is exit status 1 and no harm.
    done = subprocess.run(["tar", "-C", CHECKOUT, "-cf", share / "checkout.tar", *without, "."])
    assert done.returncode in (0, 1)
    if not os.environ.get("INSULA_VM_BARE"):
        (share / "cache").mkdir()
        if (CACHE / "uwsgi").is_dir():
            shutil.copytree(CACHE / "uwsgi", share / "cache/uwsgi")
        place = share / "cache/distros"
        place.mkdir(mode=0o700)
        disk = image_directory() / f"{suite}.img"
        shutil.copy2(packs.pack(suite, handed_over=etc / "apt", disk=disk), place)


def _boot_with_retries(running: Guest, *, fresh: bool = True) -> None:
    for attempt in range(BOOT_TRIES):
        try:
            _boot(running, fresh=fresh)
            return
        except GuestError:
            running.stop()
            if attempt == BOOT_TRIES - 1:
                raise


def _boot(running: Guest, *, fresh: bool) -> None:
    files = image_directory()
    shutil.rmtree(running.work / "uml", ignore_errors=True)
    if fresh:
        (running.work / "disk.cow").unlink(missing_ok=True)
    start = time.monotonic()
    with (running.work / "console.log").open("wb") as console:
        running.machine = subprocess.Popen(
            [
                *_WITH_US, *_within(running.network),
                # The kernel is many processes; all of them die with the first of this namespace.
                "unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--",
                # Copies of other nodes' mounts would hold their loop devices for as long as we run.
                "sh", "-c", _LET_GO, "sh",
                # On one core the switch between the guest's kernel and its programs is far cheaper.
                "taskset", "--cpu-list", str(max(os.sched_getaffinity(0))),
                files / "linux", *_kernel_words(running),
            ],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": "/dev/shm"},
        )  # fmt: skip
    while not running.answers():
        if running.machine.poll() is not None:
            raise GuestError(f"the guest ended\n{running.console()}")
        if time.monotonic() - start > BOOT_SECONDS:
            raise GuestError(f"no ssh after {BOOT_SECONDS} s\n{running.console()}")
        time.sleep(0.2)
    running.boot_seconds = time.monotonic() - start


def _kernel_words(running: Guest) -> list[str]:
    files, work = image_directory(), running.work
    return [
        f"mem={MEMORY}", "root=/dev/ubda", "rw", "rootfstype=ext4",
        f"ubd0={work}/disk.cow,{files}/{running.suite}.img",
        "vec0:transport=raw,ifname=port,mac=52:54:00:77:00:11",
        "con=null", "con0=null,fd:1", f"uml_dir={work}/uml/", "umid=guest",
        # The guest sees this directory of the machine and nothing above it.
        f"hostfs={work}/share",
        "seccomp=auto", "panic=1", "psi=1",
        "systemd.unified_cgroup_hierarchy=1", "cgroup_no_v1=all",
        f"guest.address={ADDRESS}", f"guest.gateway={GATEWAY}",
    ]  # fmt: skip


def _bring_in(running: Guest) -> None:
    running.run(
        "mkdir -p /root/insula /var/cache/insula"
        " && tar -C /root/insula -xf /share/checkout.tar --no-same-owner"
        # Links: a pack is read once, from where it is.
        " && { [ ! -d /share/cache ] || cp -rs /share/cache/. /var/cache/insula/; }"
    )


def keep_builds(running: Guest) -> None:
    """A uWSGI that was compiled in the guest, for its C library, serves the next guest."""
    made = running.work / "share/made"
    made.mkdir(exist_ok=True)
    running.run(
        "cd /var/cache/insula/uwsgi && for place in *; do"
        ' [ ! -f "$place/uwsgi" ] || [ -L "$place/uwsgi" ] || cp -r "$place" /share/made/; done'
    )
    for place in made.iterdir():
        if not (CACHE / "uwsgi" / place.name).exists():
            unfinished = CACHE / "uwsgi" / f".{place.name}.{os.getpid()}"
            shutil.copytree(place, unfinished)
            unfinished.rename(CACHE / "uwsgi" / place.name)


def _until(claim: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            raise GuestError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
