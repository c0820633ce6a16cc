"""Visitors without any measure, from outside: ``flood.py KIND SECONDS PORT HOST [LOGIN…]``.

They ask a site through the router, or knock at the platform's sshd, as fast as they are answered;
or they connect in thousands and say nothing. They run on the same machine as what they ask and take
processor time from it: wrk, where it is found, takes the least.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time

CONNECTIONS = 64
IDLE = 4000


async def _ask(port: int, host: str, end: float, *, keeps: bool) -> None:
    """One visitor, again and again until the end; a refused one tries again at once."""
    more = "" if keeps else "Connection: close\r\n"
    head = f"GET / HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()
    writer = None
    while time.monotonic() < end:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            if keeps:
                told = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in told.lower().split(b"\r\n") if b"content-length" in line]
                await reader.readexactly(int(length[0].partition(b":")[2]))
                continue
            while await reader.read(65536):
                pass
        except (OSError, asyncio.IncompleteReadError, IndexError):
            await asyncio.sleep(0.01)
        if writer is not None:
            writer.close()
            writer = None


async def _stay(port: int, host: str, end: float) -> None:
    """Connect, send half a request, and wait."""
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode())
            await asyncio.wait_for(reader.read(), max(0.0, end - time.monotonic()))
            writer.close()
        except (OSError, TimeoutError):
            await asyncio.sleep(0.1)


async def _flood(kind: str, port: int, host: str, end: float) -> None:
    if kind == "idle-connections":
        await asyncio.gather(*(_stay(port, host, end) for _ in range(IDLE)))
    else:
        keeps = kind == "requests"
        await asyncio.gather(
            *(_ask(port, host, end, keeps=keeps) for _ in range(CONNECTIONS)),
            return_exceptions=True,
        )


def _log_in(command: list[str], end: float) -> None:
    """Four people who log in again and again."""

    def again() -> None:
        while time.monotonic() < end:
            subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)

    people = [threading.Thread(target=again) for _ in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()


def main() -> None:
    kind, seconds, port, host, *login = sys.argv[1:]
    end = time.monotonic() + float(seconds)
    if kind == "logins":
        _log_in(login, end)
    elif kind != "idle-connections" and (wrk := shutil.which("wrk")):
        close = [] if kind == "requests" else ["-H", "Connection: close"]
        words = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"Host: {host}", *close]
        os.execv(wrk, [wrk, *words, f"http://127.0.0.1:{port}/"])
    else:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
        asyncio.run(_flood(kind, int(port), host, end))


if __name__ == "__main__":
    main()
