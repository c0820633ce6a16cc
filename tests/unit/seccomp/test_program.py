"""The filter as the kernel would run it: every number of every machine, and the ways around."""

import errno

import pytest

from insula.emperor.errors import PreparationError
from insula.emperor.seccomp import policy
from insula.emperor.seccomp.program import AUDIT_NAMES, filter_program, numbers
from insula.emperor.seccomp.tree import (
    ALLOW,
    ARGUMENT,
    MACHINE,
    NUMBER,
    End,
    Question,
    Tree,
    answer,
    assemble,
    disassemble,
    search,
)
from tests.unit.seccomp.interpreter import Call, run

WORKS, EPERM, ENOSYS = ALLOW.action, answer(errno.EPERM).action, answer(errno.ENOSYS).action
NO_FAMILY = answer(errno.EAFNOSUPPORT).action
NO_PROTOCOL = answer(errno.EPROTONOSUPPORT).action
PROGRAM = {machine: filter_program(machine) for machine in ("x86_64", "aarch64")}
TABLES = [("x86_64", "x86_64"), ("x86_64", "i386"), ("aarch64", "aarch64")]
ARM_32 = 0x40000028


def ask(name: str, *arguments: int, machine: str = "x86_64") -> int:
    host = "aarch64" if machine == "aarch64" else "x86_64"
    call = Call(AUDIT_NAMES[machine], numbers(machine)[name], arguments)
    return run(PROGRAM[host], call)[0]


def listed(table: dict[str, str]) -> list[str]:
    return [name for names in table.values() for name in names.split()]


@pytest.mark.parametrize(("host", "machine"), TABLES)
def test_every_number_gets_what_the_policy_says_of_its_name(host: str, machine: str) -> None:
    by_number = {number: name for name, number in numbers(machine).items()}
    for number in (*range(1024), 0x3FFFFFFF):
        action, looked = run(PROGRAM[host], Call(AUDIT_NAMES[machine], number))
        name = by_number.get(number)
        if name in policy.CHECKED:
            assert looked > {MACHINE, NUMBER}, name
            continue
        wanted = WORKS if name in ALLOWED else EPERM if name in REFUSED else ENOSYS
        assert (name, action) == (name, wanted)
        # Only so the kernel may remember the answer and run no filter at all for the call.
        assert looked == {MACHINE, NUMBER}, name


ALLOWED, REFUSED = set(listed(policy.ALLOWED)), set(listed(policy.REFUSED))


def test_a_call_is_in_one_table_and_has_a_number() -> None:
    names = [*listed(policy.ALLOWED), *listed(policy.REFUSED), *policy.CHECKED]
    known = {name for machine in AUDIT_NAMES for name in numbers(machine)}
    assert [name for name in set(names) if names.count(name) > 1] == []
    assert set(names) - known == set()


@pytest.mark.parametrize("machine", AUDIT_NAMES)
def test_no_number_has_two_names(machine: str) -> None:
    found = list(numbers(machine).values())
    assert len(found) == len(set(found))


def test_clone3_is_not_there_so_that_libc_calls_clone() -> None:
    assert {ask("clone3", machine=machine) for machine in AUDIT_NAMES} == {ENOSYS}


@pytest.mark.parametrize("machine", [0, ARM_32, AUDIT_NAMES["aarch64"], 0xFFFFFFFF])
def test_calls_of_another_machine_are_refused(machine: int) -> None:
    assert {run(PROGRAM["x86_64"], Call(machine, number))[0] for number in range(500)} == {EPERM}


def test_32_bit_arm_is_refused_on_64_bit_arm() -> None:
    assert run(PROGRAM["aarch64"], Call(ARM_32, 1))[0] == EPERM


@pytest.mark.parametrize("number", [0, 1, 165, 512, 547, 0x3FFFFFFF])
def test_the_x32_bit_opens_no_second_table(number: int) -> None:
    call = Call(AUDIT_NAMES["x86_64"], 0x40000000 | number)
    assert run(PROGRAM["x86_64"], call)[0] == EPERM


@pytest.mark.parametrize("machine", AUDIT_NAMES)
@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_no_call_makes_a_namespace(machine: str, bit: int) -> None:
    for other in (0, 0x11, 0x3D0F00):
        assert ask("clone", 1 << bit | other, machine=machine) == EPERM
        assert ask("unshare", 1 << bit | other, machine=machine) == EPERM


@pytest.mark.parametrize("machine", AUDIT_NAMES)
def test_processes_and_threads_can_be_made(machine: str) -> None:
    fork, thread, vfork = 0x01200011, 0x003D0F00, 0x4111
    assert {ask("clone", flags, machine=machine) for flags in (fork, thread, vfork)} == {WORKS}
    files_and_directory = 0x600
    assert ask("unshare", files_and_directory, machine=machine) == WORKS
    time_namespace = 0x80
    assert ask("unshare", time_namespace, machine=machine) == EPERM


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        ((1, 1, 0), WORKS), ((1, 2, 0), WORKS), ((1, 5 | 0x80800, 0), WORKS),
        ((2, 1, 0), WORKS), ((2, 1 | 0x80800, 6), WORKS), ((10, 2, 17), WORKS),
        ((2, 2, 1), WORKS), ((10, 2, 58), WORKS), ((16, 3, 0), WORKS),
        ((16, 3 | 0x80000, 9), WORKS),
        # raw, packet
        ((2, 3, 1), EPERM), ((2, 3, 255), EPERM), ((10, 3 | 0x80000, 58), EPERM),
        ((2, 10, 0), EPERM), ((17, 3, 0x0300), EPERM), ((17, 2, 0), EPERM),
        # DCCP by its type, SCTP, UDP-Lite, L2TP, MPTCP by their protocol
        ((2, 6, 0), EPERM), ((2, 1, 132), NO_PROTOCOL), ((2, 2, 136), NO_PROTOCOL),
        ((2, 2, 115), NO_PROTOCOL), ((2, 1, 262), NO_PROTOCOL),
        # generic, netfilter, kernel events
        ((16, 3, 16), NO_PROTOCOL), ((16, 3, 12), NO_PROTOCOL), ((16, 2, 15), NO_PROTOCOL),
        # AF_KEY, AF_ALG, AF_VSOCK, AF_XDP, AF_TIPC, AF_CAN, AF_BLUETOOTH
        *(((family, 2, 0), NO_FAMILY) for family in (15, 38, 40, 44, 30, 29, 31)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("machine", AUDIT_NAMES)
def test_sockets(machine: str, arguments: tuple[int, ...], action: int) -> None:
    assert ask("socket", *arguments, machine=machine) == action
    # The kernel reads ints: bits above them are no way around.
    above = tuple(value | 0xABCD << 32 for value in arguments)
    assert ask("socket", *above, machine=machine) == action


def test_a_pair_of_sockets_is_a_unix_one() -> None:
    assert (ask("socketpair", 1), ask("socketpair", 30)) == (WORKS, NO_FAMILY)


def test_a_32_bit_program_opens_no_socket_past_the_filter() -> None:
    found = {call: ask("socketcall", call, machine="i386") for call in range(1, 21)}
    assert {call for call, action in found.items() if action != WORKS} == {1, 8, 14}
    assert {found[1], found[8], found[14]} == {EPERM}


def test_a_32_bit_distro_has_a_network_and_nothing_else_besides() -> None:
    """Its C library opens sockets by socketcall alone."""
    narrow = filter_program("x86_64", is_32bit=True)
    calls = [
        Call(AUDIT_NAMES[machine], number, (argument,))
        for machine in ("x86_64", "i386")
        for number in range(512)
        for argument in (0, 1, 8, 17, 38, 40)
    ]
    differ = {call for call in calls if run(narrow, call)[0] != run(PROGRAM["x86_64"], call)[0]}
    socketcall = numbers("i386")["socketcall"]
    assert {(call.machine, call.number) for call in differ} == {(AUDIT_NAMES["i386"], socketcall)}
    assert {run(narrow, call)[0] for call in differ} == {WORKS}


def test_where_no_32_bit_program_runs_both_filters_are_one() -> None:
    assert filter_program("aarch64", is_32bit=True) == PROGRAM["aarch64"]


@pytest.mark.parametrize("machine", AUDIT_NAMES)
@pytest.mark.parametrize(
    "request_number",
    [0x5412, 0x541C, 0x5423, 0x50009401, 0x5000940E, 0x50009417, 0x50009418],
    ids=hex,
)
def test_an_ioctl_that_is_refused_stays_so_with_bits_above(
    machine: str, request_number: int
) -> None:
    assert ask("ioctl", 0, request_number, machine=machine) == EPERM
    assert ask("ioctl", 0, request_number | 1 << 32, machine=machine) == EPERM


@pytest.mark.parametrize("machine", AUDIT_NAMES)
def test_no_socket_gets_a_filter(machine: str) -> None:
    for option in (26, 50, 51, 52):  # SO_ATTACH_FILTER, _BPF, _REUSEPORT_CBPF, _REUSEPORT_EBPF
        assert ask("setsockopt", 3, 1, option, machine=machine) == EPERM
        assert ask("setsockopt", 3, 1, option | 1 << 32, machine=machine) == EPERM
        assert ask("setsockopt", 3, 6, option, machine=machine) == WORKS
    for option in (2, 7, 9, 15, 27):
        assert ask("setsockopt", 3, 1, option, machine=machine) == WORKS


@pytest.mark.parametrize(("name", "machine"), [("fcntl", "x86_64"), ("fcntl64", "i386")])
def test_no_lease_lets_others_wait(name: str, machine: str) -> None:
    setlease, setdeleg = 1024, 1040
    for command in (setlease, setdeleg, setlease | 1 << 32):
        assert ask(name, 3, command, machine=machine) == EPERM
    for command in (0, 1, 2, 3, 4, 6, 1025, 1030, 1033):
        assert ask(name, 3, command, machine=machine) == WORKS


@pytest.mark.parametrize("request_number", [0x5401, 0x5413, 0x541B, 0x40049409, 0x5000940F])
def test_other_ioctls_work(request_number: int) -> None:
    assert ask("ioctl", 0, request_number) == WORKS


@pytest.mark.parametrize(
    ("value", "action"),
    [
        (0, WORKS), (0xFFFFFFFF, WORKS), (0x40000, WORKS), (0x8, WORKS), (0x20008, WORKS),
        (0x400000, EPERM), (0x100000, EPERM), (0x440000, EPERM), (0x3, EPERM),
    ],
)  # fmt: skip
def test_personality(value: int, action: int) -> None:
    assert ask("personality", value) == action


def test_a_machine_without_a_table_is_named() -> None:
    with pytest.raises(PreparationError, match="no system call filter for riscv64"):
        filter_program("riscv64")


def test_a_far_jump_is_taken_in_two() -> None:
    far: Tree = End(7)
    for value in range(400):
        far = Question(NUMBER, "==", value, End(value), far)
    tree = Question(ARGUMENT[0], "==", 1, End(9), far)
    program = assemble(tree)
    assert run(program, Call(0, 0, (1,)))[0] == 9
    assert run(program, Call(0, 399, (0,)))[0] == 399
    assert run(program, Call(0, 400, (0,)))[0] == 7


def test_a_search_finds_each_step() -> None:
    program = assemble(search(NUMBER, [(0, End(1)), (5, End(2)), (6, End(3)), (90, End(4))]))
    found = [run(program, Call(0, number))[0] for number in (0, 4, 5, 6, 89, 90, 0xFFFFFFFF)]
    assert found == [1, 1, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("machine", PROGRAM)
def test_a_decision_takes_few_steps(machine: str) -> None:
    assert len(disassemble(PROGRAM[machine])) < 1024


def test_a_program_longer_than_the_kernel_takes_is_refused() -> None:
    tree = search(NUMBER, [(value, End(value)) for value in range(3000)])
    with pytest.raises(ValueError, match="more than 4096"):
        assemble(tree)
