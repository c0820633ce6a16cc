"""A decision tree over one system call, and the BPF program that it becomes (seccomp(2))."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

# struct seccomp_data: the call's number, the machine, and the low half of each argument. All
# machines that we know are little-endian.
NUMBER, MACHINE = 0, 4
ARGUMENT = tuple(16 + 8 * index for index in range(6))

_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
# linux/bpf_common.h
_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_TESTS = {"==": 0x15, ">=": 0x35, "&": 0x45}
_FARTHEST = 255  # a conditional jump has eight bits
_MOST_INSTRUCTIONS = 4096
_INSTRUCTION = struct.Struct("<HBBI")


@dataclass(frozen=True, slots=True)
class End:
    """What the kernel is told to do with the call."""

    action: int


@dataclass(frozen=True, slots=True)
class Question:
    """Compares a field, of which only the bits ``within`` count, and goes on below."""

    field: int
    test: Literal["==", ">=", "&"]
    value: int
    yes: "Tree"
    no: "Tree"
    within: int | None = None


Tree = End | Question
ALLOW = End(_RET_ALLOW)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One struct sock_filter."""

    code: int
    value: int = 0
    if_true: int = 0
    if_false: int = 0


def answer(error: int) -> End:
    """The call does nothing and fails with this errno."""
    return End(_RET_ERRNO | error)


def has_bits(field: int, bits: int, yes: Tree, no: Tree) -> Tree:
    """``yes`` when any of the bits is set."""
    return Question(field, "&", bits, yes, no)


def is_one_of(
    field: int, values: Iterable[int], yes: Tree, no: Tree, *, within: int | None = None
) -> Tree:
    """``yes`` when the field is one of the values."""
    tree = no
    for value in reversed(list(values)):
        tree = Question(field, "==", value, yes, tree, within)
    return tree


def choose(field: int, cases: Mapping[int, Tree], otherwise: Tree) -> Tree:
    """The case whose key the field equals."""
    tree = otherwise
    for value, case in reversed(list(cases.items())):
        tree = Question(field, "==", value, case, tree)
    return tree


def search(field: int, steps: list[tuple[int, Tree]]) -> Tree:
    """A binary search: the tree of the last step whose number is not above the field.

    The steps are in growing order and begin with 0.
    """
    if len(steps) == 1:
        return steps[0][1]
    middle = len(steps) // 2
    lower, upper = search(field, steps[:middle]), search(field, steps[middle:])
    return Question(field, ">=", steps[middle][0], upper, lower)


def assemble(tree: Tree) -> bytes:
    """The program as the kernel takes it: an array of struct sock_filter."""
    program = _instructions(tree, loaded=None)
    if len(program) > _MOST_INSTRUCTIONS:
        raise ValueError(f"{len(program)} instructions are more than {_MOST_INSTRUCTIONS}")
    return b"".join(
        _INSTRUCTION.pack(item.code, item.if_true, item.if_false, item.value) for item in program
    )


def disassemble(program: bytes) -> list[Instruction]:
    """The instructions of an assembled program."""
    return [
        Instruction(code, value, if_true, if_false)
        for code, if_true, if_false, value in _INSTRUCTION.iter_unpack(program)
    ]


def _instructions(tree: Tree, *, loaded: int | None) -> list[Instruction]:
    """The program of a tree; ``loaded`` is the field that the accumulator holds, unmasked."""
    if isinstance(tree, End):
        return [Instruction(_RETURN, tree.action)]
    start = [] if tree.field == loaded else [Instruction(_LOAD, tree.field)]
    held: int | None = tree.field
    if tree.within is not None:
        start.append(Instruction(_AND, tree.within))
        held = None
    no, yes = (_instructions(branch, loaded=held) for branch in (tree.no, tree.yes))
    code = _TESTS[tree.test]
    if len(no) <= _FARTHEST:
        jump = [Instruction(code, tree.value, if_true=len(no))]
    else:
        jump = [Instruction(code, tree.value, if_false=1), Instruction(_JUMP, len(no))]
    return start + jump + no + yes
