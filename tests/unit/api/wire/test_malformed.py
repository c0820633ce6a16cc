"""The table of malformed input, sent to every address: always 4xx in JSON, and nothing changed."""

import json
from collections.abc import Iterator

import pytest
from django.apps import apps

from insula.api.models import AuditEntry, Node, Revision
from tests.unit.api.wire.conftest import Browser, make_container

VALUES: tuple[object, ...] = (
    None, True, -1, 0, 1.5, 10**30, "", " ", "x" * 700, "x" * 30_000, "a\x00b", "a\r\nb",
    "\x1b[2J", "\u2028", "\ud800", "%(x)s $(y) @(/etc/passwd)", "../../etc", [], [None], [[1]],
    ["\x00"], {}, {"a": {"b": None}},
)  # fmt: skip
BODIES = (
    b"", b"{", b"}", b"null", b"[]", b'"text"', b"1e999", b"NaN", b'{"a": NaN}', b"\xff\xfe",
    b"{'a': 1}", b"[" * 60_000, b'{"a":' * 10_000, b"9" * 5_000, b"a=1&b=2", b"\x00",
)  # fmt: skip
# Every key that any address reads.
KEYS = {
    "me": ("email", "company", "vat", "password"),
    "containers": ("server", "name", "memory", "storage"),
    "containers/{uid}": (
        "name", "note", "jid", "jid_secret", "slack_webhook", "quota_threshold", "alarm_freq",
        "nofollow", "custom_distros_storage", "ssh_keys", "distro", "custom_distro", "memory",
        "storage", "tags", "link", "unlink",
    ),
    "domains": ("name",),
    "domains/{domain}": ("note", "tags"),
    "tags": ("name", "note"),
    "tags/{tag}": ("name", "note"),
    "loopboxes": ("container", "filename", "mountpoint", "ro"),
    "loopboxes/{box}": ("tags",),
    "portmappings/198.51.100.7": ("container", "proto", "public_port", "private_port"),
    "custom_distros/{uid}": ("name", "path", "note"),
    "custom_distro/{distro}": ("name", "path", "note"),
}  # fmt: skip
# What an address wants besides, so that one bad value is the only reason to refuse.
GOOD: dict[str, dict[str, object]] = {
    "containers": {"server": "198.51.100.7", "name": "n", "memory": 32, "storage": 32},
    "domains": {},
    "loopboxes": {"container": 30001, "filename": "a", "mountpoint": "b"},
    "tags": {"name": "n"},
    "portmappings/198.51.100.7": {
        "container": 30001, "proto": "tcp", "public_port": 5000, "private_port": 5000,
    },
    "custom_distros/{uid}": {"name": "n", "path": "p"},
}  # fmt: skip
QUERIES = ("range", "level", "line", "container", "color", "class", "tags", "year", "day", "unix")
READ = ("containers", "domains", "loopboxes", "alarms", "metrics/container.cpu/{uid}")


@pytest.fixture
def places(ann: Browser, node: Node) -> dict[str, int]:
    """One of each, and its number."""
    uid = make_container(ann, memory=32)
    ann.post(f"containers/{uid}", {"custom_distros_storage": True})
    return {
        "uid": uid,
        "domain": ann.get("domains")[0]["id"],
        "tag": ann.post("tags", {"name": "t"}, 201)["id"],
        "box": ann.post("loopboxes", {"container": uid, "filename": "x", "mountpoint": "y"}, 201)[
            "id"
        ],
        "distro": ann.post(f"custom_distros/{uid}", {"name": "d", "path": "d"}, 201)["id"],
    }


def _state() -> dict[str, list[tuple[object, ...]]]:
    """All rows of the product, without what was looked up."""
    return {
        model.__name__: sorted(model._default_manager.values_list(), key=repr)
        for model in apps.get_app_config("api").get_models(include_auto_created=True)
        if model not in (AuditEntry, Revision)
    }


@pytest.mark.parametrize("path", KEYS)
def test_no_body_breaks_anything(ann: Browser, places: dict[str, int], path: str) -> None:
    before = _state()
    for body in BODIES:
        for method in ("POST", "DELETE"):
            if (method, path.count("/")) == ("DELETE", 1) and "portmappings" not in path:
                continue
            answer = ann.call(method, path.format(**places), body)
            assert 400 <= answer.status < 500, (method, body[:20], answer)
            assert "error" in answer.body
    assert _state() == before


def _fields(path: str) -> Iterator[tuple[str, object]]:
    for key in KEYS[path]:
        for value in VALUES:
            yield key, value


@pytest.mark.parametrize("path", KEYS)
def test_no_value_breaks_anything(ann: Browser, places: dict[str, int], path: str) -> None:
    """A value is taken or refused; what is refused leaves no trace."""
    refused = 0
    for key, value in _fields(path):
        before = _state()
        body = json.dumps(GOOD.get(path, {}) | {key: value}).encode()
        answer = ann.call("POST", path.format(**places), body)
        assert answer.status < 500, (key, value, answer)
        if answer.status >= 400:
            refused += 1
            assert "error" in answer.body
            assert _state() == before, (key, value)
        if key == "password" and answer.status == 200:
            ann = Browser(ann.user, str(value))
    assert refused >= len(VALUES) // 2


@pytest.mark.parametrize("path", READ)
def test_no_query_breaks_anything(ann: Browser, places: dict[str, int], path: str) -> None:
    junk = ("", "x", "-1", "1e9", "%00", "%ff", "%0a", "9" * 40, "1-2-3", "%F0%9F%92%A9", ",,")
    for name in QUERIES:
        for value in junk:
            answer = ann.call("GET", f"{path.format(**places)}?{name}={value}")
            assert answer.status < 500, (name, value, answer)


ITEMS = (
    "containers/{uid}", "containers/{uid}/domains", "regenerate_secret_uuid/{uid}",
    "domains/{domain}", "domains/{domain}/containers", "tags/{tag}", "loopboxes/{box}",
    "alarms/{alarm}", "alarms/raise/{uid}", "alarm_key/{uid}", "custom_distros/{uid}",
    "custom_distro/{distro}", "portmappings/198.51.100.7", "metrics/container.cpu/{uid}",
    "metrics/domain.hits/{domain}", "loopboxes?container={uid}", "alarms?container={uid}",
)  # fmt: skip


@pytest.mark.parametrize("path", ITEMS)
def test_a_stranger_learns_and_changes_nothing(
    ann: Browser, bob: Browser, nobody: Browser, places: dict[str, int], path: str
) -> None:
    """What is another's answers as what is not there."""
    alarm = ann.call("POST", f"alarms/raise/{places['uid']}", b"x").body["id"]
    address = path.format(**places, alarm=alarm)
    absent = path.format(**dict.fromkeys(places, 39_999), alarm=39_999)
    before = _state()
    for method in ("GET", "POST", "DELETE"):
        body = {"tags": [], "note": "mine", "name": "mine", "id": 1}
        theirs = bob.call(method, address, body)
        assert theirs.status in (403, 404, 405), theirs
        assert theirs.status == bob.call(method, absent, body).status
        assert nobody.call(method, address, body).status in (401, 405)
    assert _state() == before
