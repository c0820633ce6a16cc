"""Loopboxes: stored, and said to be no more than that."""

import pytest

from insula.api.models import Loopbox, Node
from tests.unit.api.wire.conftest import Browser, make_container


@pytest.fixture
def uid(ann: Browser, node: Node) -> int:
    return make_container(ann)


def _make(someone: Browser, uid: int, name: str = "box.img", **more: object) -> int:
    body = {"container": uid, "filename": name, "mountpoint": f"mnt/{name}"} | more
    return int(someone.post("loopboxes", body, 201)["id"])


def test_a_loopbox_is_made_tagged_and_deleted(ann: Browser, uid: int) -> None:
    ann.post("tags", {"name": "t"}, 201)
    number = _make(ann, uid, ro=True)
    made = {
        "id": number, "container": uid, "filename": "box.img", "mountpoint": "mnt/box.img",
        "ro": True, "tags": [], "state": "stored", "state_reason": "no node does this yet",
    }  # fmt: skip
    assert ann.get(f"loopboxes/{number}") == made
    changed = ann.post(f"loopboxes/{number}", {"tags": ["t", "no"], "filename": "other"})
    assert changed == made | {"tags": ["t"]}
    assert ann.post(f"loopboxes/{number}", {"filename": "other"}) == changed
    ann.post(f"loopboxes/{number}", {}, 403)
    assert ann.call("DELETE", f"loopboxes/{number}").body == {"message": "Ok"}
    assert ann.get("loopboxes") == []


def test_filters_combine(ann: Browser, bob: Browser, uid: int) -> None:
    for name in ("a", "b"):
        ann.post("tags", {"name": name}, 201)
    other = make_container(ann, "other")
    first, second, third = _make(ann, uid), _make(ann, uid, "two"), _make(ann, other)
    ann.post(f"loopboxes/{first}", {"tags": ["a", "b"]})
    ann.post(f"loopboxes/{third}", {"tags": ["b"]})

    def listed(query: str) -> list[int]:
        return [row["id"] for row in ann.get(f"loopboxes?{query}")]

    assert listed("") == [first, second, third]
    assert listed("tags=a,b") == [first, third]
    assert listed(f"container={uid}") == [first, second]
    assert listed(f"container={uid}&tags=b") == [first]
    assert ann.call("GET", "loopboxes?container=x").status == 400
    assert bob.call("GET", f"loopboxes?container={uid}").status == 403
    assert bob.get("loopboxes") == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_stranger_gets_403(ann: Browser, bob: Browser, uid: int, method: str) -> None:
    number = _make(ann, uid)
    assert bob.call(method, f"loopboxes/{number}", {"tags": []}).status == 403
    assert bob.call(method, "loopboxes/999999", {"tags": []}).status == 403
    body = {"container": uid, "filename": "x", "mountpoint": "y"}
    bob.post("loopboxes", body, 403)
    assert Loopbox.objects.count() == 1


def test_a_file_and_a_mountpoint_are_taken_once(ann: Browser, uid: int) -> None:
    _make(ann, uid)
    body = {"container": str(uid), "filename": "box.img", "mountpoint": "elsewhere"}
    ann.post("loopboxes", body, 409)
    ann.post("loopboxes", body | {"filename": "new", "mountpoint": "mnt/box.img"}, 409)
    ann.post("loopboxes", body | {"filename": "new"}, 201)


@pytest.mark.parametrize("missing", ["container", "filename", "mountpoint"])
def test_a_missing_key_is_403(ann: Browser, uid: int, missing: str) -> None:
    body: dict[str, object] = {"container": uid, "filename": "x", "mountpoint": "y"}
    del body[missing]
    ann.post("loopboxes", body, 403)


@pytest.mark.parametrize("key", ["filename", "mountpoint"])
@pytest.mark.parametrize(
    "value",
    [
        "", "/x", "x/", "a/../b", "..", "a..b", "./x", "x/.", "x/./y", ".x", "a//b", "etc",
        "logs/x", "run", "tmp/a/b", "vassals/x.ini", "a b", "a\nb", "a;b", "$(x)", "`x`", "a*",
        "-rf", "a/-x", "é", "x" * 256, None, 1, [],
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_no_path_leads_astray(ann: Browser, uid: int, key: str, value: object) -> None:
    body = {"container": uid, "filename": "x", "mountpoint": "y"} | {key: value}
    assert ann.call("POST", "loopboxes", body).status == 400
    assert not Loopbox.objects.exists()


@pytest.mark.parametrize("ro", ["yes", 1, None, []])
def test_read_only_is_true_or_false(ann: Browser, uid: int, ro: object) -> None:
    body = {"container": uid, "filename": "x", "mountpoint": "y", "ro": ro}
    assert ann.call("POST", "loopboxes", body).status == 400


def test_a_file_name_has_64_characters(ann: Browser, uid: int) -> None:
    body = {"container": uid, "filename": "x" * 65, "mountpoint": "y"}
    assert ann.call("POST", "loopboxes", body).status == 400
    ann.post("loopboxes", body | {"filename": "x" * 64, "mountpoint": "y" * 255}, 201)
