"""Runs a filter the way the kernel does (Documentation/networking/filter.rst), for one call."""

import struct
from dataclasses import dataclass, field

from insula.emperor.seccomp.tree import disassemble

LOAD, AND, RETURN, JUMP = 0x20, 0x54, 0x06, 0x05
COMPARISONS = {0x15: int.__eq__, 0x35: int.__ge__, 0x45: int.__and__}
SECCOMP_DATA = struct.Struct("<IIQ6Q")


@dataclass(frozen=True)
class Call:
    """A system call as a filter sees it."""

    machine: int
    number: int
    arguments: tuple[int, ...] = field(default=())

    def data(self) -> bytes:
        padded = [*self.arguments, 0, 0, 0, 0, 0, 0][:6]
        return SECCOMP_DATA.pack(self.number, self.machine, 0, *padded)


def run(program: bytes, call: Call) -> tuple[int, set[int]]:
    """The action, and the offsets of the fields that were looked at."""
    instructions, data = disassemble(program), call.data()
    looked: set[int] = set()
    accumulator, place = 0, 0
    while True:
        step = instructions[place]
        place += 1
        if step.code == RETURN:
            return step.value, looked
        if step.code == LOAD:
            looked.add(step.value)
            accumulator = int(struct.unpack_from("<I", data, step.value)[0])
        elif step.code == AND:
            accumulator &= step.value
        elif step.code == JUMP:
            place += step.value
        else:
            holds = COMPARISONS[step.code](accumulator, step.value)
            place += step.if_true if holds else step.if_false
