"""A WebSocket echo for the router's tests: speaks uWSGI's own protocol, needs Python alone."""

import base64
import os
import socket
import sys
from hashlib import sha1


def _read(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def _variables(client: socket.socket) -> dict[str, str]:
    body = _read(client, int.from_bytes(_read(client, 4)[1:3], "little"))
    items = []
    while body:
        size = int.from_bytes(body[:2], "little")
        items.append(body[2 : 2 + size].decode("latin-1"))
        body = body[2 + size :]
    return dict(zip(items[::2], items[1::2], strict=True))


def _echo(client: socket.socket) -> None:
    key = _variables(client)["HTTP_SEC_WEBSOCKET_KEY"]
    accept = base64.b64encode(sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while True:
        length = _read(client, 2)[1] & 0x7F
        mask = _read(client, 4)
        text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(_read(client, length)))
        client.sendall(bytes([0x81, length]) + text)


def main() -> None:
    path, uid = sys.argv[1], int(sys.argv[2])
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        os.chmod(path, 0o666)
        server.listen()
        while True:
            client, _ = server.accept()
            with client:
                try:
                    _echo(client)
                except (ConnectionError, KeyError):
                    continue


if __name__ == "__main__":
    main()
