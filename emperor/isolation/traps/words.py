"""Words with line breaks, macros and commands in every field whose text reaches a node."""

import copy
from pathlib import PurePosixPath
from typing import Any

from insula.emperor.isolation.arena import ATTACKER, Arena
from insula.emperor.isolation.attacks.contract import Held
from insula.emperor.isolation.traps.contract import trap
from insula.emperor.isolation.traps.customer import Customer, customer
from insula.vassals import grammar
from insula.vassals.errors import InsulaError
from insula.vassals.spec import DesiredState

WORDS = (
    "a\nexec-asap = id", "a\r\nhook-as-root = exec:id", "a\n[uwsgi]", "%(container)", "a%",
    "@(/etc/shadow)", "exec://id", "$(id)", "`id`", "a;id", "../../etc", "/etc/shadow", "a\0b",
    "\x1b]0;a\x07", "a b",
    "a\u2028b", "\u202ea", "a" * 300, "", "-oProxyCommand=id",
)  # fmt: skip
# What may stand in a key's comment or a token's name: it is shown, and never interpreted.
_HARMLESS = ("%", "exec:", "$(", "`", ";", "@(", "/", "a b", "-o", "a" * 300)
_FIELDS = ("hostname", "distro", "timezone", "locale")
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBp8u0n0n0n0n0n0n0n0n0n0n0n0n0n0n0n0n0n0n0n0"


@trap
def name_with_line_break(made: Arena) -> str:
    """By the API, as a customer: names, settings, keys, domains, tokens."""
    with customer(made) as asking:
        place = f"/api/v1/containers/{made.attacker.uid}"
        before = asking.ask("GET", place)[1]
        refused = 0
        for word in WORDS:
            for field in _FIELDS:
                if _is_taken(asking, "PATCH", place, {field: word}):
                    asking.ask("PATCH", place, {field: before[field]})
                    return f"the API took {word!r} for a {field}"
            for method, url, body in _others(word, place):
                if _is_taken(asking, method, url, body):
                    asking.ask("PATCH", place, {"ssh_keys": before["ssh_keys"]})
                    return f"the API took {word!r} by {method} {url}"
            refused += len(_FIELDS) + len(_others(word, place))
    raise Held(f"{refused} requests were refused")


def _others(word: str, place: str) -> list[tuple[str, str, object]]:
    """Requests whose text is refused wherever it stands; a comment may hold what is harmless."""
    found: list[tuple[str, str, object]] = [
        ("PATCH", place, {"ssh_keys": [f"{word or '-'} {_KEY}"]}),
        ("POST", "/api/v1/domains", {"name": f"{word or '-'}.isolation.invalid"}),
        ("POST", "/api/v1/containers", {"name": word}),
    ]
    if word and not any(part in word for part in _HARMLESS):
        found.append(("PATCH", place, {"ssh_keys": [f"{_KEY} {word}"]}))
        found.append(("POST", f"/api/v1/customers/{ATTACKER}/tokens", {"name": word}))
    return found


def _is_taken(asking: Customer, method: str, url: str, body: object) -> bool:
    status, said = asking.ask(method, url, body)
    if status >= 500 or status in (401, 429):
        # neither is a look at the word
        raise ValueError(f"{method} {url} with {body!r}: {status} {said}")
    return 200 <= status < 300


@trap
def feed_hostile_names(made: Arena) -> str:
    """By an API that says what it likes: the feed of this node, with a hostile word in it."""
    feed, place = _feed(made)
    refused = 0
    for word in WORDS:
        for field in (*_FIELDS, "name"):
            hostile = copy.deepcopy(feed)
            hostile["containers"][place][field] = word
            if _is_believed(hostile):
                return f"the node took {word!r} for a {field}"
            refused += 1
        for keys in ([f"{word} {_KEY}"], [f"{_KEY}\n{word}"]) if word else ():
            hostile = copy.deepcopy(feed)
            hostile["containers"][place]["ssh_keys"] = keys
            if _is_believed(hostile):
                return f"the node took the key line {keys[0]!r}"
            refused += 1
    raise Held(f"the node refused {refused} feeds")


@trap
def write_hostile_vassal(made: Arena) -> str:
    """By an API that says what it likes: lines in the vassal file that a node would run as root."""
    feed, place = _feed(made)
    text, uid = feed["containers"][place]["vassal"], made.attacker.uid
    include = PurePosixPath(made.node.paths.container_ini)
    grammar.check(text, uid=uid, container_ini=include)
    hostile = [f"{text}{line}\n" for line in _LINES]
    hostile += [f"{line}\n{text}" for line in _LINES]
    hostile += [text.replace("strict = true\n", f"{line}\n") for line in _LINES]
    hostile += [text.replace("hostname=", f"hostname={word}") for word in WORDS if word]
    hostile += [
        text.replace(str(include), "exec://id"),
        text.replace(str(include), f"{made.attacker.home}/x.ini"),
        text.replace(str(uid), str(made.victim.uid)), text.replace(str(uid), "0"),
        text.replace("\n", "\r\n"), text.replace("\n", "\n\n"), text + text, f"\ufeff{text}",
    ]  # fmt: skip
    for one in hostile:
        try:
            grammar.check(one, uid=uid, container_ini=include)
        except InsulaError:
            continue
        return f"the node would write {one!r}"
    raise Held(f"the node refused {len(hostile)} vassal files")


_LINES = (
    "exec-asap = id", "hook-asap = exec:id", "hook-as-root = write:/etc/x y", "uid = 0",
    "ini = exec://id", "include = http://127.0.0.1/", "set-ph = container=0", "%x", "; exec",
    "[uwsgi]", "emperor = /tmp", "plugin = /containers/30001/x.so", "env = LD_PRELOAD=/tmp/x",
)  # fmt: skip


def _feed(made: Arena) -> tuple[dict[str, Any], int]:
    """What the API says of this node today, and where the attacker's container stands in it."""
    feed: dict[str, Any] = made.call("GET", "/api/v1/node/feed?since=-1")
    DesiredState.from_json(feed)
    uids = [item["uid"] for item in feed["containers"]]
    return feed, uids.index(made.attacker.uid)


def _is_believed(feed: dict[str, Any]) -> bool:
    try:
        DesiredState.from_json(feed)
    except InsulaError:
        return False
    return True
