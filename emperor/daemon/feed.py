"""The feed client: the last good desired state, kept on disk, and a long poll for the next one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from insula.emperor.daemon import http
from insula.emperor.daemon.desired import accepted
from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import FeedError
from insula.vassals.errors import InvalidValue
from insula.vassals.spec import DesiredState

WAIT_SECONDS = 30
# The API answers at the latest after WAIT_SECONDS; a hanging one is given up a little later.
TIMEOUT_SECONDS = WAIT_SECONDS + 10

Fetch = Callable[[int], object]


def fetch_from(socket_path: Path) -> Fetch:
    """The real fetch: ``GET /api/v1/node/feed?since=R&wait=30`` on the API's node socket."""

    def fetch(since: int) -> object:
        url = f"/api/v1/node/feed?since={since}&wait={WAIT_SECONDS}"
        return http.call(socket_path, "GET", url, timeout=TIMEOUT_SECONDS)

    return fetch


@dataclass
class FeedClient:
    """Keeps ``state``: the newest desired state this node may act on, None before the first.

    It survives restarts in ``cache``; ``desired.accepted`` says which answers count.
    """

    fetch: Fetch
    cache: Path
    state: DesiredState | None = None

    def load(self) -> DesiredState | None:
        """Read the state that the last process kept; an unreadable cache counts as none."""
        try:
            self.state = DesiredState.from_json(json.loads(self.cache.read_bytes()))
        except (OSError, ValueError, InvalidValue):
            self.state = None
        return self.state

    def poll(self) -> bool:
        """Wait for a newer revision; True when ``state`` is a new one.

        Raises FeedError when the API did not answer with an acceptable feed.
        """
        since = self.state.revision if self.state else -1
        state = accepted(self.state, self.fetch(since))
        if state is None:
            return False
        # Kept before it is acted on: a process that is killed now must not begin with an older one.
        write_atomic(
            self.cache,
            json.dumps(state.to_json()).encode(),
            mode=0o600,
            owner=_owner(self.cache),
            group=_group(self.cache),
        )
        self.state = state
        return True


def read_local(path: Path) -> DesiredState:
    """The node's own DesiredState (``local.json``). Raises FeedError when it cannot be read."""
    try:
        return DesiredState.from_json(json.loads(path.read_bytes()), "local.json")
    except (OSError, ValueError, InvalidValue) as error:
        raise FeedError(f"{path}: {error}", "run bin/up again: it writes this file") from error


def _owner(path: Path) -> int:
    return path.parent.stat().st_uid


def _group(path: Path) -> int:
    return path.parent.stat().st_gid
