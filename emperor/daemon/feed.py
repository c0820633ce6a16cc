"""The feed client: the last good desired state, kept on disk, and a long poll for the next one."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from insula.emperor.daemon import http
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

    It survives restarts in ``cache``. A feed that goes backwards, comes from another database or
    does not validate is refused, so a broken API changes nothing. What a newer one leaves out stays
    as it was: only ``destroyed`` and ``detached`` take away.
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
        answer = self.fetch(since)
        if isinstance(answer, dict) and answer.get("unchanged") is True:
            return False
        try:
            state = DesiredState.from_json(answer)
        except InvalidValue as error:
            raise FeedError(f"the feed is not valid: {error.message}", error.hint) from error
        if self.state is not None:
            self._refuse_strange(state, self.state)
            if state.revision == self.state.revision:
                return False
            state = keeping(state, self.state)
        write_atomic(
            self.cache,
            json.dumps(state.to_json()).encode(),
            mode=0o600,
            owner=_owner(self.cache),
            group=_group(self.cache),
        )
        self.state = state
        return True

    @staticmethod
    def _refuse_strange(new: DesiredState, known: DesiredState) -> None:
        if new.installation != known.installation:
            raise FeedError(
                f"the feed comes from installation {new.installation}, "
                f"this node belongs to {known.installation}",
                "restore the API's database, or remove the feed caches to adopt the new one",
            )
        if new.revision < known.revision:
            raise FeedError(
                f"the feed goes back from revision {known.revision} to {new.revision}",
                "the API's database is older than this node's state: restore the newer one",
            )


def merged(local: DesiredState, feed: DesiredState | None) -> DesiredState:
    """The node's own objects and the feed's; a feed never speaks about what is local."""
    if feed is None:
        return local
    uids = {item.uid for item in local.containers}
    customers = {item.id for item in local.customers}
    domains = {item.name for item in local.domains}
    return DesiredState(
        installation=feed.installation,
        revision=feed.revision,
        containers=local.containers
        + tuple(c for c in feed.containers if c.uid not in uids and c.customer_id not in customers),
        customers=local.customers + tuple(c for c in feed.customers if c.id not in customers),
        domains=local.domains
        + tuple(
            d for d in feed.domains if d.name not in domains and d.customer_id not in customers
        ),
    )


def keeping(new: DesiredState, known: DesiredState) -> DesiredState:
    """The new state and what it leaves out of the known one: absence removes nothing."""
    uids = {item.uid for item in new.containers}
    customers = {item.id for item in new.customers}
    domains = {item.name for item in new.domains}
    return replace(
        new,
        containers=new.containers + tuple(c for c in known.containers if c.uid not in uids),
        customers=new.customers + tuple(c for c in known.customers if c.id not in customers),
        domains=new.domains + tuple(d for d in known.domains if d.name not in domains),
    )


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
