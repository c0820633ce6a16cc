"""Domains: proven in the DNS, in one form, one owner each."""

from collections.abc import Callable

import pytest

from insula.api import proof
from insula.api.models import Domain, Node
from tests.unit.api.conftest import Person
from tests.unit.api.wire.conftest import Browser, make_container


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[bytes]]:
    """The TXT records that the DNS has."""
    records: dict[str, set[bytes]] = {}
    monkeypatch.setattr(proof, "txt_records", lambda name, seconds: records.get(name, set()))
    return records


def _prove(zone: dict[str, set[bytes]], someone: Browser, name: str = "example.org") -> None:
    zone.setdefault(name, set()).add(f"uwsgi:{someone.customer.uuid}".encode())


def test_a_proven_domain_is_attached(ann: Browser, zone: dict[str, set[bytes]]) -> None:
    _prove(zone, ann)
    made = ann.post("domains/", {"name": "A.Example.ORG."}, 201)
    number = made["id"]
    assert made == {
        "message": "Created", "id": number, "name": "a.example.org", "uuid": made["uuid"],
        "tags": [], "note": "",
    }  # fmt: skip
    line = {"id": number, "name": "a.example.org", "uuid": made["uuid"], "tags": []}
    assert ann.get("domains") == [line]
    assert ann.get(f"domains/{number}") == line | {"note": ""}


def test_a_wildcard_is_proven_by_its_parent(ann: Browser, zone: dict[str, set[bytes]]) -> None:
    _prove(zone, ann)
    ann.post("domains", {"name": ".example.org"}, 201)
    ann.post("domains", {"name": "a.b.example.org"}, 201)


def test_a_part_of_the_record_proves_nothing(ann: Browser, zone: dict[str, set[bytes]]) -> None:
    wanted = f"uwsgi:{ann.customer.uuid}".encode()
    zone["example.org"] = {wanted + b" ", b"x" + wanted, wanted[:-1]}
    zone["org"] = {wanted}
    answer = ann.post("domains", {"name": "example.org"}, 403)
    assert answer["error"] == "Forbidden"
    assert wanted.decode() in answer["hint"]
    assert not Domain.objects.exists()


def test_what_is_mapped_is_409_before_the_dns_is_asked(
    ann: Browser, bob: Browser, zone: dict[str, set[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _prove(zone, ann)
    ann.post("domains", {"name": "example.org"}, 201)

    def refuse(name: str, seconds: float) -> set[bytes]:
        raise AssertionError("asked the DNS")

    monkeypatch.setattr(proof, "txt_records", refuse)
    for someone in (ann, bob):
        for name in ("example.org", "EXAMPLE.org."):
            assert someone.post("domains", {"name": name}, 409)["error"] == "Conflict"


def test_the_platforms_names_are_409(ann: Browser, zone: dict[str, set[bytes]]) -> None:
    ann.post("domains", {"name": "x.insula.test"}, 409)


@pytest.mark.parametrize(
    "name",
    [
        "x/../../../etc/a.example.org", "a b.example.org", "a.example.org\n", "a\x00.example.org",
        "a%2f.example.org", "example", "", ".", "..", "-a.example.org", "a-.example.org",
        "x" * 64 + ".example.org", ".".join(["abcdefgh"] * 30), "*.example.org", "1.2.3.4",
        "é.example.org", "a..example.org", "%(x).example.org", None, 1, [], {},
    ],
    ids=lambda name: repr(name)[:30],
)  # fmt: skip
def test_no_other_name_is_taken(ann: Browser, zone: dict[str, set[bytes]], name: object) -> None:
    _prove(zone, ann)
    if name == "a.example.org\n":
        # What surrounds a name is not part of it.
        assert ann.post("domains", {"name": name}, 201)["name"] == "a.example.org"
        return
    assert ann.call("POST", "domains", {"name": name}).status == 400
    assert ann.call("POST", "domains", {}).status == 400
    assert not Domain.objects.exists()


def test_a_domain_is_taken_away_by_name_or_by_number(
    ann: Browser, bob: Browser, zone: dict[str, set[bytes]]
) -> None:
    _prove(zone, ann)
    first = ann.post("domains", {"name": "a.example.org"}, 201)["id"]
    ann.post("domains", {"name": "b.example.org"}, 201)
    for method, path, body in (
        ("DELETE", "domains", {"name": "b.example.org"}),
        ("DELETE", "domains", {"name": "no/name"}),
        ("DELETE", f"domains/{first}", None),
        ("GET", f"domains/{first}", None),
        ("POST", f"domains/{first}", {"note": "mine"}),
        ("GET", f"domains/{first}/containers", None),
    ):
        assert bob.call(method, path, body).status == 404
    assert len(ann.get("domains")) == 2
    assert ann.call("DELETE", "domains", {"name": "B.example.org"}).body == {"message": "Ok"}
    assert ann.call("DELETE", f"domains/{first}").body == {"message": "Ok"}
    assert ann.get("domains") == []
    assert ann.call("DELETE", "domains", {"name": "b.example.org"}).status == 404


def test_the_next_owner_reads_nothing_of_the_last(
    ann: Browser, bob: Browser, zone: dict[str, set[bytes]]
) -> None:
    _prove(zone, ann)
    _prove(zone, bob)
    ann.post("tags", {"name": "t"}, 201)
    first = ann.post("domains", {"name": "example.org"}, 201)
    ann.post(f"domains/{first['id']}", {"note": "secret", "tags": ["t"]})
    ann.call("DELETE", f"domains/{first['id']}")
    second = bob.post("domains", {"name": "example.org"}, 201)
    assert (second["note"], second["tags"]) == ("", [])
    assert second["uuid"] != first["uuid"]
    assert ann.call("GET", f"domains/{first['id']}").status == 404


def test_a_domain_is_described(ann: Browser, zone: dict[str, set[bytes]]) -> None:
    _prove(zone, ann)
    for name in ("t", "u"):
        ann.post("tags", {"name": name}, 201)
    number = ann.post("domains", {"name": "example.org"}, 201)["id"]
    other = ann.post("domains", {"name": "a.example.org"}, 201)["id"]
    changed = ann.post(f"domains/{number}", {"note": "n", "tags": ["t", "u", "no"]})
    assert (changed["note"], changed["tags"]) == ("n", ["t", "u"])
    assert [row["id"] for row in ann.get("domains?tags=t,u")] == [number]
    for bad in ({"note": None}, {"tags": "t"}, {"tags": [1]}, {"note": "\x00"}, b"", b"[]"):
        body = {"note": "other"} | bad if isinstance(bad, dict) else bad
        assert ann.call("POST", f"domains/{number}", body).status == 400
    assert ann.get(f"domains/{number}") == changed
    assert ann.get(f"domains/{other}")["tags"] == []


def test_a_containers_own_name_stays_with_it(
    ann: Browser, node: Node, operator: Person, zone: dict[str, set[bytes]]
) -> None:
    make_container(ann)
    (row,) = ann.get("domains")
    assert row["name"] == "shop.insula.test"
    assert ann.call("DELETE", f"domains/{row['id']}").status == 409


# What the DNS is asked.


def test_only_parents_with_two_labels_prove() -> None:
    assert proof.candidates("a.b.example.org") == [
        "a.b.example.org",
        "b.example.org",
        "example.org",
    ]
    assert proof.candidates(".example.org") == ["example.org"]
    many = ".".join("abcdefghijklmnopqrstuvwxyz")
    assert len(proof.candidates(many)) == proof.MAXIMUM_PARENTS
    assert proof.candidates(many)[-1] == "y.z"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.2", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "::1"],
)
def test_no_name_server_inside_is_asked(address: str) -> None:
    assert not proof.is_public(address)


def test_the_outside_may_be_asked() -> None:
    assert proof.is_public("9.9.9.9")


def _slowly(clock: list[float], seconds: float) -> Callable[[str, float], set[bytes]]:
    def answer(name: str, left: float) -> set[bytes]:
        clock[0] += min(seconds, left)
        return set()

    return answer


def test_the_whole_walk_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(proof, "txt_records", _slowly(clock, 3.0))
    many = ".".join("abcdefghijklmnopqrstuvwxyz")
    assert not proof.is_proven(many, "x", clock=lambda: clock[0])
    assert clock[0] == proof.WALK_SECONDS


def test_slow_name_servers_do_not_hold_every_thread(
    ann: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    while proof._walking.acquire(blocking=False):
        pass
    try:
        answer = ann.call("POST", "domains", {"name": "example.org"})
        assert (answer.status, answer.body["error"]) == (503, "Service unavailable")
        assert answer.headers["Retry-After"]
    finally:
        proof._walking.release()
        proof._walking.release()
