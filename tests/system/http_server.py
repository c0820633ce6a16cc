"""A server that speaks HTTP by hand, run in a container behind http-app."""

import asyncio
import base64
import sys
from hashlib import sha1, sha256


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await answer(reader, writer)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.split("\r\n")
    path = lines[0].split(" ")[1]
    headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}
    if path == "/websocket":
        await echo(reader, writer, headers["sec-websocket-key"])
    elif path == "/headers":
        say(writer, "200 OK", head.encode())
    elif path == "/nothing":
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    elif path == "/same":
        writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nConnection: close\r\n\r\n')
    elif path == "/head":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n")
    elif path == "/broken":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    elif path == "/big":
        say(writer, "200 OK", b"x" * 20_000_000)
    elif path == "/upload":
        body = await body_of(reader, headers)
        say(writer, "200 OK", f"{len(body)} {sha256(body).hexdigest()}".encode())
    elif path == "/events":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await writer.drain()
        # the second event comes when the reader has gone on
        await asyncio.sleep(2)
        writer.write(b"data: 2\n\n")
    elif path != "/die":
        say(writer, "200 OK", b"hello")
    await writer.drain()


def say(writer: asyncio.StreamWriter, status: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)


async def body_of(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    return body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
    accept = sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n"
    )
    while True:
        length = (await reader.readexactly(2))[1] & 0x7F
        mask = await reader.readexactly(4)
        text = await reader.readexactly(length)
        plain = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
        writer.write(bytes([0x81, length]) + plain)


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1000)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
