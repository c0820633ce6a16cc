"""What ties containers together: links, custom distros, port mappings; stored, not yet done."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from insula.api.models import Container, Link, Node, PortMapping, Revision
from tests.unit.api.conftest import Person
from tests.unit.api.wire.conftest import Browser, make_container

ADDRESS = "198.51.100.7"


@pytest.fixture
def uid(ann: Browser, node: Node) -> int:
    return make_container(ann)


@pytest.fixture
def other(ann: Browser, node: Node) -> int:
    return make_container(ann, "other")


def test_a_link_is_one_sided_and_stored(
    ann: Browser, bob: Browser, uid: int, operator: Person
) -> None:
    operator.call("POST", "containers", {"name": "bobs", "customer": "bob"})
    bobs = Container.objects.get(name="bobs").uid
    page = ann.post(f"containers/{uid}", {"link": str(bobs)})
    assert (page["linked_to"], page["not_applied"]) == ([bobs], ["linked_to"])
    assert bob.get(f"containers/{bobs}")["linked_to"] == []
    page = ann.post(f"containers/{uid}", {"unlink": bobs})
    assert (page["linked_to"], page["not_applied"]) == ([], [])


def test_a_bad_link_takes_everything_back_and_moves_nothing(
    ann: Browser, uid: int, other: int
) -> None:
    ann.post("tags", {"name": "t"}, 201)
    ann.post(f"containers/{uid}", {"link": other})
    before, revision = ann.get(f"containers/{uid}"), Revision.current()
    conflicts: list[dict[str, object]] = [
        {"link": other}, {"link": uid}, {"link": 30999}, {"link": 1}, {"unlink": 30999},
        {"link": -(2**53)}, {"unlink": 2**53},
    ]  # fmt: skip
    for bad in conflicts:
        body = {"tags": ["t"], "note": "x", "name": "new"} | bad
        assert ann.post(f"containers/{uid}", body, 409)["error"] == "Conflict"
    malformed: list[dict[str, object]] = [
        {"link": "x"}, {"link": None}, {"unlink": []}, {"link": 10**30}, {"unlink": -(2**62)},
    ]  # fmt: skip
    for bad in malformed:
        assert ann.call("POST", f"containers/{uid}", {"note": "x"} | bad).status == 400
    assert ann.get(f"containers/{uid}") == before
    assert Revision.current() == revision


def _distro(someone: Browser, uid: int, name: str = "d", path: str = "d.1") -> int:
    body = {"name": name, "path": path, "note": "n"}
    return int(someone.post(f"custom_distros/{uid}", body, 201)["id"])


def test_a_custom_distro_is_stored_in_one_and_used_by_another(
    ann: Browser, uid: int, other: int
) -> None:
    ann.post(f"custom_distros/{uid}", {"name": "d", "path": "d"}, 403)
    ann.post(f"containers/{uid}", {"custom_distros_storage": True})
    number = _distro(ann, uid)
    assert ann.get("custom_distros/") == [{"id": number, "name": "d", "container": uid}]
    assert ann.get(f"custom_distros/{other}") == [{"id": number, "name": "d"}]
    assert ann.get(f"custom_distros/{uid}") == []
    page = ann.get(f"custom_distro/{number}")
    assert set(page) == {
        *("id", "container", "name", "path", "note", "uuid", "state", "state_reason"),
    }
    assert (page["path"], page["state"]) == ("d.1", "stored")
    used = ann.post(f"containers/{other}", {"custom_distro": number})
    assert (used["custom_distro"], used["custom_distro_name"]) == (number, "d")
    assert used["not_applied"] == ["custom_distro"]
    listed = {row["uid"]: row["custom_distro_name"] for row in ann.get("containers")}
    assert listed == {uid: None, other: "d"}
    assert ann.call("DELETE", f"custom_distro/{number}").status == 409
    assert Container.objects.count() == 2
    freed = ann.post(f"containers/{other}", {"custom_distro": None})
    assert freed["custom_distro"] is None and "custom_distro_name" not in freed
    assert ann.call("DELETE", f"custom_distro/{number}").body == {"message": "Ok"}
    assert Container.objects.get(pk=other - 30000).generation == 1


def test_an_unusable_custom_distro_is_refused(
    ann: Browser, bob: Browser, uid: int, operator: Person
) -> None:
    ann.post(f"containers/{uid}", {"custom_distros_storage": True})
    number = _distro(ann, uid)
    operator.call("POST", "containers", {"name": "bobs", "customer": "bob"})
    bobs = Container.objects.get(name="bobs").uid
    for someone, target in ((ann, uid), (bob, bobs)):
        for bad in (number, 999, 0, -1, "x", True):
            answer = someone.call("POST", f"containers/{target}", {"custom_distro": bad})
            assert answer.status == 400, (bad, answer)
    assert bob.get(f"custom_distros/{bobs}") == []
    for method in ("GET", "POST", "DELETE"):
        assert bob.call(method, f"custom_distro/{number}", {"name": "x"}).status == 403
    assert bob.call("POST", f"custom_distros/{uid}", {"name": "x", "path": "x"}).status == 403


def test_a_custom_distro_changes(ann: Browser, uid: int) -> None:
    ann.post(f"containers/{uid}", {"custom_distros_storage": True})
    number, second = _distro(ann, uid), _distro(ann, uid, "e", "e")
    changed = ann.post(f"custom_distro/{number}", {"name": "new", "path": "new", "note": "nn"})
    assert (changed["name"], changed["path"], changed["note"]) == ("new", "new", "nn")
    for bad in (
        {"name": "e"}, {"path": "e"}, {"path": ".."}, {"path": "."}, {"path": "a/b"},
        {"path": ""}, {"name": ""}, {"name": "a\n"}, {"path": "x" * 65}, {"note": "\x1b"},
    ):  # fmt: skip
        assert ann.call("POST", f"custom_distro/{number}", bad).status == 403, bad
        if "note" not in bad:
            new = {"name": "f", "path": "f"} | bad
            assert ann.call("POST", f"custom_distros/{uid}", new).status == 403, bad
    malformed: list[dict[str, object]] = [{"name": None}, {"path": 1}, {"note": []}]
    for body in malformed:
        assert ann.call("POST", f"custom_distro/{number}", body).status == 400
    assert ann.get(f"custom_distro/{number}") == changed
    assert ann.get(f"custom_distro/{second}")["name"] == "e"


def test_ports_of_ones_own_node(ann: Browser, bob: Browser, uid: int, other: int) -> None:
    path = f"portmappings/{ADDRESS}"
    good = {"container": str(uid), "proto": "tcp", "public_port": "1024", "private_port": 8080}
    made = ann.post(path, good, 201)
    (row,) = ann.get(path + "/")
    assert row == {
        "id": made["id"], "proto": "tcp", "public_port": 1024, "container": uid,
        "container_ip": f"10.0.0.{uid - 30000 + 2}", "private_port": 8080,
        "state": "stored", "state_reason": "no node does this yet",
    }  # fmt: skip
    refused: list[dict[str, object]] = [
        {}, {"container": other, "private_port": 1}, {"public_port": 1023},
        {"public_port": 65536}, {"private_port": 80}, {"proto": "sctp"}, {"proto": "TCP"},
        {"public_port": 1999}, {"public_port": 3022}, {"public_port": 3026}, {"public_port": "x"},
        {"container": 30999}, {"proto": None}, {"container": None},
        {"container": other, "private_port": 8081, "public_port": 1024},
        {"public_port": 1025},
    ]  # fmt: skip
    for bad in refused:
        body = good | bad if bad else {}
        assert ann.call("POST", path, body).status == 403, bad
    ann.post(path, good | {"proto": "udp"}, 201)
    assert PortMapping.objects.count() == 2
    calls: list[tuple[str, object]] = [("GET", None), ("POST", good), ("DELETE", made)]
    for method, sent in calls:
        assert bob.call(method, path, sent).status == 403
        assert ann.call(method, "portmappings/192.0.2.1", sent).status == 403
    for bad_id in ({"id": 999}, {"id": "x"}, {}):
        assert ann.call("DELETE", path, bad_id).status == 403
    assert ann.call("DELETE", path, {"id": made["id"]}).body == {"message": "Ok"}
    assert PortMapping.objects.count() == 1


def test_a_destroyed_container_gives_back_what_it_held(
    ann: Browser, uid: int, other: int, operator: Person
) -> None:
    good = {"container": uid, "proto": "tcp", "public_port": 1024, "private_port": 8080}
    ann.post(f"portmappings/{ADDRESS}", good, 201)
    ann.post(f"containers/{uid}", {"link": other, "custom_distros_storage": True})
    ann.post(f"containers/{other}", {"link": uid, "custom_distro": _distro(ann, uid)})
    assert operator.call("DELETE", f"containers/{uid}")[0] == 200
    assert not Link.objects.exists()
    page = ann.get(f"containers/{other}")
    assert (page["linked_to"], page["custom_distro"]) == ([], None)
    assert ann.get("custom_distros") == []
    ann.post(f"portmappings/{ADDRESS}", good | {"container": other}, 201)


@pytest.mark.parametrize(
    "path",
    [
        "me", "containers", "domains", "tags", "loopboxes", "alarms", "custom_distros",
        f"portmappings/{ADDRESS}", "containers?tags=a", "loopboxes?tags=a", "domains?tags=a",
    ],
)  # fmt: skip
def test_a_longer_list_asks_the_database_no_oftener(ann: Browser, node: Node, path: str) -> None:
    ann.post("tags", {"name": "a"}, 201)
    counts, lengths = [], []
    for number in range(3):
        _one_of_each(ann, number)
        with CaptureQueriesContext(connection) as queries:
            lengths.append(len(ann.get(path)))
        counts.append(len(queries))
    assert len(set(counts)) == 1
    assert path == "me" or lengths == [lengths[0], lengths[0] + 1, lengths[0] + 2]


def _one_of_each(ann: Browser, number: int) -> None:
    uid = make_container(ann, f"c{number}", 32)
    ann.post("tags", {"name": f"t{number}"}, 201)
    ann.post(f"containers/{uid}", {"custom_distros_storage": True, "tags": ["a"]})
    body = {"container": uid, "filename": "x", "mountpoint": "y"}
    box = ann.post("loopboxes", body, 201)["id"]
    ann.post(f"loopboxes/{box}", {"tags": ["a"]})
    ann.post(f"domains/{ann.get('domains')[-1]['id']}", {"tags": ["a"]})
    ann.call("POST", f"alarms/raise/{uid}", b"x")
    _distro(ann, uid)
    port = {"container": uid, "proto": "tcp", "public_port": 2000 + number, "private_port": 8080}
    ann.post(f"portmappings/{ADDRESS}", port, 201)
