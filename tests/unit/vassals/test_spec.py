"""The desired state is read whole or not at all."""

import json
from typing import Any

import pytest

from insula.vassals.errors import InvalidValue
from insula.vassals.spec import (
    ContainerSpec,
    CustomerSpec,
    DesiredState,
    DomainSpec,
    Reader,
    ssh_key,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGq1 me@laptop"
SHOP = ContainerSpec(
    uid=30001,
    customer_id=1,
    name="shop",
    hostname="shop",
    distro="default",
    generation=1,
    revision=4,
    changed_at=1.5,
    memory_bytes=512 << 20,
    cpu_percent=50,
    storage_bytes=1 << 30,
    pids_max=512,
    ssh_keys=(KEY,),
    vassal="; text",
    state="running",
)
STATE = DesiredState(
    installation="i1",
    revision=4,
    containers=(SHOP,),
    customers=(CustomerSpec(id=1, name="ann", public_key_pem="-----BEGIN PUBLIC KEY-----\nA\n"),),
    domains=(DomainSpec(name=".example.org", customer_id=1, state="attached"),),
)


def test_a_state_survives_the_wire() -> None:
    assert DesiredState.from_json(json.loads(json.dumps(STATE.to_json()))) == STATE


BROKEN: dict[str, tuple[str, Any]] = {
    "feed.containers[0].uid": ("uid", 29999),
    "feed.containers[0].memory_bytes": ("memory_bytes", "512"),
    "feed.containers[0].name": ("name", "../etc"),
    "feed.containers[0].distro": ("distro", "a/b"),
    "feed.containers[0].ssh_keys[0]": ("ssh_keys", ["command=x ssh-rsa AAAA"]),
    "feed.containers[0].state": ("state", "gone"),
    "feed.containers[0].generation": ("generation", True),
    "feed.containers[0].changed_at": ("changed_at", float("nan")),
    "feed.containers[0].vassal": ("vassal", "\ud800"),
}


@pytest.mark.parametrize(("path", "change"), BROKEN.items(), ids=BROKEN.keys())
def test_one_broken_value_refuses_the_whole_and_names_its_path(
    path: str, change: tuple[str, Any]
) -> None:
    value: Any = STATE.to_json()
    value["containers"][0][change[0]] = change[1]
    with pytest.raises(InvalidValue) as caught:
        DesiredState.from_json(value)
    assert caught.value.message.startswith(f"{path}:")


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 10**400, 1 << 62])
def test_a_time_that_no_clock_shows_is_refused(value: float) -> None:
    with pytest.raises(InvalidValue):
        Reader({"at": value}, "event").number("at")


@pytest.mark.parametrize("value", [None, [], {}, "feed", {"installation": "i1"}])
def test_what_is_no_feed_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue):
        DesiredState.from_json(value)


@pytest.mark.parametrize(
    "line", ["", "ssh-rsa", f"{KEY}\nssh-rsa AAAA", "ssh-foo AAAA", "ssh-rsa A A\tB"]
)
def test_an_ssh_key_is_one_plain_line(line: str) -> None:
    with pytest.raises(InvalidValue):
        ssh_key(line, path="key")
