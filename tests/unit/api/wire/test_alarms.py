"""Alarms: exact keys, filters, windows, the cap, and the key that raises them."""

import time
from typing import Any
from urllib.parse import quote

import pytest

from insula.api.actions import alarms as actions
from insula.api.models import Alarm, Node, Notification
from tests.unit.api.wire.conftest import Browser, basic, make_container

KEYS = {"id", "container", "level", "color", "class", "vassal", "line", "filename", "func"}
KEYS |= {"unix", "msg"}


@pytest.fixture
def uid(ann: Browser, node: Node) -> int:
    return make_container(ann)


def _raise(someone: Browser, uid: int, query: str = "", msg: bytes = b"oops") -> int:
    answer = someone.call("POST", f"alarms/raise/{uid}?{query}", msg)
    assert answer.status == 201, answer
    assert answer.body["message"] == "Created"
    return int(answer.body["id"])


def _ids(someone: Browser, query: str) -> list[int]:
    return [row["id"] for row in someone.get(f"alarms?{query}")]


def test_an_alarm_has_exactly_these_keys(ann: Browser, uid: int) -> None:
    before = int(time.time())
    number = _raise(ann, uid, msg=b'"quoted"')
    alarm = ann.get(f"alarms/{number}")
    assert set(alarm) == KEYS
    assert (alarm["msg"], alarm["level"], alarm["color"]) == ('"quoted"', 1, "#ffffff")
    assert before <= alarm["unix"] <= time.time()
    empty = ("class", "vassal", "line", "filename", "func")
    assert [alarm[key] for key in empty] == [None] * 5


def test_all_that_is_said_is_kept(ann: Browser, uid: int) -> None:
    query = "class=c&vassal=v&line=7&func=f&filename=x.py&color=%23AAbb00&level=4&unix=5"
    alarm = ann.get(f"alarms/{_raise(ann, uid, query)}")
    expected = {
        "container": uid, "class": "c", "vassal": "v", "line": 7, "func": "f",
        "filename": "x.py", "color": "#AAbb00", "level": 4, "unix": 5, "msg": "oops",
    }  # fmt: skip
    assert {key: alarm[key] for key in expected} == expected


def test_trigger_is_another_word_for_raise(ann: Browser, uid: int) -> None:
    assert ann.call("POST", f"alarms/trigger/{uid}", b"x").status == 201
    for word in ("raise", "trigger"):
        assert ann.call("GET", f"alarms/{word}/{uid}").status == 405


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("level=0", 403), ("level=-1", 403), ("level=5", 400), ("level=x", 400),
        ("color=fff", 409), ("color=%23fffffff", 409), ("color=gggggg", 400),
        ("color=%0affffff", 409), ("line=x", 400), ("line=-1", 400), ("line=1e9", 400),
        ("line=99999999999999999999", 400), ("unix=x", 400), ("unix=-1", 400),
        ("unix=99999999999", 400), ("class=a%0ab", 400), ("vassal=%00", 400),
        ("func=" + "x" * 256, 400), ("filename=%1b", 400),
    ],
)  # fmt: skip
def test_a_malformed_alarm_is_none(ann: Browser, uid: int, query: str, status: int) -> None:
    assert ann.call("POST", f"alarms/raise/{uid}?{query}", b"x").status == status
    assert not Alarm.objects.exists()


def test_any_bytes_are_a_message(ann: Browser, uid: int) -> None:
    alarm = ann.get(f"alarms/{_raise(ann, uid, msg=bytes([0xFF, 0, 0x41]))}")
    assert alarm["msg"] == "\ufffd\ufffdA"
    assert ann.get(f"alarms/{_raise(ann, uid, msg=b'')}")["msg"] == ""
    assert ann.call("POST", f"alarms/raise/{uid}", b"x" * 65537).status == 413


def test_the_newest_comes_first_by_its_own_time(ann: Browser, uid: int) -> None:
    numbers = [_raise(ann, uid, f"unix={unix}") for unix in (30, 10, 20)]
    assert _ids(ann, "") == [numbers[0], numbers[2], numbers[1]]


def test_filters_match_exactly_and_blank_ones_not_at_all(ann: Browser, uid: int) -> None:
    other = make_container(ann, "other")
    query = "class=c&vassal=v&line=7&func=f&filename=x.py&color=aabbcc&level=4"
    first, second = _raise(ann, uid, query), _raise(ann, other)
    for text in query.split("&"):
        assert _ids(ann, text) == [first], text
    assert _ids(ann, "color=%23aabbcc") == [first]
    assert _ids(ann, "class=C") == []
    assert _ids(ann, f"container={other}") == [second]
    assert _ids(ann, f"container={other}&level=4") == []
    blank = "container=&vassal=&class=&color=&level=&line=&filename=&func="
    assert _ids(ann, blank) == [second, first]
    for bad in ("level=x", "line=x", "container=x", "vassal=%00"):
        assert ann.call("GET", f"alarms?{bad}").status == 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", [0, 1, 2]), ("0", []), ("99", list(range(12))), ("0-2", [0, 1]),
        ("5-10", [5, 6, 7, 8, 9]), ("10-20", [10, 11]), ("50-60", []), ("3-3", []),
        ("10-5", [9, 8, 7, 6, 5]), ("2-0", [1, 0]),
    ],
)  # fmt: skip
def test_a_range_is_a_window(ann: Browser, uid: int, text: str, expected: list[int]) -> None:
    newest_first = [_raise(ann, uid, f"unix={100 - age}") for age in range(12)]
    assert _ids(ann, f"range={text}") == [newest_first[age] for age in expected]
    counted = ann.get(f"alarms?range={text}&with_total")
    assert (counted["total"], len(counted["alarms"])) == (12, len(expected))


@pytest.mark.parametrize("text", ["", "a", "6-", "-6", "1-2-3", " 1", "1.5", "9999999999", "٣"])
def test_a_malformed_range_is_416(ann: Browser, uid: int, text: str) -> None:
    answer = ann.call("GET", f"alarms?range={quote(text)}")
    assert (answer.status, answer.body["error"]) == (416, "Requested Range Not Satisfiable")


def test_a_new_alarm_pushes_the_oldest_out(
    ann: Browser, uid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MAXIMUM_ALARMS", 3)
    other = _raise(ann, make_container(ann, "other"), "unix=0")
    numbers = [_raise(ann, uid, f"unix={unix}") for unix in (30, 10, 20, 40)]
    assert _ids(ann, f"container={uid}") == [numbers[3], numbers[0], numbers[2]]
    assert ann.get(f"alarms/{other}")["unix"] == 0


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_stranger_gets_403(ann: Browser, bob: Browser, uid: int, method: str) -> None:
    number = _raise(ann, uid)
    for other in (number, 999_999):
        assert bob.call(method, f"alarms/{other}").status == 403
    assert bob.call("GET", f"alarms?container={uid}").status == 403
    assert bob.call("POST", f"alarms/raise/{uid}", b"x").status == 403
    assert bob.call(method, f"alarm_key/{uid}").status in (403, 405)
    assert bob.get("alarms") == []
    assert ann.call("DELETE", f"alarms/{number}").body == {"message": "Ok"}
    assert ann.get("alarms") == []


def test_a_key_raises_alarms_of_its_container_and_opens_nothing_else(
    ann: Browser, nobody: Browser, uid: int
) -> None:
    other = make_container(ann, "other")
    answer = ann.call("GET", f"alarm_key/{uid}")
    key = answer.body["alarm_key"]
    assert (answer.body["message"], len(key), answer.headers["Cache-Control"]) == (
        "Ok", 36, "no-store",
    )  # fmt: skip
    _raise(nobody, uid, f"key={key}")
    assert nobody.call("POST", f"alarms/raise/{uid}", b"x", x_uwsgi_it_alarm_key=key).status == 201
    assert nobody.call("POST", f"alarms/raise/{other}?key={key}", b"x").status == 401
    assert nobody.call("GET", f"alarms?key={key}").status == 401
    assert nobody.call("GET", f"containers/{uid}?key={key}").status == 401
    assert key not in str(Notification.objects.values_list())
    newer = ann.post(f"alarm_key/{uid}", None)["alarm_key"]
    assert nobody.call("POST", f"alarms/raise/{uid}?key={key}", b"x").status == 401
    _raise(nobody, uid, f"key={newer}")


def test_a_wrong_login_is_not_helped_by_a_key(ann: Browser, nobody: Browser, uid: int) -> None:
    key = ann.get(f"alarm_key/{uid}")["alarm_key"]
    path = f"alarms/raise/{uid}?key={key}"
    assert nobody.call("POST", path, b"x", authorization=basic("ann@x:wrong")).status == 401
    for bad in ("", "x", "x" * 36, "%00" * 36):
        assert nobody.call("POST", f"alarms/raise/{uid}?key={bad}", b"x").status == 401
    assert nobody.call("POST", "alarms/raise/30999?key=" + "x" * 36, b"x").status == 401


def test_a_container_without_a_key_is_opened_by_none(nobody: Browser, uid: int) -> None:
    assert nobody.call("POST", f"alarms/raise/{uid}?key={'0' * 36}", b"x").status == 401


def test_a_list_asks_the_database_equally_often(
    ann: Browser, uid: int, django_assert_num_queries: Any
) -> None:
    for count in (1, 5):
        for _ in range(count):
            _raise(ann, uid)
        with django_assert_num_queries(2):
            ann.get("alarms")
