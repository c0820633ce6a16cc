"""Makes the filter of a machine: finds each call's number, orders the numbers, assembles."""

import errno
import os
from functools import cache
from importlib.resources import files

from insula.emperor.errors import PreparationError
from insula.emperor.seccomp.policy import verdict
from insula.emperor.seccomp.tree import MACHINE, NUMBER, Tree, answer, assemble, choose, search

# linux/audit.h: what the kernel calls the machine that a call is made for. A 64-bit process reaches
# the 32-bit calls by `int 0x80`, so i386 is known beside x86_64; any other machine is refused.
AUDIT_NAMES = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7}
MACHINES = {"x86_64": ("x86_64", "i386"), "aarch64": ("aarch64",)}
# x32: the same machine by its name, the same calls with this bit (asm/unistd.h).
_X32_BIT = 0x40000000
_UNKNOWN = answer(errno.ENOSYS)
_STRANGE = answer(errno.EPERM)


@cache
def numbers(machine: str) -> dict[str, int]:
    """Every call of a machine by its name, from numbers.txt."""
    lines = (files("insula.emperor.seccomp") / "numbers.txt").read_text().splitlines()
    names = lines[2].removeprefix("# name ").split()
    column = names.index(machine) + 1
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def filter_tree(machine: str, *, is_32bit: bool) -> Tree:
    """The decision about any call that a process on this machine can make."""
    cases = {AUDIT_NAMES[name]: _calls(name, is_32bit=is_32bit) for name in MACHINES[machine]}
    return choose(MACHINE, cases, _STRANGE)


def _calls(machine: str, *, is_32bit: bool) -> Tree:
    by_number = {
        number: verdict(name, is_32bit=is_32bit) for name, number in numbers(machine).items()
    }
    steps: list[tuple[int, Tree]] = []
    for number in range(max(by_number) + 2):
        found = by_number.get(number, _UNKNOWN)
        if not steps or steps[-1][1] != found:
            steps.append((number, found))
    if machine == "x86_64":
        steps.append((_X32_BIT, _STRANGE))
    return search(NUMBER, steps)


def filter_program(machine: str | None = None, *, is_32bit: bool = False) -> bytes:
    """The filter for this machine, as seccomp(2) takes it. Raises PreparationError.

    ``is_32bit``: that of containers on a 32-bit distro.
    """
    name = machine or os.uname().machine
    if name not in MACHINES:
        raise PreparationError(
            f"there is no system call filter for {name}", f"known are {', '.join(MACHINES)}"
        )
    return assemble(filter_tree(name, is_32bit=is_32bit))
