"""The threat model is whole: no attack without a probe, no wall without a file."""

from collections import Counter
from pathlib import Path

from insula.emperor.isolation import doctor, document
from insula.emperor.isolation.attacks.contract import ATTACKS
from insula.emperor.isolation.threats import THREATS
from insula.emperor.isolation.traps.contract import TRAPS
from insula.emperor.isolation.walls import WALLS

ROOT = Path(__file__).parents[3]


def test_there_are_sixty_threats_and_each_has_one_name() -> None:
    names = Counter(threat.name for threat in THREATS)
    assert len(names) >= 60
    assert [name for name, count in names.items() if count > 1] == []


def test_each_attack_has_a_probe_and_each_probe_an_attack() -> None:
    probes = Counter([*ATTACKS, *TRAPS])
    assert doctor.SSH  # its imports register all probes
    assert set(probes) == {threat.name for threat in THREATS}
    assert set(probes.values()) == {1}


def test_each_wall_is_known_and_in_some_attacks_way() -> None:
    named = {wall for threat in THREATS for wall in threat.walls}
    assert named == set(WALLS)
    assert [threat.name for threat in THREATS if not threat.walls] == []


def test_each_wall_has_files_that_are_there() -> None:
    missing = [
        f"{wall.name}: {file}"
        for wall in WALLS.values()
        for file in wall.enforced_in
        if not (ROOT / file).is_file()
    ]
    assert missing == []
    assert [wall.name for wall in WALLS.values() if not wall.enforced_in] == []


def test_boundaries_stand_together() -> None:
    order = [threat.boundary for threat in THREATS]
    assert order == sorted(order, key=order.index)


def test_security_md_has_todays_threats() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    remedy = "python -m insula.emperor.isolation.document SECURITY.md"
    assert document.rewritten(text) == text, remedy
