"""Containers in the ancestor's words: MB, titles, tags, one transaction a request."""

from typing import Any

import pytest
from django.conf import settings

from insula.api.actions import wire_containers
from insula.api.actions.actor import ROOT
from insula.api.actions.containers import Wanted, change_container
from insula.api.models import AuditEntry, Container, Node, Notification, Revision
from insula.api.node.snapshot import desired_state
from insula.vassals import grammar
from tests.unit.api.conftest import Person
from tests.unit.api.wire.conftest import Browser, make_container

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me"
LISTED = {
    *("uid", "name", "hostname", "ip", "memory", "storage", "uuid", "distro", "distro_name"),
    *("custom_distro", "custom_distro_name", "server", "server_address", "tags"),
}
WHOLE = (LISTED - {"custom_distro_name"}) | {
    *("jid", "jid_destinations", "pushover_user", "pushover_token", "pushover_sound"),
    *("pushbullet_token", "slack_webhook", "alarm_freq", "quota_threshold", "nofollow", "note"),
    *("linked_to", "custom_distros_storage", "secret_uuid", "ssh_keys", "legion_address"),
    "not_applied",
}


@pytest.fixture
def uid(ann: Browser, node: Node) -> int:
    return make_container(ann)


def _generation(uid: int) -> int:
    return Container.objects.get(pk=uid - 30000).generation


def test_a_list_has_the_ancestors_keys(ann: Browser, uid: int) -> None:
    (row,) = ann.get("me/containers")
    assert set(row) == LISTED
    assert (row["uid"], row["ip"]) == (uid, f"10.0.0.{uid - 30000 + 2}")
    assert (row["server"], row["server_address"]) == ("local", "198.51.100.7")
    assert {"id": row["distro"], "name": row["distro_name"]} in ann.get("distros")


def test_a_page_has_them_all(ann: Browser, uid: int) -> None:
    page = ann.get(f"containers/{uid}")
    assert set(page) == WHOLE
    assert (page["quota_threshold"], page["alarm_freq"]) == (90, 60)
    assert (page["nofollow"], page["ssh_keys"], page["secret_uuid"]) == (False, [], None)


def test_megabytes_are_exact(ann: Browser, uid: int) -> None:
    row = Container.objects.get()
    assert (row.memory_bytes, row.storage_bytes) == (64 * 1024 * 1024, 64 * 1024 * 1024)
    assert (ann.get(f"containers/{uid}")["memory"], ann.get("containers")[0]["storage"]) == (64, 64)
    odd = 100 * 1024 * 1024 + 1
    change_container(ROOT, uid, Wanted(memory_bytes=odd))
    shown = ann.get(f"containers/{uid}")
    assert shown["memory"] == 100
    ann.post(f"containers/{uid}", {"memory": shown["memory"]})
    assert Container.objects.get().memory_bytes == odd


def test_it_boots_like_any_other(ann: Browser, uid: int) -> None:
    state = desired_state()
    spec = state.containers[0]
    grammar.check(spec.vassal, uid=uid, container_ini=settings.CONTAINER_INI)
    assert (spec.state, spec.distro) == ("running", settings.DEFAULT_DISTRO)
    assert [(d.name, d.state) for d in state.domains] == [("shop.insula.test", "attached")]
    type(state).from_json(state.to_json())


@pytest.mark.parametrize(
    ("title", "hostname", "name"),
    [
        ("My Shop!", "my-shop", "my-shop"),
        ("%(x)s $(y) @(/etc/passwd)", "x-s---y-----etc-passwd", "x-s---y-----etc-passwd"),
        ("---", "container", "container"),
        ("ünïcode", "n-code", "n-code"),
        ("x" * 255, "x" * 32, "x" * 32),
        ("api", "api", "api-2"),
    ],
)
def test_any_text_is_a_name(ann: Browser, node: Node, title: str, hostname: str, name: str) -> None:
    uid = make_container(ann, title)
    row = Container.objects.get()
    assert (row.hostname, row.name) == (hostname, name)
    assert ann.get(f"containers/{uid}")["name"] == title
    desired_state()


def test_names_need_not_be_unique(ann: Browser, node: Node) -> None:
    assert len({make_container(ann, "shop", 32) for _ in range(3)}) == 3
    assert set(Container.objects.values_list("name", flat=True)) == {"shop", "shop-2", "shop-3"}


@pytest.mark.parametrize(
    ("bad", "status", "reason"),
    [
        ({"memory": 5000}, 409, "not enough memory"),
        ({"storage": 9000}, 409, "not enough storage"),
        ({"memory": 0}, 409, "not enough memory"),
        ({"storage": -1}, 409, "not enough storage"),
        ({"memory": 10**18}, 400, None),
        ({"memory": 10**30}, 400, None),
        ({"memory": 1}, 400, None),
        ({"memory": "x"}, 400, None),
        ({"memory": None}, 400, None),
        ({"memory": True}, 400, None),
        ({"memory": 64.5}, 400, None),
        ({"server": "192.0.2.9"}, 403, None),
        ({"server": "::zz"}, 403, None),
        ({"server": 7}, 400, None),
        ({"name": None}, 400, None),
        ({"name": ""}, 400, None),
        ({"name": "a\nb"}, 400, None),
        ({"name": "x" * 256}, 400, None),
    ],
    ids=str,
)
def test_what_does_not_fit_makes_no_container(
    ann: Browser, node: Node, bad: dict[str, object], status: int, reason: str | None
) -> None:
    good = {"server": "198.51.100.7", "name": "shop", "memory": 64, "storage": 64}
    answer = ann.call("POST", "containers", good | bad)
    assert answer.status == status
    assert reason is None or answer.body == {"error": "Conflict", "reason": reason}
    assert not Container.objects.exists()


@pytest.mark.parametrize("missing", ["server", "name", "memory", "storage"])
def test_a_missing_key_is_403(ann: Browser, node: Node, missing: str) -> None:
    good = {"server": "198.51.100.7", "name": "shop", "memory": 64, "storage": 64}
    del good[missing]
    ann.post("containers", good, 403)
    assert not Container.objects.exists()


def test_strangers_make_nothing_on_my_node(ann: Browser, bob: Browser, node: Node) -> None:
    body = {"server": "198.51.100.7", "name": "shop", "memory": 64, "storage": 64}
    bob.post("containers", body, 403)


def test_the_sum_of_all_containers_fits(ann: Browser, node: Node) -> None:
    make_container(ann, memory=4000)
    body = {"server": "198.51.100.7", "name": "more", "memory": 97, "storage": 64}
    assert ann.post("containers", body, 409)["reason"] == "not enough memory"
    ann.post("containers", body | {"memory": "96"}, 201)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "containers/{}"),
        ("POST", "containers/{}"),
        ("POST", "regenerate_secret_uuid/{}"),
        ("GET", "metrics/container.cpu/{}"),
    ],
)
def test_not_mine_is_403_as_is_what_does_not_exist(
    ann: Browser, bob: Browser, uid: int, method: str, path: str
) -> None:
    for number in (uid, 30000, 39999, 1, 999_999_999):
        answer = bob.call(method, path.format(number), {"note": "mine"})
        assert (answer.status, answer.body["error"]) == (403, "Forbidden")
        assert answer.body["reason"] == f"container {number} is none of yours"
    assert ann.get(f"containers/{uid}")["note"] == ""
    assert bob.get("containers") == []
    assert bob.call("GET", f"containers/{uid}/domains").status == 404


def test_a_destroyed_container_is_403(ann: Browser, uid: int, operator: Person) -> None:
    assert operator.call("DELETE", f"containers/{uid}")[0] == 200
    assert ann.call("GET", f"containers/{uid}").status == 403
    assert ann.get("containers") == []


def test_every_field_is_kept(ann: Browser, uid: int) -> None:
    channels = {
        name: f"{name} value"
        for name in (
            "jid", "jid_destinations", "pushover_user", "pushover_token", "pushover_sound",
            "pushbullet_token", "slack_webhook",
        )
    }  # fmt: skip
    body = channels | {
        "note": "n\nn", "quota_threshold": 80, "alarm_freq": 5, "nofollow": True,
        "ssh_keys": [KEY], "jid_secret": "hush", "uid": 1, "unknown": {},
    }  # fmt: skip
    changed = ann.post(f"containers/{uid}", body)
    page = ann.get(f"containers/{uid}")
    assert {key: changed[key] for key in page} == page
    expected = channels | {"note": "n\nn", "quota_threshold": 80, "alarm_freq": 60}
    assert {key: page[key] for key in expected} == expected
    assert (page["nofollow"], page["ssh_keys"], page["uid"]) == (True, [KEY], uid)
    assert "jid_secret" not in changed
    assert "hush" not in Notification.objects.get().jid_secret_encrypted
    assert "hush" not in "".join(AuditEntry.objects.values_list("detail", flat=True))


def test_blank_text_clears_a_channel(ann: Browser, uid: int) -> None:
    ann.post(f"containers/{uid}", {"jid": "me@x"})
    assert ann.post(f"containers/{uid}", {"jid": ""})["jid"] == ""


BAD = [
    b"", b"{", b"[]", b"1", b'{"note": NaN}',
    {"name": ""}, {"name": None}, {"name": 1}, {"name": "a\x00"}, {"name": "x" * 256},
    {"jid": "a\n[uwsgi]"}, {"jid": None}, {"jid": 1}, {"pushover_token": "a\rb"},
    {"slack_webhook": "\x1b"}, {"pushbullet_token": "x" * 256}, {"jid_secret": []},
    {"quota_threshold": -1}, {"quota_threshold": "x"}, {"quota_threshold": None},
    {"quota_threshold": 10**12}, {"alarm_freq": None}, {"alarm_freq": 1.5}, {"alarm_freq": -1},
    {"nofollow": "yes"}, {"nofollow": None}, {"nofollow": 1},
    {"ssh_keys": "x"}, {"ssh_keys": None}, {"ssh_keys": [1]}, {"ssh_keys": ["not a key"]},
    {"ssh_keys": [KEY + "\n" + KEY]}, {"ssh_keys": ['command="sh" ' + KEY]},
    {"distro": 999}, {"distro": None}, {"distro": "default"}, {"distro": 10**30},
    {"tags": "a"}, {"tags": None}, {"tags": [1]}, {"tags": ["\x00"]},
    b'{"tags": ["\\ud800"]}', {"custom_distros_storage": 1}, {"note": None}, {"note": "\x00"},
    {"memory": "x"}, {"memory": None}, {"memory": 1},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad)[:40])
def test_a_malformed_change_changes_nothing(ann: Browser, uid: int, bad: object) -> None:
    ann.post("tags", {"name": "t"}, 201)
    before, revision = ann.get(f"containers/{uid}"), Revision.current()
    good = {"note": "new", "tags": ["t"], "jid": "new", "ssh_keys": [KEY]}
    body = good | bad if isinstance(bad, dict) else bad
    answer = ann.call("POST", f"containers/{uid}", body)
    assert (answer.status, answer.body["error"]) == (400, "Bad request")
    assert ann.get(f"containers/{uid}") == before
    assert (Revision.current(), _generation(uid)) == (revision, 1)


def test_too_much_memory_takes_the_rest_of_the_request_back(ann: Browser, uid: int) -> None:
    before = ann.get(f"containers/{uid}")
    for body in ({"memory": 9999}, {"storage": 0}):
        answer = ann.post(f"containers/{uid}", {"note": "new", "name": "new"} | body, 409)
        assert answer["reason"].startswith("not enough")
    assert ann.get(f"containers/{uid}") == before


def test_an_empty_object_is_403(ann: Browser, uid: int) -> None:
    ann.post(f"containers/{uid}", {}, 403)


def test_memory_is_the_owners_of_the_node_alone(ann: Browser, uid: int, node: Node) -> None:
    assert ann.post(f"containers/{uid}", {"memory": 128, "storage": "128"})["memory"] == 128
    Node.objects.update(owner=None)
    assert ann.post(f"containers/{uid}", {"memory": 256, "storage": 1})["memory"] == 128


@pytest.mark.parametrize(
    ("body", "effects", "restarts"),
    [
        ({"note": "x"}, {"note": "nothing"}, 0),
        ({"ssh_keys": ["", KEY, " "]}, {"ssh_keys": "live"}, 0),
        ({"ssh_keys": []}, {"ssh_keys": "nothing"}, 0),
        ({"memory": 128}, {"memory": "live"}, 0),
        ({"name": "SHOP"}, {"name": "nothing"}, 0),
        ({"name": "other"}, {"name": "restart"}, 1),
        ({"reboot": False}, {"reboot": "restart"}, 1),
        ({"reboot": 1, "name": "other"}, {"reboot": "restart", "name": "restart"}, 1),
        ({"jid": "me@x", "alarm_freq": 90}, {"jid": "nothing", "alarm_freq": "nothing"}, 0),
        ({"unknown": 1}, {}, 0),
    ],
    ids=str,
)
def test_a_change_says_what_it_takes(
    ann: Browser, uid: int, body: Any, effects: dict[str, str], restarts: int
) -> None:
    assert ann.post(f"containers/{uid}", body)["effects"] == effects
    assert _generation(uid) == 1 + restarts


def test_a_distro_restarts_once(ann: Browser, uid: int) -> None:
    other = next(row["id"] for row in ann.get("distros") if row["name"] == "other")
    for body in ({"distro": other}, {"distro": str(other)}):
        assert ann.post(f"containers/{uid}", body)["distro"] == other
    assert _generation(uid) == 2


def test_the_same_again_makes_no_revision(ann: Browser, uid: int) -> None:
    body = {"note": "x", "name": "Shop 1", "tags": [], "jid": "me@x", "ssh_keys": [KEY]}
    ann.post(f"containers/{uid}", body)
    before = Revision.current()
    ann.post(f"containers/{uid}", body)
    assert Revision.current() == before


def test_a_filter_names_each_container_once(ann: Browser, bob: Browser, uid: int) -> None:
    for name in ("a", "b", "c"):
        ann.post("tags", {"name": name}, 201)
    other = make_container(ann, "other")
    ann.post(f"containers/{uid}", {"tags": ["a", "b"]})
    ann.post(f"containers/{other}", {"tags": ["b"]})
    assert [row["uid"] for row in ann.get("containers?tags=a,b")] == [uid, other]
    assert [row["uid"] for row in ann.get("containers?tags=a")] == [uid]
    assert ann.get("containers?tags=c,nothing") == []
    bob.post("tags", {"name": "a"}, 201)
    assert bob.get("containers?tags=a") == []


def test_a_secret_uuid_changes(ann: Browser, uid: int) -> None:
    seen = {ann.get(f"containers/{uid}")["secret_uuid"]}
    for _ in range(2):
        assert ann.post(f"regenerate_secret_uuid/{uid}", None) == {"message": "Ok"}
        seen.add(ann.get(f"containers/{uid}")["secret_uuid"])
    assert len(seen) == 3
    assert _generation(uid) == 1


def test_lists_ask_the_database_equally_often(
    ann: Browser, node: Node, django_assert_num_queries: Any
) -> None:
    ann.get("me")
    for name in ("a", "b"):
        ann.post("tags", {"name": name}, 201)
    counts = []
    for number in range(3):
        uid = make_container(ann, f"c{number}", 32)
        ann.post(f"containers/{uid}", {"tags": ["a", "b"]})
        with django_assert_num_queries(5):
            counts.append(len(ann.get("containers")))
        with django_assert_num_queries(7):
            ann.get(f"containers/{uid}")
        with django_assert_num_queries(3):
            ann.get("domains")
    assert counts == [1, 2, 3]


def test_a_label_is_always_a_host_name() -> None:
    assert wire_containers.label_of("-") == "container"
    assert wire_containers.label_of("a" * 31 + "-b") == "a" * 31
