"""Routers beside each other: one worker each, the same back end, certificate and load (wrk)."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.engines import CannotRun
from bench.figures import Board
from insula.dominator import packet
from insula.emperor.settings import ROUTER_UID

HOST = "bench.test"
FIRST_PORT = 28700
CONNECTIONS = 16
# wrk's own pause between two requests of a connection; all routers get the same rate then.
PACED_CONNECTIONS, PACED_DELAY_MS = 20, 20
BODY = "hello from behind\n"


@dataclass(frozen=True)
class Mode:
    """One kind of load; a paced one says how long requests take, not what they cost."""

    name: str
    tls: bool
    keeps: bool
    paced: bool = False


MODES = (
    Mode("HTTP keep-alive", tls=False, keeps=True),
    Mode("HTTP, a connection each", tls=False, keeps=False),
    Mode("HTTPS keep-alive", tls=True, keeps=True),
    Mode("HTTPS, a handshake each", tls=True, keeps=False),
    Mode("HTTP keep-alive, same rate", tls=False, keeps=True, paced=True),
)


@dataclass(frozen=True)
class Load:
    """What wrk said."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    wrong: str


def read_wrk(text: str) -> Load:
    """Raises ValueError when it is no output of ``wrk --latency``."""

    def find(pattern: str) -> re.Match[str]:
        found = re.search(pattern, text)
        if found is None:
            raise ValueError(f"wrk said nothing about {pattern}: {text[-200:]}")
        return found

    def latency(share: str) -> float:
        value, unit = find(rf"\s{share}%\s+([\d.]+)(us|ms|s)\b").groups()
        return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]

    wrong = re.search(r"(Socket errors: .*|Non-2xx or 3xx responses: \d+)", text)
    return Load(
        requests=int(find(r"(\d+) requests in").group(1)),
        per_second=float(find(r"Requests/sec:\s+([\d.]+)").group(1)),
        p50_ms=latency("50"),
        p99_ms=latency("99"),
        wrong=wrong.group(1) if wrong else "",
    )


class Router(ABC):
    """A contestant: writes its configuration, runs in the foreground on two ports."""

    name: str
    program: str

    def __init__(self, world: "Routers") -> None:
        self.world = world
        self.http, self.https = world.take_port(), world.take_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> Path:
        return self.world.place / re.sub(r"\W+", "-", self.name)

    def start(self) -> None:
        if shutil.which(self.program) is None:
            raise CannotRun(f"{self.program} is missing; use --install")
        self.place.mkdir(parents=True)
        self.process = self.world.spawn(self.name, self.command())
        machine.until(self._listens, 10, f"{self.name} listens")
        self.started()

    @abstractmethod
    def command(self) -> list[str]:
        """Write what it reads, return its command line."""

    def started(self) -> None:  # noqa: B027 - most have nothing to be told
        """What is to be told once it listens."""

    def version(self) -> str:
        done = subprocess.run([self.program, "-v"], capture_output=True, text=True)
        return (done.stdout or done.stderr).splitlines()[0]

    def _listens(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            log = (self.world.place / f"{self.name}.log").read_text(errors="replace")
            raise CannotRun((log.splitlines() or [f"{self.name} ended"])[-1])
        for port in (self.http, self.https):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)):
                    return False
        return True

    def pids(self) -> set[int]:
        return machine.with_descendants([self.process.pid]) if self.process else set()


class OurRouter(Router):
    """The node's own binary with the node's own router.ini, on other ports and sockets."""

    name = "Insula"

    def __init__(self, world: "Routers") -> None:
        super().__init__(world)
        self.program = str(world.root / "var/lib/insula/uwsgi/uwsgi")

    def command(self) -> list[str]:
        text = (self.world.root / "etc/insula/services/router.ini").read_text()
        run = self.world.root / "run/insula"
        for name in ("router", "router-stats"):
            place = self.place / name
            place.mkdir()
            os.chown(place, ROUTER_UID, ROUTER_UID)
            text = text.replace(f"{run}/{name}/", f"{place}/")
        ports = iter((self.http, self.https))
        text = re.sub(
            r"^shared-socket = .*$", lambda _: f"shared-socket = 127.0.0.1:{next(ports)}", text,
            flags=re.MULTILINE,
        )  # fmt: skip
        text = re.sub(r"^http-processes = .*$", "http-processes = 1", text, flags=re.MULTILINE)
        if str(run) in text:
            raise CannotRun("router.ini has a path of the node that this bench does not know")
        ini = self.place / "router.ini"
        ini.write_text(text)
        return [self.program, "--ini", str(ini)]

    def started(self) -> None:
        subscribe = self.place / "router/subscribe.sock"
        machine.until(subscribe.exists, 10, "the router's subscription socket")
        keys: dict[str, str | int] = {"address": str(self.world.uwsgi_socket), "weight": 1}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for key in (HOST, "unknown/"):
                sender.sendto(packet.build({"key": key, **keys}), str(subscribe))
        time.sleep(0.3)

    def version(self) -> str:
        done = subprocess.run([self.program, "--version"], capture_output=True, text=True)
        return f"uWSGI {done.stdout.strip()}, patched"


class Nginx(Router):
    program = "nginx"

    def __init__(self, world: "Routers", *, speaks: str) -> None:
        self.speaks = speaks
        self.name = f"nginx ({speaks})"
        super().__init__(world)

    def command(self) -> list[str]:
        if self.speaks == "uwsgi":
            forward = f"include /etc/nginx/uwsgi_params; uwsgi_pass unix:{self.world.uwsgi_socket};"
        else:
            forward = (
                f"proxy_set_header Host $host; proxy_pass http://unix:{self.world.http_socket};"
            )
        config = self.place / "nginx.conf"
        config.write_text(f"""daemon off; worker_processes 1; user root;
pid {self.place}/pid; error_log {self.place}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {self.place}/body; proxy_temp_path {self.place}/proxy;
  uwsgi_temp_path {self.place}/uwsgi; fastcgi_temp_path {self.place}/fastcgi;
  scgi_temp_path {self.place}/scgi;
  ssl_certificate {self.world.certificate}; ssl_certificate_key {self.world.key};
  ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen 127.0.0.1:{self.http}; listen 127.0.0.1:{self.https} ssl; server_name {HOST};
    location / {{ {forward} }}
  }}
}}
""")
        return ["nginx", "-p", str(self.place), "-c", str(config)]


class Haproxy(Router):
    name = "haproxy (http)"
    program = "haproxy"

    def command(self) -> list[str]:
        both = self.place / "both.pem"
        both.touch(mode=0o600)
        both.write_text(self.world.certificate.read_text() + self.world.key.read_text())
        config = self.place / "haproxy.cfg"
        config.write_text(f"""global
  nbthread 1
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 300s
  option http-server-close
frontend front
  bind 127.0.0.1:{self.http}
  bind 127.0.0.1:{self.https} ssl crt {both}
  default_backend app
backend app
  server app unix@{self.world.http_socket}
""")
        return ["haproxy", "-db", "-f", str(config)]


class Routers:
    """The back end and whatever the contestants share; a ``with`` block ends every process."""

    def __init__(self, place: Path, root: Path, _key: Path) -> None:
        self.place, self.root = place, root
        self.certificate = root / "etc/insula/certificates/default.crt"
        self.key = root / "etc/insula/certificates/default.key"
        self.uwsgi_socket, self.http_socket = place / "app.sock", place / "app-http.sock"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._ports = iter(range(FIRST_PORT, FIRST_PORT + 100))

    def __enter__(self) -> "Routers":
        self.place.mkdir(parents=True)
        for directory in (self.place, self.place.parent):
            directory.chmod(0o755)
        (self.place / "answer").write_text(BODY)
        self.spawn("back-end", [
            str(self.root / "var/lib/insula/uwsgi/uwsgi"), "--master", "--processes", "2",
            "--socket", str(self.uwsgi_socket), "--http-socket", str(self.http_socket),
            "--chmod-socket=666", "--listen", "1000", "--disable-logging", "--buffer-size=32768",
            "--route", "^/close addheader:Connection: close",
            "--route-run", f"file:filename={self.place}/answer,status=200 OK",
        ])  # fmt: skip
        machine.until(self.http_socket.exists, 10, "the back end")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            for pid in machine.with_descendants([process.pid]) - {process.pid}:
                _end(pid)
            process.kill()
            process.wait()

    def take_port(self) -> int:
        """A port that is free now."""
        for port in self._ports:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)):
                    return port
        raise CannotRun("no free port")

    def spawn(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.place / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.place
            )
        self.processes.append(process)
        return process

    def versions(self, contestants: Sequence[Router]) -> dict[str, str]:
        return {r.name: r.version() if r.process else "not run" for r in contestants}

    def measure(
        self, board: Board, contestants: Sequence[Router], *, rounds: int, seconds: int
    ) -> None:
        """Each router under each mode, in rounds; a router that cannot start has its reason."""
        able = []
        for router in contestants:
            board.contestants.append(router.name)
            try:
                if shutil.which("wrk") is None:
                    raise CannotRun("wrk is missing; use --install")
                router.start()
                able.append(router)
            except (CannotRun, TimeoutError, OSError) as error:
                for mode in MODES:
                    board.cannot(_cost(mode), router.name, str(error))
        for number in range(rounds):
            for mode in MODES:
                for router in able:
                    text = f"routers, round {number + 1} of {rounds}: {mode.name}, {router.name}"
                    print(text, file=sys.stderr, flush=True)
                    self._one(board, router, mode, seconds)

    def _one(self, board: Board, router: Router, mode: Mode, seconds: int) -> None:
        before = machine.cpu_us(router.pids())
        try:
            load = self._wrk(router, mode, seconds)
        except (CannotRun, ValueError, subprocess.TimeoutExpired) as error:
            board.cannot(_cost(mode), router.name, str(error))
            return
        cost = (machine.cpu_us(router.pids()) - before) / max(load.requests, 1)
        if load.wrong:
            board.cannot(_cost(mode), router.name, load.wrong)
            return
        if mode.paced:
            board.add(f"{mode.name}, p50, ms", router.name, load.p50_ms)
            board.add(f"{mode.name}, p99, ms", router.name, load.p99_ms)
        else:
            board.add(_cost(mode), router.name, cost)
            board.add(f"{mode.name}, requests a second", router.name, load.per_second)

    def _wrk(self, router: Router, mode: Mode, seconds: int) -> Load:
        scheme, port = ("https", router.https) if mode.tls else ("http", router.http)
        path = "/" if mode.keeps else "/close"
        connections = PACED_CONNECTIONS if mode.paced else CONNECTIONS
        words = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s",
                 "--latency", "--header", f"Host: {HOST}"]  # fmt: skip
        if not mode.keeps:
            words += ["--header", "Connection: close"]
        if mode.paced:
            script = self.place / "pace.lua"
            script.write_text(f"function delay() return {PACED_DELAY_MS} end\n")
            words += ["--script", str(script)]
        done = subprocess.run(
            [*words, f"{scheme}://127.0.0.1:{port}{path}"],
            capture_output=True, text=True, timeout=seconds + 20,
        )  # fmt: skip
        if done.returncode != 0:
            raise CannotRun(f"wrk: {(done.stderr or done.stdout).strip()}")
        return read_wrk(done.stdout)


def _cost(mode: Mode) -> str:
    return f"{mode.name}, p50, ms" if mode.paced else f"{mode.name}, CPU µs a request"


def _end(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
