"""One kind of noise, made inside a container as its customer: ``noise.py KIND SECONDS [WORDS]``.

It is copied into the container and uses nothing but Python. It prints ``@go`` when it has begun. It
ends when its standard input does, or after SECONDS, with all that it started and wrote: a container
whose pids are used up cannot be entered to stop it.
"""

import errno
import mmap
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

HOME = Path.home() / "noise"
MEBIBYTE = 1 << 20
CORES = 2


class Noise:
    """What every kind needs: the end of its time, and its children."""

    def __init__(self, seconds: float, words: list[str]) -> None:
        self.end = time.monotonic() + seconds
        self.words = words
        self.children: set[int] = set()

    def goes_on(self) -> bool:
        """False when the time is over, or whoever asked for the noise has closed our input."""
        return time.monotonic() < self.end and not select.select([0], [], [], 0)[0]

    def child(self, work: Callable[[], object]) -> bool:
        """Run something in a process of its own until the end; False when there is none left."""
        try:
            pid = os.fork()
        except OSError:
            return False
        if pid:
            self.children.add(pid)
            return True
        with suppress(BaseException):
            # The kernel's first choice when memory ends is a child, not whoever ends the noise.
            Path("/proc/self/oom_score_adj").write_text("1000")
            while self.goes_on():
                work()
        os._exit(0)

    def keep(self, count: int, work: Callable[[], object]) -> None:
        """Have ``count`` children at work until the end, a new one for each that dies."""
        while self.goes_on():
            while len(self.children) < count and self.child(work):
                pass
            self._bury()
            time.sleep(0.01)

    def _bury(self) -> None:
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self.children.discard(pid)

    def over(self) -> None:
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self.children:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def cpu(noise: Noise) -> None:
    """Sixteen processes for each core that never sleep."""
    noise.keep(16 * CORES, lambda: sum(range(100_000)))


def forks(noise: Noise) -> None:
    """Every process makes two more as long as there is a pid, and dies when there is none."""

    def bomb() -> None:
        while noise.goes_on():
            try:
                os.fork()
                os.fork()
            except OSError:
                os._exit(0)

    # Whoever is orphaned goes to the container's first process, which buries it.
    noise.keep(4, bomb)


def pids(noise: Noise) -> None:
    """As many processes as there are, all awake now and then."""
    noise.keep(1 << 22, lambda: time.sleep(0.05))


def threads(noise: Noise) -> None:
    """As many threads as there are; each wakes up a hundred times a second."""
    import threading

    threading.stack_size(65536)

    def wake() -> None:
        while noise.goes_on():
            time.sleep(0.01)

    def many() -> None:
        with suppress(RuntimeError):
            while True:
                threading.Thread(target=wake, daemon=True).start()
        time.sleep(1)

    noise.keep(1, many)


def memory(noise: Noise) -> None:
    """Touch memory beyond the limit, again and again; the kernel kills the toucher each time."""

    def touch() -> None:
        held = []
        while noise.goes_on():
            block = mmap.mmap(-1, 16 * MEBIBYTE)
            for offset in range(0, len(block), 4096):
                block[offset] = 1
            held.append(block)

    noise.keep(4, touch)


def shm(noise: Noise) -> None:
    """Fill /dev/shm, which is memory, give it back and fill it again."""

    def fill() -> None:
        _write(Path("/dev/shm") / str(os.getpid()), 64 * 1024)

    try:
        noise.keep(4, fill)
    finally:
        noise.over()
        for path in Path("/dev/shm").iterdir():
            path.unlink(missing_ok=True)


def disk(noise: Noise) -> None:
    """Fill home and /tmp to the limit with buffered writes, delete, and again."""

    def fill() -> None:
        name = f"noise-{os.getpid()}"
        _write(HOME / name if os.getpid() % 2 else Path("/tmp") / name, MEBIBYTE)

    noise.keep(4, fill)


def fsync(noise: Noise) -> None:
    """Four processes that write a page and wait for the disk each time."""

    def storm() -> None:
        with open(HOME / f"sync-{os.getpid()}", "wb", buffering=0) as file:
            for _ in range(1000):
                if not noise.goes_on():
                    break
                file.write(os.urandom(4096))
                os.fsync(file.fileno())

    noise.keep(4, storm)


def inodes(noise: Noise) -> None:
    """Make empty files until no more can be made, delete them, and again."""

    def litter() -> None:
        place = HOME / f"inodes-{os.getpid()}"
        place.mkdir(exist_ok=True)
        with suppress(OSError):
            for number in range(50_000):
                (place / str(number)).touch()
                if not noise.goes_on():
                    break
        shutil.rmtree(place, ignore_errors=True)

    noise.keep(2, litter)


def descriptors(noise: Noise) -> None:
    """As many open files, pipes, sockets, epolls, inotifies and timers as the kernel gives."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def hold() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        held: list[object] = []
        for make in _openers():
            with suppress(OSError):
                while noise.goes_on():
                    held.append(make())
                    if len(held) % 4000 == 0:
                        break
        time.sleep(0.2)

    noise.keep(16, hold)


def _openers() -> Iterator[Callable[[], object]]:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def number(got: int) -> int:
        if got < 0:
            raise OSError(errno.EMFILE, "no more")
        return got

    yield lambda: number(libc.inotify_init())
    yield lambda: number(libc.epoll_create(1))
    yield lambda: number(libc.eventfd(0, 0))
    yield os.pipe
    yield socket.socketpair
    yield lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield lambda: os.open("/dev/null", os.O_RDONLY)


def udp(noise: Noise) -> None:
    """Datagrams as fast as they go: to the gateway, to neighbours, to addresses of nobody."""
    targets = [(host, port) for host in noise.words for port in (53, 80, 8731)]
    data = b"x" * 1400

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            while noise.goes_on():
                for target in targets:
                    with suppress(OSError):
                        line.sendto(data, target)

    noise.keep(2 * CORES, flood)


def tcp(noise: Noise) -> None:
    """Connections to everybody that nobody answers, each from a port of its own."""
    targets = [(host, port) for host in noise.words for port in (22, 80, 443)]

    def flood() -> None:
        lines: list[socket.socket] = []
        while noise.goes_on():
            for target in targets:
                with suppress(OSError):
                    line = socket.socket()
                    line.setblocking(False)
                    lines.append(line)
                    line.connect(target)
            if len(lines) > 500:
                for line in lines:
                    line.close()
                lines.clear()

    noise.keep(2 * CORES, flood)


def loopback(noise: Noise) -> None:
    """Traffic with itself over 127.0.0.1: the kernel's network code, on the sender's account."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()

    def drink() -> None:
        line, _ = listener.accept()
        while noise.goes_on() and line.recv(MEBIBYTE):
            pass

    def pour() -> None:
        with socket.create_connection(address) as line:
            while noise.goes_on():
                line.sendall(bytes(MEBIBYTE))

    for _ in range(CORES):
        noise.child(drink)
        noise.child(pour)
    _wait(noise)


def announcements(noise: Noise) -> None:
    """Packets to the gate as fast as its socket takes them: nonsense, and signed by nobody."""
    domain = noise.words[0]
    pairs = {"key": domain, "address": "/run/sockets/none.sock", "modifier1": "0", "cores": "1"}
    pairs |= {"modifier2": "0", "load": "0", "weight": "1", "unix": str(int(time.time()))}

    def item(name: str, value: bytes) -> bytes:
        words = (name.encode(), value)
        return b"".join(len(word).to_bytes(2, "little") + word for word in words)

    body = b"".join(item(name, value.encode()) for name, value in pairs.items())
    body += item("sign", os.urandom(256))
    forged = b"\xe0" + len(body).to_bytes(2, "little") + b"\0" + body

    def flood() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.connect("/run/subscribe/http")
            while noise.goes_on():
                for packet in (forged, b"\xe0\xff\xff\0nonsense", b""):
                    with suppress(OSError):
                        line.send(packet)

    noise.keep(2 * CORES, flood)


def log(noise: Noise) -> None:
    """Two apps that print without end: into the log of their container's Emperor, on its disk."""
    program = HOME / "print.py"
    program.write_text("while True:\n    print('all work and no play ' * 40, flush=True)\n")
    text = "[uwsgi]\nmaster = true\nsocket = /tmp/%n.sock\n"
    text += f"attach-daemon = exec python3 {program}\n"
    with _vassal("noise-1", text), _vassal("noise-2", text):
        while noise.goes_on():
            # the disk limit ends it otherwise
            with suppress(OSError):
                os.truncate(Path.home() / "logs/emperor.log", 0)
            time.sleep(0.5)


def restarts(noise: Noise) -> None:
    """Apps that die as they start, and are touched without end."""
    dying = "[uwsgi]\nplugin = python3\nsocket = /tmp/%n.sock\nneed-app = true\nmodule = nothing\n"
    with _vassal("noise-1", dying), _vassal("noise-2", dying), _vassal("noise-3", dying):
        while noise.goes_on():
            for number in (1, 2, 3):
                os.utime(Path.home() / f"vassals/noise-{number}.ini")
            time.sleep(0.005)


class _vassal:
    """A vassal file while the ``with`` block runs."""

    def __init__(self, name: str, text: str) -> None:
        self.path = Path.home() / f"vassals/{name}.ini"
        self.text = text

    def __enter__(self) -> None:
        unfinished = HOME / self.path.name
        unfinished.write_text(self.text)
        unfinished.rename(self.path)

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)


def _write(path: Path, size: int) -> None:
    """Write blocks until there is no room, then delete the file."""
    try:
        with open(path, "wb", buffering=0) as file, suppress(OSError):
            block = os.urandom(size)
            while file.write(block):
                pass
    finally:
        path.unlink(missing_ok=True)


def _wait(noise: Noise) -> None:
    while noise.goes_on():
        time.sleep(0.1)


KINDS: dict[str, Callable[[Noise], None]] = {
    kind.__name__: kind
    for kind in (
        cpu, forks, pids, threads, memory, shm, disk, fsync, inodes, descriptors,
        udp, tcp, loopback, announcements, log, restarts,
    )
}  # fmt: skip


def main() -> None:
    kind, seconds, *words = sys.argv[1:]
    HOME.mkdir(exist_ok=True)
    noise = Noise(float(seconds), words)
    print("@go", flush=True)
    try:
        KINDS[kind](noise)
    finally:
        noise.over()
        shutil.rmtree(HOME, ignore_errors=True)
        for path in Path("/tmp").glob("noise-*"):
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
