"""What the attacks read and number, without any attack."""

import struct
from pathlib import Path

import pytest

from insula.emperor.isolation.attacks import files, namespaces, switches, syscalls
from insula.emperor.isolation.attacks.contract import (
    Held,
    Machine,
    Neighbour,
    Own,
    Targets,
    any_of,
)
from insula.emperor.seccomp.program import numbers

TARGETS = Targets(
    Own(30001, "/containers/30001", "attacker", "10.0.0.2", 1, 1, 1, 1, "a.test"),
    Neighbour(30002, "secret", "/pool/30002", 77, "10.0.0.3", 7421, "v.test"),
    Machine("/", "/run/canary", "other", 1, "10.0.0.1", (), (), ()),
)


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 1), ("aarch64", 2)])
def test_the_attacks_make_the_calls_that_the_filter_judges(machine: str, column: int) -> None:
    words = syscalls.TABLE.split()
    theirs = {words[i]: int(words[i + column]) for i in range(0, len(words), 3)}
    ours = {name: numbers(machine).get(name, 0) for name in theirs}
    assert theirs == ours


def test_the_call_of_i386_is_the_one_that_the_filter_judges() -> None:
    assert numbers("i386")["unshare"] == namespaces.I386_UNSHARE


def record(kind: int, user: bytes) -> bytes:
    return files.UTMP.pack(kind, 1, b"pts/0", b"0", user).ljust(384, b"\0")


def test_a_session_of_others_is_seen_and_our_own_is_not(tmp_path: Path) -> None:
    utmp = tmp_path / "utmp"
    utmp.write_bytes(record(7, b"30001") + record(8, b"root"))
    with pytest.raises(Held):
        files.session_of_others(TARGETS, utmp)
    utmp.write_bytes(record(7, b"30001") + record(7, b"root") + b"cut off")
    assert files.session_of_others(TARGETS, utmp) == "root is logged in at pts/0"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("0000000000000000 T start_kernel\n", False),
        ("ffffffff81000000 T start_kernel\n", True),
        ("00000000-00000000 : System RAM\n", False),
        ("00001000-0009fbff : System RAM\n", True),
        ("ext4 1015808 1 - Live 0x0000000000000000\n", False),
        ("ext4 1015808 1 - Live 0xffffffffc0a10000\n", True),
    ],
)
def test_only_a_real_address_counts(tmp_path: Path, text: str, is_one: bool) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(text)
    if is_one:
        assert text.strip() in switches.addresses(path)
    else:
        with pytest.raises(Held):
            switches.addresses(path)


def test_a_cover_is_no_file_of_the_kernel() -> None:
    with pytest.raises(Held, match="covered"):
        switches.open_to_write(Path("/dev/null"))


def test_a_handle_of_btrfs_names_the_root_of_all_subvolumes() -> None:
    kind, content = files.ROOTS[0]
    assert (kind, struct.unpack("=QQI", content)) == (0x4D, (256, 5, 0))


def test_all_refusals_are_told() -> None:
    def refuse(text: str) -> str:
        raise Held(text)

    with pytest.raises(Held, match="one; two"):
        any_of([lambda: refuse("one"), lambda: refuse("two"), lambda: refuse("one")])
