"""The files that sshd is given, and the C module's own limits."""

from pathlib import Path

import pytest

from insula.emperor import sshd
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node, NodeSettings, Paths

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def lines() -> list[str]:
    node = Node(Paths(Path("/srv/node")), NodeSettings(ssh_port=2345))
    return [line for line in sshd.sshd_config(node).splitlines() if not line.startswith("#")]


def test_the_configuration_holds_the_nodes_port_and_no_token(lines: list[str]) -> None:
    assert "Port 2345" in lines
    assert not [line for line in lines if "@" in line.replace("@libssh.org", "")]


@pytest.mark.parametrize(
    "line",
    [
        "PermitRootLogin no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        "AuthenticationMethods publickey", "PermitUserEnvironment no", "UsePAM yes",
        "StrictModes yes", "AllowUsers 3???? 4???? 5????", "X11Forwarding no",
        "Subsystem sftp internal-sftp",
    ],
)  # fmt: skip
def test_what_keeps_strangers_out_is_said(lines: list[str], line: str) -> None:
    assert line in lines


def test_the_key_exchange_reads_no_file_inside_a_container(lines: list[str]) -> None:
    algorithms = next(line for line in lines if line.startswith("KexAlgorithms ")).split()[1]
    assert algorithms.startswith("curve25519-sha256,")
    assert "group-exchange" not in algorithms


def test_sshd_itself_opens_no_file_of_a_customer_before_the_login(lines: list[str]) -> None:
    """It would hold a line of any length in the host's memory."""
    words = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert words["AuthorizedKeysFile"] == ["/etc/ssh/authorized_keys/%U"]
    assert {"bs=65536", "count=1"} <= set(words["AuthorizedKeysCommand"])
    assert words["AuthorizedKeysCommandUser"] == ["%u"]


def test_a_sshd_that_knows_penalties_gives_none(tmp_path: Path) -> None:
    node = Node(Paths(Path("/srv/node")), NodeSettings())
    session = tmp_path / "sshd-session"
    assert "\nPerSourcePenalties" not in sshd.sshd_config(node, session=session)
    session.touch()
    assert "\nPerSourcePenalties no\n" in sshd.sshd_config(node, session=session)


def test_no_directive_stands_twice_but_the_host_keys(lines: list[str]) -> None:
    words = [line.split()[0] for line in lines if line]
    assert {word for word in words if words.count(word) > 1} == {"HostKey"}


def test_every_stack_of_pam_needs_somebody_to_say_yes() -> None:
    text = (REPOSITORY / "emperor/units/pam-insula").read_text()
    stacks = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert [item[0] for item in stacks] == ["auth", "account", "password", "session"]
    assert {item[1] for item in stacks} == {"required"}
    assert [item[2] for item in stacks] == [
        "pam_deny.so", "/insula/pam_insula.so", "pam_deny.so", "/insula/pam_insula.so",
    ]  # fmt: skip


def test_no_database_of_names_is_left_to_the_containers_nsswitch() -> None:
    """glibc refuses to read the file again after a change of root only for those that are named."""
    databases = {line.split(":")[0] for line in sshd.NSSWITCH.splitlines() if ":" in line}
    assert {"passwd", "group", "initgroups", "shadow"} <= databases


def test_the_module_stays_small() -> None:
    lines = (REPOSITORY / "pam/pam_insula.c").read_text().splitlines()
    assert len(lines) < 350
    assert max(map(len, lines)) <= 100


def test_installing_without_a_built_module_says_how_to_build_it(tmp_path: Path) -> None:
    node = Node(Paths(tmp_path), NodeSettings())
    with pytest.raises(PreparationError, match="is not built") as caught:
        sshd.install(node, module=tmp_path / "absent.so")
    assert caught.value.hint == "run: make -C pam"
    assert list(tmp_path.iterdir()) == []
