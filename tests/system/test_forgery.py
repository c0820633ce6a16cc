"""A customer who forges announcements gets nothing but refusals, and harms nobody."""

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from insula.emperor.isolation.arena import program
from insula.vassals import identity
from tests.system.conftest import HTTP_PORT, Node, until
from tests.system.processes import settings_of
from tests.system.steady import Steady

pytestmark = pytest.mark.system

THEIRS, OURS, API = "victim.example.com", "attacker.example.net", "api.insula.test"
SCRIPT = Path(__file__).with_name("forging.py")


@dataclass(frozen=True)
class Scene:
    """A victim whose site is asked all the time, and the attacker's container."""

    node: Node
    victim: int
    attacker: int
    visitor: Steady

    def forge(self, attack: str) -> dict[str, str]:
        """Run one group of attacks in the attacker's container; what the gate said to each."""
        network = settings_of(self.node).settings.ip_network
        paths = self.node.paths
        facts = {
            "victim": THEIRS,
            "own": OURS,
            "above": ".example.com",
            "upper": THEIRS.upper(),
            "api": API,
            "base": "victim.insula.test",
            "nobody": "nobody.example.org",
            "their ip": f"{identity.address_of(self.victim, network)}:80",
            "api ip": f"{identity.address_of(identity.API_UID, network)}:80",
            "gateway": f"{identity.gateway_of(network)}:80",
            "loopback": f"127.0.0.1:{HTTP_PORT}",
            "their socket": f"/run/sockets/../../{self.victim}/sockets/site.sock",
            "their file": str(paths.apps / str(self.victim) / "sockets/site.sock"),
        }
        command = f"PYTHONPATH=attacks.pyz python3 forging.py {attack} '{json.dumps(facts)}'"
        said: dict[str, str] = json.loads(self.node.ssh(self.attacker, command).stdout)
        return said

    def refused(self) -> list[str]:
        """The reason codes that the gate has traced for the attacker, in their order."""
        text = self.node.paths.trace("dominator", self.attacker).read_text()
        events = [json.loads(line) for line in text.splitlines()]
        return [e["detail"].split()[0] for e in events if e["step"] == "refused"]


@pytest.fixture(scope="module")
def scene(node: Node) -> Iterator[Scene]:
    for customer in ("victim", "attacker"):
        node.insula("customer", "create", customer)
    victim = node.container("victim", "victim")
    attacker = node.container("attacker", "attacker")
    node.insula("domain", "add", THEIRS, "--customer", "victim")
    node.insula("domain", "add", OURS, "--customer", "attacker")
    node.site(victim, THEIRS)
    node.site(attacker, OURS, words="the attacker")
    node.ssh(attacker, "cat > forging.py", stdin=SCRIPT.read_text())
    node.ssh(attacker, "base64 -d > attacks.pyz", stdin=b64encode(program()).decode())
    with Steady(node, THEIRS) as visitor:
        yield Scene(node, victim, attacker, visitor)


@pytest.fixture(autouse=True)
def the_victim_notices_nothing(scene: Scene) -> Iterator[None]:
    """Around each attack: not one request of the victim's visitors fails or goes elsewhere."""
    before = scene.visitor.count
    yield
    until(lambda: scene.visitor.count > before + 20, 20, "the visitor goes on")
    scene.visitor.lost_nothing(of_at_least=20)
    assert scene.visitor.bodies == {THEIRS.encode()}


def test_the_domains_of_others_are_refused(scene: Scene) -> None:
    said = scene.forge("domains")
    foreign = ("victim", "upper", "api", "base")
    wanted = {f"domain {name}": "foreign-domain" for name in foreign}
    wanted |= {"domain above": "unattached-domain", "domain nobody": "unattached-domain"}
    wanted |= {"leave victim": "foreign-domain", "leave their socket": "foreign-domain"}
    wanted |= {name: "invalid-domain" for name in said if name.startswith("no domain")}
    assert said == wanted


def test_the_addresses_of_others_are_refused(scene: Scene) -> None:
    said = scene.forge("addresses")
    assert said == dict.fromkeys(said, "foreign-address")
    assert len(said) == 19


def test_what_is_not_rightly_signed_or_dated_is_refused(scene: Scene) -> None:
    assert scene.forge("signatures") == {
        "sign none": "unsigned",
        "sign other key": "bad-signature",
        "sign changed": "bad-signature",
        "past": "stale",
        "far past": "stale",
        "future": "future",
    }


def test_a_packet_is_heard_once(scene: Scene) -> None:
    assert scene.forge("replays") == {
        "first": "routed",
        "again": "replayed",
        "leave": "",
        "leave again": "replayed",
        "later": "routed",
    }


def test_cut_packets_are_refused(scene: Scene) -> None:
    said = scene.forge("broken")
    assert said == dict.fromkeys(said, "")
    until(lambda: "malformed" in scene.refused(), 5, "the gate has traced it")


def test_a_socket_swapped_for_a_link_leads_nowhere(scene: Scene) -> None:
    """The gate saw a socket; the router, which opens the path later, follows no link."""
    theirs = scene.node.paths.apps / str(scene.victim) / "sockets/site.sock"
    # The attacker's home has another inode than the socket's directory: the target is absolute.
    scene.node.ssh(
        scene.attacker, f"rm /run/sockets/own.sock; ln -s {theirs} /run/sockets/own.sock"
    )
    for _ in range(20):
        assert scene.node.get(OURS).body != THEIRS.encode()


def test_ten_thousand_garbage_datagrams_change_nothing(scene: Scene) -> None:
    assert int(scene.forge("flood")["taken"]) > 60
    until(lambda: "too-many" in scene.refused(), 10, "the gate has traced it")


def test_every_refusal_is_on_record_with_its_reason(scene: Scene) -> None:
    codes = {"foreign-domain", "unattached-domain", "invalid-domain", "foreign-address", "stale"}
    codes |= {"unsigned", "bad-signature", "future", "replayed", "malformed", "too-many"}
    assert set(scene.refused()) == codes
    text = scene.node.insula("explain", str(scene.attacker)).stdout
    assert [code for code in codes if code not in text] == []


def test_the_attackers_own_domain_works_all_the_same(scene: Scene) -> None:
    scene.node.ssh(scene.attacker, "rm -r /run/sockets/[!s]*; touch vassals/site.ini")

    def is_served() -> bool:
        answers = [scene.node.get(OURS) for _ in range(5)]
        return {(answer.status, answer.body) for answer in answers} == {(200, b"the attacker")}

    until(is_served, 60, "the attacker's own site")
