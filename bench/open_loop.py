"""Visitors of one site at a fixed rate, whatever the answers take: what a stranger would notice.

A request has a moment at which it is due. Its time counts from that moment to the last byte of the
answer, so a slow answer delays nobody and hides nothing. All of it is one process that waits for
sockets alone; it asks the kernel for real-time priority, because it shares the cores with what it
measures: without it a busy machine would count our own waiting for a core as the site's. ``late``
says what is left of that: how long after its moment a request was sent.
"""

import gc
import heapq
import json
import os
import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

TIMEOUT_SECONDS = 10.0
PRIORITY = 10


@dataclass
class Heard:
    """What one measurement noted: milliseconds of each request, by kind; what went wrong."""

    kept: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)


@dataclass
class _Request:
    due: float
    keeps: bool
    line: socket.socket
    sent: bool = False
    answer: bytes = b""


class OpenLoop:
    """``rate`` requests a second, every other one over a kept connection, for ``seconds``."""

    def __init__(self, port: int, host: str, *, rate: float, seconds: float) -> None:
        self.address = ("127.0.0.1", port)
        self.seconds = seconds
        self.rate = rate
        ask = f"GET / HTTP/1.1\r\nHost: {host}\r\n"
        self.heads = {
            True: f"{ask}\r\n".encode(),
            False: f"{ask}Connection: close\r\n\r\n".encode(),
        }
        self.waiting = selectors.DefaultSelector()
        self.idle: list[socket.socket] = []
        self.heard = Heard()
        self.lost: Counter[str] = Counter()

    def run(self) -> Heard:
        start = time.monotonic()
        due = [
            (start + number / self.rate, number) for number in range(int(self.rate * self.seconds))
        ]
        heapq.heapify(due)
        while due or self.waiting.get_map():
            now = time.monotonic()
            while due and due[0][0] <= now:
                moment, number = heapq.heappop(due)
                self._begin(moment, keeps=number % 2 == 0)
            pause = due[0][0] - time.monotonic() if due else 1.0
            for key, _ in self.waiting.select(max(0.0, pause)):
                self._go_on(key.data)
            self._give_up()
        for line in self.idle:
            line.close()
        self.heard.lost = dict(self.lost)
        return self.heard

    def _begin(self, due: float, *, keeps: bool) -> None:
        self.heard.late.append((time.monotonic() - due) * 1e3)
        line = self.idle.pop() if keeps and self.idle else None
        if line is None:
            line = socket.socket()
            line.setblocking(False)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.connect_ex(self.address)
        request = _Request(due, keeps, line)
        self.waiting.register(line, selectors.EVENT_WRITE, request)

    def _go_on(self, request: _Request) -> None:
        try:
            if not request.sent:
                request.line.send(self.heads[request.keeps])
                request.sent = True
                self.waiting.modify(request.line, selectors.EVENT_READ, request)
                return
            more = request.line.recv(65536)
        except OSError as error:
            self._end(request, f"error {error.errno}")
            return
        request.answer += more
        head, ends, body = request.answer.partition(b"\r\n\r\n")
        if ends and len(body) >= _length(head):
            _, _, status = head.partition(b"\r\n")[0].partition(b" ")
            self._end(request, "" if status[:3] == b"200" else f"status {status[:3].decode()}")
        elif not more:
            self._end(request, "cut" if request.answer else "closed without an answer")

    def _end(self, request: _Request, wrong: str) -> None:
        took = (time.monotonic() - request.due) * 1e3
        self.waiting.unregister(request.line)
        if wrong:
            self.lost[wrong] += 1
        else:
            (self.heard.kept if request.keeps else self.heard.new).append(took)
        if request.keeps and not wrong:
            self.idle.append(request.line)
        else:
            request.line.close()

    def _give_up(self) -> None:
        now = time.monotonic()
        for key in list(self.waiting.get_map().values()):
            if now - key.data.due > TIMEOUT_SECONDS:
                self._end(key.data, "timeout")


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def hurry() -> str:
    """Take precedence over everything on the machine; say how it was done."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        return f"SCHED_FIFO {PRIORITY}"
    except OSError:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        return "nice -20"


def main() -> None:
    port, host, rate, seconds = sys.argv[1:]
    loop = OpenLoop(int(port), host, rate=float(rate), seconds=float(seconds))
    gc.disable()
    how = hurry()
    print(json.dumps({"priority": how, **asdict(loop.run())}))


if __name__ == "__main__":
    main()
