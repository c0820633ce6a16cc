"""Readers of the documentation: several pages are typed at once, each in a container of its own.

Much of a page's time is waiting: for downloads, boots, first answers. The test items report then,
each for its own page.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system import examples
from tests.system.conftest import Node

# On two cores: a third one computes while two wait.
READERS = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """A page that was typed without a difference, and the container in which its apps run."""

    uid: int
    seconds: float


class Readings:
    """The pages that are being read."""

    def __init__(self, node: Node, options: tuple[str, ...], work: Path) -> None:
        self._node = node
        self._options = options
        self._work = work
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._begun: dict[Path, Future[Reading]] = {}
        self._containers: list[int] = []

    def begin(self, page: Path) -> Future[Reading]:
        """Read a page as soon as a reader is free; once, however often it is asked for."""
        if page not in self._begun:
            self._begun[page] = self._pool.submit(self._read, page)
        return self._begun[page]

    def of(self, page: Path) -> Reading:
        """Wait for a page. Raises what the page raised: AssertionError at its first difference."""
        reading = self.begin(page).result()
        print(f"\n{page.stem}: typed in {reading.seconds:.1f} s, beside others")
        return reading

    def end(self) -> None:
        """Begin no further page, wait for those that are being read, remove all containers."""
        self._pool.shutdown(cancel_futures=True)
        for uid in self._containers:
            self._node.insula("container", "destroy", str(uid), "--yes", check=False)

    def _read(self, page: Path) -> Reading:
        start = time.monotonic()
        customer = f"reader-{page.stem}"
        self._node.insula("customer", "create", customer)
        uid = self._node.container(customer, page.stem, *self._options)
        self._containers.append(uid)
        downloads = self._work / page.stem
        downloads.mkdir()
        examples.play(examples.read(page), self._node, uid, customer, downloads)
        return Reading(uid, time.monotonic() - start)


@contextmanager
def reading(
    request: pytest.FixtureRequest, node: Node, options: tuple[str, ...], work: Path
) -> Iterator[Readings]:
    """Begin with the pages that this run's items of the asking module have as their ``page``."""
    readings = Readings(node, options, work)
    try:
        for item in request.session.items:
            page = getattr(getattr(item, "callspec", None), "params", {}).get("page")
            if item.path == request.path and isinstance(page, Path):
                readings.begin(page)
        yield readings
    finally:
        readings.end()
