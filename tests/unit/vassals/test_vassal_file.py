"""The vassal file: what is rendered is accepted, anything else is refused."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insula.vassals import grammar
from insula.vassals.errors import GrammarError, InvalidValue
from insula.vassals.render import Vassal, vassal_file

INCLUDE = PurePosixPath("/etc/insula/container.ini")
SHOP = Vassal(uid=30001, customer_id=7, hostname="shop", distro="default", generation=3)
GOLDEN = Path(__file__).parents[2] / "golden/30001.ini"


def test_the_vassal_file_equals_its_golden_file() -> None:
    assert vassal_file(SHOP, container_ini=INCLUDE) == GOLDEN.read_text()


def test_what_the_api_renders_the_node_reads_back() -> None:
    text = vassal_file(SHOP, container_ini=INCLUDE)
    assert grammar.check(text, uid=30001, container_ini=INCLUDE) == SHOP


@pytest.mark.parametrize(
    "hostname",
    ["a\nexec-asap = id", "a%(uid)", "a b", "$(id)", "", "..", "a;b", "[uwsgi]", "ä", "a" * 65],
)
def test_a_value_that_is_no_token_is_not_rendered(hostname: str) -> None:
    vassal = Vassal(uid=30001, customer_id=7, hostname=hostname, distro="default", generation=3)
    with pytest.raises(InvalidValue):
        vassal_file(vassal, container_ini=INCLUDE)


HOSTILE = {
    "a hook": ("ini = ", "hook-asap = exec:id\nini = "),
    "a second placeholder": ("set-ph = distro", "set-ph = container=0\nset-ph = distro"),
    "another include": ("/etc/insula/container.ini", "/containers/30002/home/x.ini"),
    "another container": ("container=30001", "container=30002"),
    "the platform": ("container=30001", "container=00000"),
    "a parent directory as distro": ("distro=default", "distro=.."),
    "a macro": ("hostname=shop", "hostname=%(distro)"),
    "an upper-case host": ("hostname=shop", "hostname=Shop"),
    "a generation with a sign": ("generation=3", "generation=-3"),
    "no strict": ("strict = true\n", ""),
    "windows line ends": ("\n", "\r\n"),
}


@pytest.mark.parametrize(("old", "new"), HOSTILE.values(), ids=HOSTILE.keys())
def test_the_node_refuses(old: str, new: str) -> None:
    text = vassal_file(SHOP, container_ini=INCLUDE)
    assert old in text
    with pytest.raises(GrammarError):
        grammar.check(text.replace(old, new), uid=30001, container_ini=INCLUDE)


@given(position=st.integers(0, 400), junk=st.text(min_size=1, max_size=20))
def test_no_inserted_text_reaches_a_second_directive(position: int, junk: str) -> None:
    text = vassal_file(SHOP, container_ini=INCLUDE)
    cut = min(position, len(text))
    changed = text[:cut] + junk + text[cut:]
    try:
        vassal = grammar.check(changed, uid=30001, container_ini=INCLUDE)
    except GrammarError:
        return
    assert changed == vassal_file(vassal, container_ini=INCLUDE)
