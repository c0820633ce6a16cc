"""The doctor's findings: judged from what the kernel's files say, each with a remedy."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from insula.emperor import check, doctor
from insula.emperor.check import Check
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node, NodeSettings, Paths

ROUTES = (
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    "ins-30001\t03004D0A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"
)


def node(**settings: str) -> Node:
    return Node(Paths(Path("/")), NodeSettings(**settings))  # type: ignore[arg-type]  # ports stay


@pytest.mark.parametrize(
    ("release", "state"),
    [("5.10.0-8", "ok"), ("6.1", "ok"), ("5.9.16", "fail"), ("4.19.1", "fail"), ("odd", "fail")],
)
def test_a_kernel_older_than_5_10_is_refused(release: str, state: str) -> None:
    assert check.kernel(release).state == state


def test_a_route_in_the_containers_network_is_named_with_a_free_range() -> None:
    found = check.network_clash(node(), ROUTES)
    assert found.state == "fail"
    assert found.detail == "the containers' 10.0.0.0/8 overlaps 10.0.0.0/16 of eth0"
    assert found.remedy == "give --network 10.255.0.0/16"


def test_the_nodes_own_routes_and_the_default_route_are_no_clash() -> None:
    assert check.network_clash(node(network="10.77.0.0/16"), ROUTES).state == "ok"


def test_no_free_range_is_said_so() -> None:
    assert check.free_network([IPv4Network("0.0.0.0/0")]) is None


@pytest.mark.parametrize("number", [29990, 29993, 30000, 59999])
def test_an_account_in_the_platforms_range_is_named(number: int) -> None:
    found = check.reserved_uids(f"jo:x:{number}:100::/home/jo:/bin/sh\n", "")
    assert found.state == "fail"
    assert f"jo ({number})" in found.detail


@pytest.mark.parametrize("number", [29989, 29994, 60000, 65534])
def test_an_account_outside_the_range_is_fine(number: int) -> None:
    assert check.reserved_uids(f"jo:x:{number}:100::/:/bin/sh\n", f"jo:x:{number}:\n").state == "ok"


def test_all_failures_are_told_at_once_with_their_remedies() -> None:
    checks = [
        Check("disk", "fail", "is full", "free some"),
        Check("kernel", "ok", "new"),
        Check("ssh port", "fail", "port 22: in use", "give --ssh-port"),
    ]
    with pytest.raises(PreparationError) as caught:
        doctor.require(checks)
    assert caught.value.message == "disk: is full; ssh port: port 22: in use"
    assert caught.value.hint == "disk: free some; ssh port: give --ssh-port"


def test_warnings_do_not_stop_a_start() -> None:
    doctor.require([Check("ptrace", "warn", "no yama", "-")])


@pytest.mark.parametrize(("capabilities", "state"), [("0000000001000000", "ok"), ("0", "warn")])
def test_a_missing_cap_sys_resource_is_a_warning(capabilities: str, state: str) -> None:
    assert doctor.capability(f"Name:\tx\nCapEff:\t{capabilities}\n").state == state


def test_a_clock_before_the_product_is_refused() -> None:
    assert doctor.clock(0).state == "fail"
    assert doctor.clock(1_800_000_000).state == "ok"


def test_little_memory_is_refused(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9999999 kB\nMemAvailable:  102400 kB\n")
    assert check.memory(meminfo).detail == "100 MiB are available, 512 are needed"


@pytest.mark.parametrize(
    ("machine", "filters", "state"),
    [("x86_64", True, "ok"), ("aarch64", True, "ok"), ("riscv64", True, "fail"),
     ("x86_64", False, "fail")],
)  # fmt: skip
def test_a_machine_whose_system_calls_cannot_be_filtered_is_refused(
    tmp_path: Path, machine: str, filters: bool, state: str
) -> None:
    actions = tmp_path / "actions_avail"
    if filters:
        actions.write_text("kill_process errno allow\n")
    found = check.system_calls(machine, actions)
    assert found.state == state
    assert bool(found.remedy) == (state == "fail")
