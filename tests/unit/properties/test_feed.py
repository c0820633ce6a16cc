"""Any order, loss and repetition of answers, any kill: the state goes forward and loses nothing."""

import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from insula.emperor.daemon import feed
from insula.emperor.daemon.feed import FeedClient
from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import FeedError
from insula.vassals.spec import CustomerSpec, DesiredState, DomainSpec

NAMES = ("a.test", "b.test", ".c.test")
PEM = "-----BEGIN PUBLIC KEY-----\nx\n"
GARBAGE: tuple[object, ...] = (
    None,
    [],
    {},
    "<html>",
    {"unchanged": "yes"},
    {"revision": 10**9},
    {"unchanged": True},
)


class Killed(BaseException):
    """The process is gone."""


class Feed(RuleBasedStateMachine):
    """An API with a history, a network that repeats and forgets, a client that is killed."""

    @initialize()
    def begin(self) -> None:
        self.directory = TemporaryDirectory(prefix="insula-feed-")
        self.cache = Path(self.directory.name) / "feed.json"
        self.history = [DesiredState("test", 1, (), (CustomerSpec(1, "k", PEM),), ())]
        # What the API has ever said of each domain that the client has taken, newest last.
        self.taken: DesiredState | None = None
        self.start()

    def start(self) -> None:
        self.answer: object = None
        self.client = FeedClient(lambda _: self.answer, self.cache)
        found = self.client.load()
        known = self.taken.revision if self.taken else -1
        assert (found.revision if found else -1) >= known, "a restart went back"
        self.took()

    @rule(name=st.sampled_from(NAMES), owner=st.integers(1, 2), is_attached=st.booleans())
    def api_changes(self, name: str, owner: int, is_attached: bool) -> None:
        last = self.history[-1]
        others = tuple(item for item in last.domains if item.name != name)
        domain = DomainSpec(name, owner, "attached" if is_attached else "detached")
        self.history.append(
            dataclasses.replace(last, revision=last.revision + 1, domains=(*others, domain))
        )

    @rule(which=st.integers(0, 30))
    def an_answer_comes(self, which: int) -> None:
        """The newest, or one that was held up on its way."""
        self.hear(self.history[-1 - which % len(self.history)].to_json())

    @rule(which=st.integers(0, 30), left_out=st.sampled_from(("domains", "customers")))
    def an_answer_leaves_something_out(self, which: int, left_out: str) -> None:
        """A broken API: the newest revision without what it should say."""
        last = self.history[-1]
        self.history.append(dataclasses.replace(last, revision=last.revision + 1))
        self.hear({**self.history[-1].to_json(), left_out: []})

    @rule(ahead=st.integers(0, 5))
    def another_installation_answers(self, ahead: int) -> None:
        if self.taken is not None:
            other = dataclasses.replace(
                self.history[-1], installation="other", revision=self.taken.revision + ahead
            )
            with pytest.raises(FeedError):
                self.hear(other.to_json())

    @rule(garbage=st.sampled_from(GARBAGE))
    def garbage_comes(self, garbage: object) -> None:
        self.hear(garbage)

    @rule(which=st.integers(0, 30), is_kept=st.booleans())
    def killed_while_it_adopts(self, which: int, is_kept: bool) -> None:
        """Between the answer and the file, or between the file and what acts on it."""

        def dying(path: Path, data: bytes, *, mode: int, owner: int, group: int) -> bool:
            assert self.client.state == self.taken, "acted on before it was kept"
            if is_kept:
                write_atomic(path, data, mode=mode, owner=owner, group=group)
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(feed, "write_atomic", dying)
            try:
                self.an_answer_comes(which)
            except Killed:
                self.start()

    @rule()
    def killed(self) -> None:
        self.start()

    def hear(self, answer: object) -> None:
        self.answer = json.loads(json.dumps(answer))
        before = self.client.state
        try:
            is_new = self.client.poll()
        except FeedError:
            assert self.client.state == before
            if isinstance(answer, dict) and answer.get("installation") == "other":
                raise
            return
        assert is_new == (self.client.state != before)
        self.took()

    def took(self) -> None:
        """Only forwards; and whatever was known is still there."""
        state, known = self.client.state, self.taken
        if state is not None and known is not None:
            assert state.installation == known.installation
            assert state.revision >= known.revision
            assert {item.name for item in known.domains} <= {item.name for item in state.domains}
            assert {item.id for item in known.customers} <= {item.id for item in state.customers}
        self.taken = state

    def teardown(self) -> None:
        if not hasattr(self, "directory"):
            return
        last = self.history[-1]
        self.history.append(dataclasses.replace(last, revision=last.revision + 1))
        self.an_answer_comes(0)
        assert self.client.state is not None
        assert self.client.state.revision == self.history[-1].revision
        assert set(self.history[-1].domains) <= set(self.client.state.domains)
        self.directory.cleanup()


TestFeed = Feed.TestCase
