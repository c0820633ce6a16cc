"""sshd with the PAM module against a real little container."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import places
from tests.kernel import little_container
from tests.kernel.little_container import Container
from tests.kernel.ssh_node import (
    REPOSITORY,
    UID,
    SshNode,
    free_port,
    processes_of,
    ssh_node,
)

pytestmark = pytest.mark.kernel

PAM_IGNORE = 25


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshNode]:
    with ssh_node(tmp_path_factory.mktemp("ssh")) as started:
        yield started


@pytest.fixture(scope="module")
def shared(node: SshNode) -> Iterator[Container]:
    with little_container.container(node.node, UID) as box:
        yield box


@pytest.fixture
def cgroup_list(node: SshNode) -> Iterator[Path]:
    """The list of the container's cgroups, put back after a test has spoiled it."""
    path = node.node.paths.cgroups(UID)
    text = path.read_text()
    yield path
    path.unlink(missing_ok=True)
    path.write_text(text)


def test_a_command_runs_in_the_home_and_its_exit_status_comes_back(
    node: SshNode, shared: Container
) -> None:
    done = node.ssh("hostname; pwd; echo $HOME; id -u; exit 7")
    assert done.stdout.split() == ["little", f"/containers/{UID}", f"/containers/{UID}", str(UID)]
    assert done.returncode == 7


def test_a_command_that_a_signal_ends_is_reported(node: SshNode, shared: Container) -> None:
    assert node.ssh("kill -KILL $$").returncode == 255


def test_the_shell_has_no_capability_and_can_gain_none(node: SshNode, shared: Container) -> None:
    status = node.ssh("cat /proc/self/status").stdout.splitlines()
    fields = dict(line.split(":\t") for line in status if line.startswith(("Cap", "NoNewPrivs")))
    assert fields.pop("NoNewPrivs") == "1"
    assert set(fields) == {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
    assert set(fields.values()) == {"0" * 16}


def test_the_shell_has_the_system_call_filter(node: SshNode, shared: Container) -> None:
    done = node.ssh("grep ^Seccomp: /proc/self/status; unshare --user --map-root-user true")
    assert done.stdout == "Seccomp:\t2\n"
    assert "unshare failed: Operation not permitted" in done.stderr


def test_each_session_has_a_keyring_of_its_own(node: SshNode, shared: Container) -> None:
    """Else all customers' sessions would share the one of whoever started the node."""
    found = [node.ssh("cat /proc/keys").stdout for _ in range(2)]
    own = [[line.split()[0] for line in text.splitlines() if " _ses" in line] for text in found]
    assert [len(item) for item in own] == [1, 1]
    assert own[0] != own[1]


def test_a_shell_gets_a_terminal_of_the_container(node: SshNode, shared: Container) -> None:
    done = node.ssh("-tt", text="tty; stat -c %U:%a $(tty); exit 4\n")
    assert "/dev/pts/0" in done.stdout
    assert ":620" in done.stdout
    assert done.returncode == 4


def test_names_are_resolved_without_the_containers_nsswitch(
    node: SshNode, shared: Container
) -> None:
    # The container's nsswitch.conf names a module of its own; /etc/group adds the group 30777.
    assert node.ssh("id -G").stdout.split() == [str(UID), "30777"]


def test_the_session_is_in_the_containers_cgroups_and_out_of_the_hosts_namespaces(
    node: SshNode, shared: Container
) -> None:
    script = "readlink /proc/self/ns/{mnt,pid,net,ipc,uts,cgroup}; cat /proc/self/cgroup"
    lines = node.ssh(script).stdout.splitlines()
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "ipc", "uts")]
    assert not set(lines[:5]) & set(host)
    assert lines[5] == os.readlink(f"/proc/{shared.pid}/ns/cgroup")
    assert any(line.endswith(little_container.OWN_GROUP) for line in lines[6:])


def test_the_monitor_keeps_six_capabilities_and_no_file_of_the_host(
    node: SshNode, shared: Container
) -> None:
    with subprocess.Popen(
        ["ssh", *node.options, f"{UID}@127.0.0.1", "cat"], stdin=subprocess.PIPE
    ) as client:
        monitors = _wait_for_monitors(shared)
        for pid in monitors:
            status = Path(f"/proc/{pid}/status").read_text()
            assert "CapBnd:\t0000000000000000" in status
            assert "NoNewPrivs:\t1" in status
            assert "Seccomp:\t2" in status
            # CHOWN, FOWNER, KILL, SETGID, SETUID, AUDIT_WRITE; the stand-in outside has none.
            assert any(f"CapPrm:\t{mask:016x}" in status for mask in (0x200000E9, 0))
            opened = {os.readlink(item.path) for item in os.scandir(f"/proc/{pid}/fd")}
            files = {item for item in opened if item.startswith("/")}
            assert files <= {"/dev/null", str(node.log)}
            assert os.readlink(f"/proc/{pid}/cwd") == "/"
        client.terminate()
    assert len(monitors) == 2


def _wait_for_monitors(shared: Container) -> list[int]:
    for _ in range(100):
        pids = processes_of(shared.cgroups[0])
        roots = [pid for pid in pids if os.stat(f"/proc/{pid}").st_uid == 0 and _is_sshd(pid)]
        users = [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "cat\n"]
        if len(roots) >= 2 and users:
            return roots
        time.sleep(0.05)
    raise TimeoutError("no session came up")


def _is_sshd(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")


def test_files_travel_by_sftp_scp_and_the_old_scp(
    node: SshNode, shared: Container, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_text("one line\n")
    assert node.run("sftp", f"{UID}@127.0.0.1", text=f"put {source} a\nls\n").returncode == 0
    assert node.run("scp", str(source), f"{UID}@127.0.0.1:b").returncode == 0
    assert node.run("scp", "-O", str(source), f"{UID}@127.0.0.1:c").returncode == 0
    assert node.run("scp", f"{UID}@127.0.0.1:c", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_text() == "one line\n"
    home = places.home(node.node.paths, UID)
    assert {name: (home / name).stat().st_uid for name in "abc"} == dict.fromkeys("abc", UID)


def test_a_forwarded_port_ends_in_the_containers_own_network(
    node: SshNode, shared: Container
) -> None:
    inside = 8123
    serve = (
        f"import socket;s=socket.create_server(('127.0.0.1',{inside}));s.accept()[0].send(b'in')"
    )
    port = free_port()
    with subprocess.Popen(
        ["ssh", *node.options, "-L", f"{port}:127.0.0.1:{inside}", f"{UID}@127.0.0.1",
         f'python3 -c "{serve}"'],
        stdin=subprocess.DEVNULL,
    ) as client:  # fmt: skip
        assert _read_from(port) == b"in"
        client.terminate()


def _read_from(port: int) -> bytes:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as link:
            link.settimeout(2)
            if answer := link.recv(10):
                return answer
        time.sleep(0.05)
    return b""


def test_a_key_from_the_customers_own_file_opens_the_door(
    node: SshNode, shared: Container, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(own)], check=True)
    public = Path(f"{own}.pub").read_text()
    setup = "umask 077; mkdir -p .ssh; cat > .ssh/authorized_keys"
    assert node.ssh(setup, text=public).returncode == 0
    other = SshNode(node.node, own, node.log)
    assert other.ssh("true").returncode == 0


@pytest.mark.parametrize(
    ("make", "code"),
    [
        ("cat > $f", 0),
        ("yes '' | head -c 70000 > $f; cat >> $f", 255),
        ("mkfifo $f", 255),
        ("cat > elsewhere; ln -s ../elsewhere $f", 255),
    ],
    ids=["plain", "behind 64 KiB", "a pipe", "a link"],
)
def test_of_the_customers_own_list_only_the_beginning_of_a_plain_file_is_read(
    node: SshNode, shared: Container, tmp_path: Path, make: str, code: int
) -> None:
    """It is read outside the container's limits: a hole of a terabyte must not fill the host."""
    own = tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(own)], check=True)
    setup = f"umask 077; mkdir -p .ssh; f=.ssh/authorized_keys; rm -f $f; {make}"
    assert node.ssh(setup, text=Path(f"{own}.pub").read_text()).returncode == 0
    begun = time.monotonic()
    assert SshNode(node.node, own, node.log).ssh("true").returncode == code
    assert time.monotonic() - begun < 5
    assert node.ssh("rm -f .ssh/authorized_keys elsewhere").returncode == 0


def test_nothing_of_a_login_is_written_through_the_home(node: SshNode, shared: Container) -> None:
    assert node.ssh("-tt", "true").returncode == 0
    names = os.listdir(places.home(node.node.paths, UID))
    assert not {"utmp", "wtmp", "lastlog"} & set(names)


@pytest.mark.parametrize("user", ["root", "nobody", "sshd", "daemon", "29999", "60000"])
def test_an_account_that_is_no_container_cannot_log_in(node: SshNode, user: str) -> None:
    assert node.ssh("true", user=user).returncode == 255


def test_a_missing_list_of_cgroups_means_no_container(
    node: SshNode, shared: Container, cgroup_list: Path
) -> None:
    cgroup_list.unlink()
    done = node.ssh("true")
    assert (done.returncode, f"container {UID} is not on this machine" in done.stderr) == (
        255,
        True,
    )


def test_a_list_that_is_a_link_is_not_believed(
    node: SshNode, shared: Container, cgroup_list: Path, tmp_path: Path
) -> None:
    forged = cgroup_list.with_name("forged")
    forged.write_text(cgroup_list.read_text())
    cgroup_list.unlink()
    cgroup_list.symlink_to(forged.name)
    assert node.ssh("true").returncode == 255
    forged.unlink()


@pytest.mark.parametrize("spoil", ["owner", "mode", "relative", "climbing", "endless", "empty"])
def test_a_list_that_is_not_roots_own_or_not_well_formed_is_not_believed(
    node: SshNode, shared: Container, cgroup_list: Path, spoil: str
) -> None:
    good = cgroup_list.read_text()
    texts = {
        "relative": good + "pids\n", "climbing": good + "/sys/fs/cgroup/../x\n",
        "endless": good + "/" + "x" * 2000 + "\n", "empty": "",
    }  # fmt: skip
    cgroup_list.write_text(texts.get(spoil, good))
    if spoil == "owner":
        os.chown(cgroup_list, UID, UID)
    if spoil == "mode":
        cgroup_list.chmod(0o666)
    assert node.ssh("true").returncode == 255


def test_a_first_process_two_levels_down_is_not_the_containers(
    node: SshNode, shared: Container, cgroup_list: Path
) -> None:
    """A nested pid namespace has its own number 1; alone in a cgroup it opens no door."""
    nested = shared.cgroups[0].with_name("nested")
    nested.mkdir()
    forger = subprocess.Popen(
        ["nsenter", f"--target={shared.pid}", "--pid", "unshare", "--pid", "--fork",
         "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "sleep", "60"]
    )  # fmt: skip
    try:
        sleeper = _wait_for_sleeper(forger.pid)
        (nested / "cgroup.procs").write_text(str(sleeper))
        cgroup_list.write_text(f"{nested}\n")
        done = node.ssh("true")
        assert f"container {UID} is not running" in done.stderr
        assert done.returncode == 255
        os.kill(sleeper, signal.SIGKILL)
    finally:
        forger.terminate()
        forger.wait(10)
        little_container.remove_cgroups((nested,))


def _wait_for_sleeper(ancestor: int) -> int:
    for _ in range(100):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                status = (entry / "status").read_text()
                nested = any(
                    len(line.split()) == 4 and line.endswith("\t1")
                    for line in status.splitlines()
                    if line.startswith("NSpid:")
                )
                if nested and "Name:\tsleep" in status and f"Uid:\t{UID}\t" in status:
                    return int(entry.name)
        time.sleep(0.05)
    raise TimeoutError(f"nothing sleeps below {ancestor}")


def test_a_booting_container_is_refused_with_a_sentence_and_then_let_in(
    node: SshNode, tmp_path: Path
) -> None:
    uid = 30002
    with other_container(node, uid, booting=True) as box:
        done = node.ssh("true", user=str(uid))
        assert f"container {uid} is starting, try again in a second" in done.stderr
        assert done.returncode == 255
        box.finish_boot()
        assert node.ssh("true", user=str(uid)).returncode == 0
        box.end()
        assert f"container {uid} is not running" in node.ssh("true", user=str(uid)).stderr


def test_a_session_ends_with_its_container_and_leaves_no_stand_in(node: SshNode) -> None:
    with other_container(node, 30003) as box:
        with subprocess.Popen(
            ["ssh", *node.options, "30003@127.0.0.1", "cat"], stdin=subprocess.PIPE
        ) as client:
            _wait_for_monitors(box)
            box.end()
            assert client.wait(10) == 255
        for _ in range(100):
            if not processes_of(box.cgroups[0]):
                break
            time.sleep(0.05)
        assert processes_of(box.cgroups[0]) == []


def test_logins_while_containers_die_never_reach_the_host(node: SshNode) -> None:
    """Each login either runs inside or not at all."""
    host = os.readlink("/proc/self/ns/mnt")
    for delay in (0.0, 0.04, 0.08, 0.1, 0.11, 0.12, 0.14):
        with other_container(node, 30004) as box:
            with subprocess.Popen(
                ["ssh", *node.options, "30004@127.0.0.1", "readlink /proc/self/ns/mnt"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True,
            ) as client:  # fmt: skip
                time.sleep(delay)
                box.end()
                answer, _ = client.communicate(timeout=20)
        assert host not in answer
        assert client.returncode in (0, 254, 255)


@pytest.mark.parametrize("call", ["acct_mgmt", "open_session", "close_session"])
@pytest.mark.parametrize("user", ["root", "daemon", "nobody"])
def test_the_machines_own_accounts_are_left_untouched(
    node: SshNode, tmp_path: Path, user: str, call: str
) -> None:
    (tmp_path / "service").write_text("session required pam_permit.so\n")
    pam, handle = ctypes.CDLL("libpam.so.0"), ctypes.c_void_p()
    conversation = (ctypes.c_void_p * 2)()
    started = pam.pam_start_confdir(
        b"service", user.encode(), conversation, os.fsencode(tmp_path), ctypes.byref(handle)
    )
    assert started == 0
    before = os.readlink("/proc/self/ns/mnt")
    module = ctypes.CDLL(str(REPOSITORY / "pam/pam_insula.so"))
    assert module[f"pam_sm_{call}"](handle, 0, 0, None) == PAM_IGNORE
    assert os.readlink("/proc/self/ns/mnt") == before
    pam.pam_end(handle, 0)


@contextlib.contextmanager
def other_container(node: SshNode, uid: int, *, booting: bool = False) -> Iterator[Container]:
    """One more container, whose account the same key opens."""
    paths = node.node.paths
    keys = paths.ssh / "authorized_keys" / str(uid)
    names = {item: item.read_text() for item in paths.extrausers.iterdir()}
    if not places.home(paths, uid).exists():
        little_container.add_account(node.node, uid)
    else:
        line = f"{uid}:x:{uid}:{uid}::/containers/{uid}:/bin/bash\n"
        (paths.extrausers / "passwd").write_text(line)
    keys.write_text(Path(f"{node.key}.pub").read_text())
    try:
        with little_container.container(node.node, uid, booting=booting) as box:
            yield box
    finally:
        for path, text in names.items():
            path.write_text(text)
