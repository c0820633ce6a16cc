"""Starts and stops the root Emperor: a systemd unit where there is systemd, else our supervisor."""

import os
import signal
import subprocess
import time
from pathlib import Path

from insula.emperor import prepare, rundir
from insula.emperor.command import run
from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import PreparationError
from insula.emperor.kernel import cgroup, lxcfs_group, mounts, services_group
from insula.emperor.settings import Node, Paths
from insula.emperor.storage import driver

_UNITS = Path("/etc/systemd/system")
# containers.ini gives its containers 14 s, the root Emperor its services 30 s.
STOP_SECONDS = 50.0
START_SECONDS = 60.0
# Nothing of the operator's shell reaches a container: its apps inherit what the Emperor has.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def has_systemd() -> bool:
    """True when systemd runs this machine, not only when it is installed (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def unit_name(node: Node) -> str:
    return f"{node.cgroup_name}.service"


def log_place(node: Node) -> str:
    """Where a person reads what the root Emperor and all below it say."""
    if has_systemd():
        return f"journalctl -u {unit_name(node)}"
    return f"{node.paths.lib}/log/emperor.log"


def boot(node: Node) -> None:
    """All that a start needs and a reboot of the machine takes away; ends what a crash left."""
    if not has_systemd():
        groups = services_group.paths_of(node.cgroup_name)
        services_group.make(groups)
        services_group.reap((*groups, *_lxcfs_groups(node)))
    rundir.make(node.paths)
    if not has_systemd():
        listed = "".join(f"{group}\n" for group in groups)
        write_atomic(node.paths.run / "services.cgroup", listed.encode())
    driver(node).prepare()
    _show_apps(node.paths)
    # The groups come with `insula-configurator --restore`: made here, in ExecStartPre, they would
    # close the unit's own group to the Emperor (v2: no process beside enabled controllers).
    prepare.install_cgroup_ini(node)


def _show_apps(paths: Paths) -> None:
    """The router's view of the app sockets: a path below it that holds a link is refused."""
    if paths.apps in mounts.points():
        return
    run(["mount", "--bind", str(paths.containers), str(paths.apps)])
    run(["mount", "--options=remount,bind,nosuid,nodev,noexec,nosymfollow", str(paths.apps)])


def emperor_pid(paths: Paths) -> int | None:
    """The root Emperor's process, None when it does not run."""
    pid = _number_in(paths.emperor_pid)
    return None if _binary_of(paths, pid) is None else pid


def running(paths: Paths) -> prepare.Running | None:
    """How the node runs, None when it does not."""
    binary = _binary_of(paths, _number_in(paths.emperor_pid))
    if binary is None:
        return None
    # The link leads to the uWSGI of the next start; a running Emperor keeps its own.
    return prepare.Running(other_uwsgi=binary != str(paths.uwsgi.resolve() / "uwsgi"))


def _binary_of(paths: Paths, pid: int) -> str | None:
    try:
        # uWSGI gives itself another name, but its binary is this node's own.
        binary = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None
    return binary if binary.startswith(f"{paths.lib}/uwsgi-") else None


def supervisor_pid(paths: Paths) -> int | None:
    """Our own supervisor's process, None when it does not run."""
    pid = _number_in(_supervisor_file(paths))
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    # The number may have gone to another process since, after a crash or a reboot.
    return pid if str(_script(paths)).encode() in words else None


def _supervisor_file(paths: Paths) -> Path:
    return paths.lib / "supervise.pid"


def _script(paths: Paths) -> Path:
    return paths.lib / "supervise.sh"


def _number_in(pid_file: Path) -> int:
    try:
        return int(pid_file.read_text())
    except (OSError, ValueError):
        return 0


def start(node: Node, values: dict[str, str]) -> bool:
    """Start the node if it does not run; True when it was started. Raises PreparationError."""
    paths = node.paths
    if has_systemd():
        return _start_unit(node, values)
    if supervisor_pid(paths) is not None and emperor_pid(paths) is not None:
        return False
    if supervisor_pid(paths) is None:
        rundir.directory(paths.lib / "log", mode=0o750)
        write_atomic(_script(paths), (prepare.shipped() / "supervise.sh").read_bytes(), mode=0o755)
        with (paths.lib / "log/emperor.log").open("ab") as log:
            process = subprocess.Popen(
                ["/bin/sh", str(_script(paths)), str(paths.root)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, cwd="/", start_new_session=True, env=_ENVIRONMENT,
            )  # fmt: skip
        write_atomic(_supervisor_file(paths), f"{process.pid}\n".encode())
    _wait_for_emperor(paths)
    return True


def _wait_for_emperor(paths: Paths) -> None:
    deadline = time.monotonic() + START_SECONDS
    while emperor_pid(paths) is None or not paths.emperor_stats.exists():
        if time.monotonic() > deadline:
            raise PreparationError(
                "the root Emperor does not start", f"read {paths.lib}/log/emperor.log"
            )
        time.sleep(0.02)


def _start_unit(node: Node, values: dict[str, str]) -> bool:
    name = unit_name(node)
    text = (prepare.shipped() / "units/insula.service").read_text()
    text = prepare.replaced(
        text, values | {"venv_link": str(node.paths.venv)}, name="insula.service"
    )
    if write_atomic(_UNITS / name, text.encode()):
        run(["systemctl", "daemon-reload"])
    # `enable` makes systemd read all units again, also when nothing is new.
    if not node.tag and not _unit_is("enabled", name):
        run(["systemctl", "enable", "--quiet", name])
    if _unit_is("active", name):
        return False
    if _unit_is("failed", name):
        run(["systemctl", "reset-failed", name])
    try:
        run(["systemctl", "start", name], hint=f"journalctl -u {name} says more")
    except PreparationError:
        # Or systemd would go on trying what the operator was just told has failed.
        run(["systemctl", "stop", name])
        raise
    return True


def _unit_is(state: str, name: str) -> bool:
    argv = ["systemctl", f"is-{state}", "--quiet", name]
    return subprocess.run(argv, check=False).returncode == 0


def stop(node: Node) -> bool:
    """Stop the root Emperor and everything below it; True when something ran."""
    if has_systemd():
        return _stop_unit(node)
    pid = supervisor_pid(node.paths)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        _wait_for_end(pid)
    _supervisor_file(node.paths).unlink(missing_ok=True)
    groups = services_group.paths_of(node.cgroup_name)
    left = services_group.reap((*groups, *_lxcfs_groups(node)))
    return pid is not None or left > 0


def _lxcfs_groups(node: Node) -> services_group.Groups:
    return lxcfs_group.paths_of(cgroup.detect(node.cgroup_name))


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while _runs(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _stop_unit(node: Node) -> bool:
    name = unit_name(node)
    if not (_UNITS / name).exists():
        return False
    was_active = _unit_is("active", name)
    run(["systemctl", "stop", name])
    if node.tag:
        forget(node)
    else:
        run(["systemctl", "disable", "--quiet", name])
    return was_active


def forget(node: Node) -> None:
    """Remove the unit of a stopped node; a missing one is fine."""
    unit = _UNITS / unit_name(node)
    if unit.exists():
        unit.unlink()
        run(["systemctl", "daemon-reload"])
