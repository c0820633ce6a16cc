"""Puts a container on a build: writes the files that depend on it, and tells its Emperor."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from insula.emperor.daemon import http
from insula.emperor.daemon.desired import merged
from insula.emperor.daemon.feed import FeedClient, read_local
from insula.emperor.daemon.files import write_atomic
from insula.emperor.distros import ground
from insula.emperor.distros.builds import Build
from insula.emperor.errors import FeedError, PreparationError
from insula.emperor.settings import Node
from insula.emperor.statistics import vassals_of
from insula.vassals.spec import ContainerSpec

_KNOWN_SECONDS = 15.0


def specs_of(node: Node) -> dict[int, ContainerSpec]:
    """The running containers as the configurator last heard of them, by uid."""
    client = FeedClient(lambda _: None, node.paths.lib / "feed-configurator.json")
    try:
        desired = merged(read_local(node.paths.local_json), client.load())
    except FeedError:
        return {}
    return {spec.uid: spec for spec in desired.containers if spec.state == "running"}


def write_missing(node: Node) -> bool:
    """Write the boot files that containers of an older release lack; True if there were any."""
    is_changed = False
    for uid, spec in specs_of(node).items():
        has_vassal = (node.paths.vassals / f"{uid}.ini").exists()
        if has_vassal and ground.pinned(node.paths, uid) is None:
            found = ground.ground_of(node, spec, boots=False, is_held=False)
            if found is not None:
                write(node, spec, found)
                is_changed = True
    return is_changed


def write(node: Node, spec: ContainerSpec, stands_on: ground.Ground) -> None:
    """Write all files that depend on the build, the boot file last."""
    for path, data in ground.files_of(node, spec, stands_on).items():
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(path, data)


def move(node: Node, spec: ContainerSpec, build: Build) -> float:
    """Have a container boot on another build, now; returns when it was told to (unix seconds).

    Raises PreparationError when the build is not whole.
    """
    stands_on = ground.look(node.paths, build, spec)
    if stands_on is None:
        raise PreparationError(
            f"{build.tree(node.paths)} holds no distro", f"insula distro build {build.distro}"
        )
    with _configurator_waits(node):
        write(node, spec, stands_on)
        at = time.time()
        boot_again(node, spec.uid)
    return at


def boot_again(node: Node, uid: int) -> None:
    """Stop and boot a container: its Emperor does that when the file looks newer.

    It compares whole seconds (core/emperor.c), so a second touch within one would be missed.
    """
    path = node.paths.vassals / f"{uid}.ini"
    newer = max(int(time.time()), int(path.stat().st_mtime) + 1)
    os.utime(path, (newer, newer))
    vassals_of(node.paths.containers_stats)


def tell(node: Node, *, made: str | None = None) -> None:
    """Have the configurator report the distros of now: it looks at this file each second.

    Returns as soon as the API knows the distro ``made``, so that the next command may name it; a
    node whose API does not answer holds nobody up.
    """
    try:
        os.utime(node.paths.local_json)
    except FileNotFoundError:
        return
    deadline = time.monotonic() + _KNOWN_SECONDS
    while made is not None and time.monotonic() < deadline:
        try:
            socket = node.paths.api_operator / "api.sock"
            known = http.call(socket, "GET", "/api/v1/distros", timeout=3)
        except FeedError:
            return
        if isinstance(known, list) and any(item.get("name") == made for item in known):
            return
        time.sleep(0.1)


@contextlib.contextmanager
def _configurator_waits(node: Node) -> Iterator[None]:
    """Hold the lock under which the configurator works, so that it writes none of these files."""
    path = node.paths.run / "configurator.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
