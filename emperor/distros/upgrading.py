"""Moves a distro's containers to a new build one by one, and back when one does not come up.

Each step leaves on disk what the next run needs: upgrades.py holds which two builds it is about,
each container's boot file on which of them it stands. So a killed upgrade goes on where it was.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from insula.emperor.distros import builds, grounding, making, store, upgrades, watching
from insula.emperor.distros.builds import Build
from insula.emperor.distros.upgrades import Upgrade
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node
from insula.emperor.storage import driver
from insula.vassals.errors import InsulaError
from insula.vassals.identity import API_UID
from insula.vassals.spec import ContainerSpec

# Apps announce every 10 s, and some take long to start.
BOUND_SECONDS = 60.0

Note = Callable[[str], None]
Make = Callable[[], Build]


class UpgradeFailed(InsulaError):
    """A container did not come up on the new build."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a container did not come up, and the end of its own log."""

    uid: int
    reason: str
    log: tuple[str, ...]


@dataclass
class Outcome:
    """What came of an upgrade or a rollback; ``state`` is open, done, undone or planned."""

    name: str
    old: str
    new: str
    state: str = "open"
    moved: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        failed = [{"uid": f.uid, "reason": f.reason, "log": list(f.log)} for f in self.failed]
        return {
            "name": self.name, "old": self.old, "new": self.new, "state": self.state,
            "moved": self.moved, "left": self.left, "failed": failed,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """How an upgrade is made; ``only``: these containers now, the others in a later run."""

    only: tuple[int, ...] = ()
    keep_going: bool = False
    bound_seconds: float = BOUND_SECONDS


def upgrade(node: Node, name: str, make: Make, note: Note, wanted: Wanted) -> Outcome:
    """Have all containers of a distro stand on a new build, which ``make`` makes.

    The first that does not come up takes all back to the old build, unless ``keep_going``: then it
    alone goes back. An upgrade that was left open goes on and makes nothing.
    """
    store.require(node, name)
    with builds.changing(node.paths):
        builds.adopt(node.paths)
        known = upgrades.read(node.paths, name)
        if known is not None and known.state == "back":
            note("an upgrade that failed is taken back first")
            _take_back(node, known, note, wanted)
            known = None
        if known is None or not known.is_open:
            _check_only(node, name, wanted)
            known = _begun(node, name, make())
        else:
            note(f"going on with the upgrade to {known.new_build.name[1:]}")
            _check_only(node, name, wanted)
        return _move_all(node, known, note, wanted)


def rollback(node: Node, name: str, note: Note, wanted: Wanted) -> Outcome:
    """Take a distro and its containers back to the build before its last upgrade.

    Raises PreparationError when there is none.
    """
    store.require(node, name)
    with builds.changing(node.paths):
        known = upgrades.read(node.paths, name)
        if known is None or not known.old_build.tree(node.paths).is_dir():
            raise PreparationError(
                f"there is no build of {name} to go back to",
                "one is kept from an upgrade to the next build or prune",
            )
        if known.state == "done":
            # What they announce by now, not what they did before the upgrade.
            known = replace(known, announced={})
            for spec in _on(node, name, known.new_build):
                known = known.noted(
                    node.paths, spec.uid, frozenset(watching.announced(node, spec.uid))
                )
        return _take_back(node, known, note, wanted)


def prune(node: Node, name: str) -> list[str]:
    """Delete the build that is kept for a rollback; returns the names of what went."""
    store.require(node, name)
    with builds.changing(node.paths):
        known = upgrades.read(node.paths, name)
        if known is not None and known.is_open:
            raise PreparationError(
                f"an upgrade of {name} is not finished", f"insula distro upgrade {name} goes on"
            )
        before = set(builds.all_builds(node.paths))
        upgrades.forget(node.paths, name)
        making.sweep(node, driver(node))
        return sorted(build.name[1:] for build in before - set(builds.all_builds(node.paths)))


def planned(node: Node, name: str) -> Outcome:
    """Whom an upgrade would move now; nothing is changed."""
    store.require(node, name)
    known = upgrades.read(node.paths, name)
    current = builds.current(node.paths, name)
    outcome = Outcome(name, current.name if current else "", "", "planned")
    if known is not None and known.is_open:
        outcome.new = known.new_build.name
        outcome.left = [spec.uid for spec in _left(node, known)]
    else:
        outcome.left = [spec.uid for spec in _users(node, name)]
    return outcome


def _begun(node: Node, name: str, new: Build) -> Upgrade:
    old = builds.current(node.paths, name)
    assert old is not None
    return Upgrade(name, old.number, new.number, "moving").saved(node.paths, "moving")


def _check_only(node: Node, name: str, wanted: Wanted) -> None:
    users = {spec.uid for spec in _users(node, name)}
    for uid in wanted.only:
        if uid not in users:
            raise PreparationError(
                f"container {uid} does not stand on {name}", "insula distro list"
            )


def _move_all(node: Node, known: Upgrade, note: Note, wanted: Wanted) -> Outcome:
    outcome = Outcome(known.distro, known.old_build.name, known.new_build.name)
    gave_up: set[int] = set()
    # Again and again: a container may be made in the meantime.
    while todo := _chosen(_left(node, known), wanted, gave_up):
        for spec in todo:
            known, failure = _move(node, known, spec, note, wanted)
            if failure is None:
                outcome.moved.append(spec.uid)
                continue
            outcome.failed.append(failure)
            gave_up.add(spec.uid)
            if not wanted.keep_going:
                note("taking all of them back to the old build")
                back = _take_back(node, known, note, wanted)
                outcome.state, outcome.moved = back.state, []
                outcome.failed += back.failed
                return outcome
    outcome.left = [spec.uid for spec in _left(node, known)]
    if set(outcome.left) <= gave_up:
        builds.make_current(node.paths, known.new_build)
        known.saved(node.paths, "done")
        making.sweep(node, driver(node))
        outcome.state = "done"
    return outcome


def _chosen(left: list[ContainerSpec], wanted: Wanted, gave_up: set[int]) -> list[ContainerSpec]:
    return [
        spec
        for spec in left
        if spec.uid not in gave_up and (not wanted.only or spec.uid in wanted.only)
    ]


def _move(
    node: Node, known: Upgrade, spec: ContainerSpec, note: Note, wanted: Wanted
) -> tuple[Upgrade, Failure | None]:
    """Move one container; one that does not come up goes back to where it stood."""
    domains = frozenset(watching.announced(node, spec.uid))
    known, begin = known.noted(node.paths, spec.uid, domains), time.monotonic()
    domains = frozenset(known.announced[str(spec.uid)])
    reason = _boot_on(node, spec, known.new_build, domains, wanted)
    if not reason:
        took, count = time.monotonic() - begin, len(domains)
        note(f"{spec.uid} {spec.name}: on the new build in {took:.1f} s, {count} domains")
        return known, None
    failure = Failure(spec.uid, reason, tuple(watching.last_lines(node, spec.uid)))
    note(f"{spec.uid} {spec.name}: {reason}; it goes back to the old build")
    _boot_on(node, spec, known.old_build, domains, wanted)
    return known, failure


def _boot_on(
    node: Node, spec: ContainerSpec, build: Build, domains: frozenset[str], wanted: Wanted
) -> str:
    """Reboot a container onto a build; returns an empty text, or why it is not back."""
    # One that ran nothing before cannot show that it comes up.
    was_running = watching.running_on(node, spec) is not None
    try:
        since = grounding.move(node, spec, build)
    except (InsulaError, OSError) as error:
        return str(error)
    if not was_running and not domains:
        return ""
    return watching.wait_until_back(
        node, spec, build, domains, since=since, seconds=wanted.bound_seconds
    )


def _take_back(node: Node, known: Upgrade, note: Note, wanted: Wanted) -> Outcome:
    """Everything onto the old build; one that does not come up there does not stop the others."""
    known = known.saved(node.paths, "back")
    builds.make_current(node.paths, known.old_build)
    outcome = Outcome(known.distro, known.old_build.name, known.new_build.name, "undone")
    for spec in _on(node, known.distro, known.new_build):
        domains = frozenset(known.announced.get(str(spec.uid), ()))
        reason = _boot_on(node, spec, known.old_build, domains, wanted)
        if reason:
            log = tuple(watching.last_lines(node, spec.uid))
            outcome.failed.append(Failure(spec.uid, f"back on the old build: {reason}", log))
        else:
            outcome.moved.append(spec.uid)
        note(f"{spec.uid} {spec.name}: back on the old build{f': {reason}' if reason else ''}")
    upgrades.forget(node.paths, known.distro)
    making.sweep(node, driver(node))
    return outcome


def _left(node: Node, known: Upgrade) -> list[ContainerSpec]:
    """The containers of the distro that do not stand on the new build yet."""
    on_new = {spec.uid for spec in _on(node, known.distro, known.new_build, whole=True)}
    return [spec for spec in _users(node, known.distro) if spec.uid not in on_new]


def _on(node: Node, distro: str, build: Build, *, whole: bool = False) -> Iterable[ContainerSpec]:
    """Who boots on a build or runs on it; with ``whole`` only who does both."""
    stood_on = making.stood_on(node)
    for spec in _users(node, distro):
        boots = stood_on.get(spec.uid) == build
        running = watching.running_on(node, spec)
        runs = running == build
        if (boots and (runs or running is None)) if whole else (boots or runs):
            yield spec


def _users(node: Node, name: str) -> list[ContainerSpec]:
    """The customers' containers that name this distro."""
    specs = grounding.specs_of(node)
    uids = [int(uid) for uid in store.users(node, name)]
    return [specs[uid] for uid in uids if uid in specs and uid != API_UID]
