"""A visitor who asks for a page again and again, and counts what comes."""

import http.client
import time
from collections import Counter
from contextlib import closing

from tests.system.background import Background
from tests.system.conftest import HTTP_PORT


class Visitors(Background):
    """``statuses`` counts what came, by status or error's name; ``slowest`` is in seconds."""

    def __init__(self, domain: str, path: str = "/") -> None:
        super().__init__("visitors")
        self._domain = domain
        self._path = path
        self.statuses: Counter[int | str] = Counter()
        self.slowest = 0.0

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            start = time.monotonic()
            try:
                self.statuses[self._visit()] += 1
            except (OSError, http.client.HTTPException) as error:
                self.statuses[type(error).__name__] += 1
            self.slowest = max(self.slowest, time.monotonic() - start)

    def _visit(self) -> int:
        line = http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=20)
        with closing(line):
            line.request("GET", self._path, headers={"Host": self._domain})
            answer = line.getresponse()
            answer.read()
            return answer.status
