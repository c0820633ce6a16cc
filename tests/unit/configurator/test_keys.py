"""When signing keys are asked for."""

import io
from pathlib import Path

from insula.configurator.keys import KeyStore
from insula.emperor.daemon.log import Log
from insula.emperor.errors import FeedError
from insula.vassals.spec import CustomerSpec, DesiredState
from tests.unit.configurator.examples import container

PEM = "-----BEGIN PRIVATE KEY-----\nx\n"


class Api:
    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self) -> object:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def desired(public: str = "p1") -> DesiredState:
    return DesiredState("x", 1, (container(),), (CustomerSpec(7, "acme", public),), ())


def store(api: Api) -> KeyStore:
    return KeyStore(api, Log("configurator", io.StringIO()), Path("/nonexistent"))


def test_a_key_is_asked_for_once_and_again_when_it_changes() -> None:
    api = Api({"keys": {"7": PEM}})
    keys = store(api)
    assert keys.keys(desired(), now=1) == {7: PEM}
    keys.keys(desired(), now=2)
    assert api.asked == 1
    keys.keys(desired("p2"), now=3)
    assert api.asked == 2


def test_an_api_that_does_not_answer_is_asked_again_later_only() -> None:
    api = Api(FeedError("down"))
    keys = store(api)
    for now in (1.0, 1.2, 1.9):
        assert keys.keys(desired(), now=now) == {}
    assert api.asked == 2
    assert not keys.is_complete(desired())


def test_an_answer_of_another_form_gives_no_key() -> None:
    answers: list[object] = [{}, [], {"keys": {"7": "text"}}, {"keys": {"x": PEM}}, {"keys": 3}]
    for answer in answers:
        assert store(Api(answer)).keys(desired(), now=1) == {}


def test_the_api_cannot_give_the_nodes_own_key() -> None:
    assert 0 not in store(Api({"keys": {"0": PEM}})).keys(desired(), now=1)


def test_a_key_does_not_show_in_a_repr() -> None:
    keys = store(Api({"keys": {"7": PEM}}))
    keys.keys(desired(), now=1)
    assert "PRIVATE" not in repr(keys)


def test_a_customer_that_the_answer_left_out_is_asked_for_again() -> None:
    api = Api({"keys": {}})
    keys = store(api)
    assert keys.keys(desired(), now=1) == {}
    assert not keys.is_complete(desired())
    api.answer = {"keys": {"7": PEM}}
    assert keys.keys(desired(), now=2) == {}
    assert keys.keys(desired(), now=7) == {7: PEM}
    assert keys.is_complete(desired())


def test_a_customers_first_container_comes_with_its_key() -> None:
    api = Api({"keys": {"7": PEM}})
    keys = store(api)
    empty = DesiredState("x", 1, (), (CustomerSpec(7, "acme", "p1"),), ())
    assert keys.keys(empty, now=1) == {}
    assert keys.keys(desired(), now=2) == {7: PEM}


def test_a_key_that_was_replaced_is_none_until_the_new_one_is_here() -> None:
    api = Api({"keys": {"7": PEM}})
    keys = store(api)
    assert keys.keys(desired("p1"), now=1) == {7: PEM}
    api.answer = FeedError("down")
    assert keys.keys(desired("p2"), now=2) == {}
    new = PEM.replace("x", "y")
    api.answer = {"keys": {"7": new}}
    assert keys.keys(desired("p2"), now=3) == {7: new}
