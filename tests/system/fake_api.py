"""Stands in for the API on the daemons' socket and answers every request with the same nonsense."""

import contextlib
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType


class FakeApi:
    """Takes the socket's place while the ``with`` block runs; the real one waits beside it."""

    def __init__(self, socket_path: Path, body: bytes, *, status: int = 200) -> None:
        self.path, self.aside = socket_path, socket_path.with_name("aside.sock")
        self.asked: set[str] = set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.add(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # a daemon that was killed meanwhile
                    self.wfile.write(body)

            do_POST = do_GET

            def address_string(self) -> str:
                return "local"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._handler = Handler

    def __enter__(self) -> "FakeApi":
        os.rename(self.path, self.aside)
        self._server = socketserver.ThreadingUnixStreamServer(str(self.path), self._handler)
        self._server.daemon_threads = True
        self.path.chmod(0o666)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        os.rename(self.aside, self.path)
