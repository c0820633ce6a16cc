"""Insula as one of the engines: containers come through a running node's API, as customers' do."""

import http.client
import json
import os
import socket
from pathlib import Path

from bench import machine
from bench.engines import APP, START_SECONDS, CannotRun, Engine, Place, answers, run
from bench.node import CUSTOMERS, Bench

VASSAL = """[uwsgi]
master = true
plugin = python3
wsgi-file = /containers/%(uid)d/app.py
processes = 1
http-socket = /run/sockets/app.sock
chmod-socket = 666
disable-logging = true
"""
ENDS_SECONDS = 30.0


class Insula(Engine):
    """Creates through the API and waits for the trace, enters by ssh, ends by destroying."""

    name = "Insula"
    packages = ()
    programs = ()
    features = (
        "seccomp, capabilities dropped, memory, pids, CPU and disk limit, network: veth, address, "
        "firewall; the idle process is a uWSGI that watches for apps; start includes API and disk"
    )

    def __init__(self, place: Place, bench: Bench) -> None:
        super().__init__(place)
        self.bench = bench
        self.public_key = bench.key.with_suffix(".pub").read_text().strip()
        self.uids: dict[str, int] = {}

    def version(self) -> str:
        code = (self.bench.root / "var/lib/insula/venv").readlink().name
        return f"the running node, code {code}"

    def launch(self, name: str, argv: object) -> None:
        raise CannotRun("a container of Insula runs vassals, not one command")

    def start_idle(self, name: str) -> None:
        asked = {
            "customer": CUSTOMERS[len(self.uids) // 150], "name": name, "memory_bytes": 256 << 20,
            "storage_bytes": 64 << 20, "ssh_keys": [self.public_key],
        }  # fmt: skip
        answer = json.loads(self._ask("POST", "/api/v1/containers", asked))
        uid = self.uids[name] = int(answer["uid"])
        trace = self.bench.root / f"run/insula/trace/boot/{uid}.jsonl"
        machine.until(
            lambda: trace.exists() and b"sub-emperor-up" in trace.read_bytes(),
            START_SECONDS,
            f"container {uid} is up",
        )

    def start_app(self, name: str) -> None:
        """Create, drop the app when the container is up, return when it has answered."""
        self.start_idle(name)
        uid = self.uids[name]
        pool = self.bench.root / f"var/lib/insula/pool/containers/{uid}"
        home = os.open(pool / "home", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _write(home, "app.py", APP, uid)
            _write(home, "app.new", VASSAL % {"uid": uid}, uid)
            os.rename("app.new", "vassals/app.ini", src_dir_fd=home, dst_dir_fd=home)
        finally:
            os.close(home)
        sockets = self.bench.root / f"run/insula/apps/{uid}/sockets/app.sock"
        machine.until(lambda: answers(sockets), START_SECONDS, f"the app of {uid} answers")

    def enter(self, name: str) -> None:
        run([*self.bench.ssh_words(), f"{self.uids[name]}@127.0.0.1", "true"])

    def stop(self, name: str) -> None:
        uid = self.uids.pop(name)
        pids = self._pids(uid)
        self._ask("DELETE", f"/api/v1/containers/{uid}")
        machine.until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
            ENDS_SECONDS,
            f"container {uid} has ended",
        )

    def processes(self) -> set[int]:
        return {pid for uid in self.uids.values() for pid in self._pids(uid)}

    def _pids(self, uid: int) -> set[int]:
        groups = (self.bench.root / f"run/insula/cgroups/{uid}").read_text().splitlines()
        return {int(word) for word in (Path(groups[0]) / "cgroup.procs").read_text().split()}

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.bench.root / "run/insula/api-operator/api.sock"))
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise CannotRun(f"{method} {path}: {answer.status} {text[:200]!r}")
        return text

    def clean(self) -> None:
        """Destroy the containers of this run and of a killed one: their names hold the mark."""
        for item in json.loads(self.bench.insula("--json", "container", "list")):
            if item["name"].startswith("insula-peer-"):
                self.bench.insula("container", "destroy", str(item["uid"]), "--yes")
        self.uids.clear()


def _write(directory: int, name: str, text: str, uid: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    fd = os.open(name, flags, 0o644, dir_fd=directory)
    with os.fdopen(fd, "w") as file:
        os.fchown(fd, uid, uid)
        file.write(text)
