"""An app on a UNIX socket that fails its first connections in one way, then answers.

usage: python faltering_app.py NAME SOCKET UID GID LOG MODE FAILURES

MODE unread closes a connection with the request unread in it, as a uWSGI worker does that is told
to end while it accepts; read closes after all was read, as a crashed one does; deaf never accepts;
overlong sends a body that is longer than it said, all at once or its end later, in turns.
LOG gets a line for each connection: what was done and, for one that was read, the body's length.
"""

import contextlib
import os
import select
import socket
import sys
import time


def main() -> None:
    name, path, uid, gid, log, mode, failures = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as server, open(log, "w", buffering=1) as file:
        server.bind(path)
        os.chown(path, int(uid), int(gid))
        os.chmod(path, 0o666)
        server.listen(100)
        left = int(failures)
        if mode == "deaf":
            select.select([], [], [])
        while True:
            connection, _ = server.accept()
            with connection:
                if left > 0 and mode == "unread":
                    select.select([connection], [], [])
                    file.write("unread\n")
                else:
                    length = _read(connection)
                    file.write(f"read {length}\n")
                    if mode == "overlong":
                        _answer_overlong(connection, name, later=left % 2 == 1)
                    elif not left:
                        _answer(connection, name)
                left = max(0, left - 1)


def _read(connection: socket.socket) -> int:
    """Read one uwsgi packet and the body that it announces; the body's length."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[1:3], "little"):
        if not (piece := connection.recv(65536)):
            return -1
        data += piece
    size = 4 + int.from_bytes(data[1:3], "little")
    wanted = int(_value(data[4:size], b"CONTENT_LENGTH") or 0)
    while len(data) < size + wanted:
        if not (piece := connection.recv(65536)):
            break
        data += piece
    return len(data) - size


def _value(pairs: bytes, name: bytes) -> bytes:
    at, words = 0, []
    while at < len(pairs):
        size = int.from_bytes(pairs[at : at + 2], "little")
        words.append(pairs[at + 2 : at + 2 + size])
        at += 2 + size
    return dict(zip(words[::2], words[1::2], strict=True)).get(name, b"")


def _answer(connection: socket.socket, name: str) -> None:
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Who: app=" + name.encode() + b" end\r\n\r\nok\n"
    )


def _answer_overlong(connection: socket.socket, name: str, *, later: bool) -> None:
    _answer(connection, name)
    if later:
        time.sleep(0.05)
    # The client may be gone.
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")


if __name__ == "__main__":
    main()
