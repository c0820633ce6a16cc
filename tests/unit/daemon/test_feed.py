"""The feed client acts on a feed it can trust, and on nothing else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from insula.emperor.daemon.desired import merged
from insula.emperor.daemon.feed import FeedClient
from insula.emperor.errors import FeedError
from insula.vassals.spec import DesiredState, DomainSpec
from tests.unit.vassals.test_spec import SHOP, STATE


def _answers(*answers: object) -> Callable[[int], object]:
    queue = list(answers)
    return lambda since: queue.pop(0)


def test_the_state_survives_a_restart_of_the_daemon(tmp_path: Path) -> None:
    first = FeedClient(_answers(STATE.to_json()), tmp_path / "feed.json")
    assert first.poll()
    assert FeedClient(_answers(), tmp_path / "feed.json").load() == STATE


def test_the_next_poll_asks_from_the_known_revision(tmp_path: Path) -> None:
    asked: list[int] = []

    def fetch(since: int) -> object:
        asked.append(since)
        return STATE.to_json() if since < 0 else {"unchanged": True, "revision": since}

    client = FeedClient(fetch, tmp_path / "feed.json")
    assert client.poll()
    assert not client.poll()
    assert asked == [-1, STATE.revision]


REFUSED: dict[str, object] = {
    "nothing": None,
    "an empty object": {},
    "a list": [],
    "an older revision": dataclasses.replace(STATE, revision=3).to_json(),
    "another installation": dataclasses.replace(STATE, installation="i2", revision=9).to_json(),
    "a container twice": dataclasses.replace(STATE, revision=9, containers=(SHOP, SHOP)).to_json(),
    "a broken container": {**STATE.to_json(), "revision": 9, "containers": [{}]},
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED.keys())
def test_it_refuses_and_keeps_what_it_has(answer: object, tmp_path: Path) -> None:
    client = FeedClient(_answers(STATE.to_json(), answer), tmp_path / "feed.json")
    client.poll()
    with pytest.raises(FeedError):
        client.poll()
    assert client.state == STATE
    assert FeedClient(_answers(), tmp_path / "feed.json").load() == STATE


def test_a_feed_cannot_speak_about_what_is_the_nodes_own() -> None:
    api = dataclasses.replace(SHOP, uid=30000, customer_id=0, name="api")
    domain = DomainSpec(name="api.example.org", customer_id=0, state="attached")
    local = DesiredState("local", 0, (api,), (), (domain,))
    forged = dataclasses.replace(
        STATE,
        containers=(dataclasses.replace(api, state="destroyed"), SHOP),
        domains=(dataclasses.replace(domain, customer_id=1),),
    )
    state = merged(local, forged)
    assert state.containers == (api, SHOP)
    assert state.domains == (domain,)


def test_what_a_newer_feed_leaves_out_stays(tmp_path: Path) -> None:
    empty = DesiredState(STATE.installation, STATE.revision + 1, (), (), ())
    client = FeedClient(_answers(STATE.to_json(), empty.to_json()), tmp_path / "feed.json")
    client.poll()
    assert client.poll()
    assert client.state == dataclasses.replace(STATE, revision=STATE.revision + 1)


def test_what_a_newer_feed_mentions_counts(tmp_path: Path) -> None:
    gone = dataclasses.replace(SHOP, state="destroyed")
    newer = dataclasses.replace(STATE, revision=STATE.revision + 1, containers=(gone,))
    client = FeedClient(_answers(STATE.to_json(), newer.to_json()), tmp_path / "feed.json")
    client.poll()
    client.poll()
    assert client.state is not None
    assert [item for item in client.state.containers if item.uid == SHOP.uid] == [gone]
