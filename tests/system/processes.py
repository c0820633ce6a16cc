"""The tests' node seen from the kernel: its daemons, its containers' processes, by pid alone."""

import json
import os
import signal
import time
from pathlib import Path

from insula.emperor import service, settings
from insula.emperor.kernel import cgroup
from insula.emperor.kernel.process import Children
from insula.emperor.statistics import vassals_of
from tests.system.background import Background
from tests.system.conftest import Node, until

SAMPLE_SECONDS = 0.05


def settings_of(node: Node) -> settings.Node:
    return settings.load(node.root)


def emperor(node: Node) -> int:
    """The root Emperor."""
    pid = service.emperor_pid(node.paths)
    assert pid is not None, "the root Emperor does not run"
    return pid


def tree(service_name: str, node: Node) -> int:
    """The first process of one of the root Emperor's services."""
    for item in vassals_of(node.paths.emperor_stats):
        if item["id"] == f"{service_name}.ini":
            return int(str(item["pid"]))
    raise AssertionError(f"the root Emperor has no {service_name}")


def service_child(node: Node, service_name: str, index: int = 0) -> int | None:
    """A process that a service's master started; None while there is none."""
    try:
        return children(tree(service_name, node))[index]
    except (IndexError, AssertionError):
        return None


def named_below(first: int | None, *words: str) -> int | None:
    """The process below one whose command line has all the words; None without one."""
    for pid in below(first) if first else []:
        if all(word in command(pid) for word in words):
            return pid
    return None


def is_stopped(pid: int) -> bool:
    """Stopped by a signal (SIGSTOP)."""
    return status_line(pid, "State:").startswith("T")


def below(pid: int) -> list[int]:
    """Every process below one, itself not among them."""
    found = []
    for child in children(pid):
        found += [child, *below(child)]
    return found


def children(pid: int) -> list[int]:
    try:
        return list(Children().of(pid))
    except OSError:
        return []


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def daemon(node: Node, name: str) -> int | None:
    """An attached daemon of this node, by its module; None while it does not run."""
    for pid in children(tree("daemons", node)):
        if name in command(pid):
            return pid
    return None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes(node: Node, uid: int) -> list[int]:
    """Every process in the container's cgroups."""
    groups = cgroup.detect(settings_of(node).cgroup_name)
    return groups.pids(customer_of(node, uid), uid)


def customer_of(node: Node, uid: int) -> int:
    line = node.paths.cgroups(uid).read_text().splitlines()[0]
    return int(Path(line).parent.name)


def cgroup_file(node: Node, uid: int, name: str) -> Path:
    """A file of the container's cgroup, in whichever hierarchy has it."""
    lines = node.paths.cgroups(uid).read_text().splitlines()
    return next(path for line in lines if (path := Path(line) / name).exists())


def first_processes(node: Node, uid: int) -> list[int]:
    """Every living process 1 in the container's cgroups: two would be two instances."""
    return [pid for pid in processes(node, uid) if _is_first(pid) and is_alive(pid)]


def is_whole(node: Node) -> bool:
    """The API answers, and the node has applied what it says: no error, each container runs."""
    listed = node.insula("--json", "container", "list", check=False)
    if listed.returncode != 0:
        return False
    for item in json.loads(listed.stdout):
        applied = item["applied"]
        if applied is None or applied["error"] or applied["revision"] < item["revision"]:
            return False
        if not first_process(node, item["uid"]):
            return False
    return True


def first_process(node: Node, uid: int) -> int | None:
    found = first_processes(node, uid)
    assert len(found) < 2, f"container {uid} runs twice: {found}"
    return found[0] if found else None


def status_line(pid: int, name: str) -> str:
    """One line of /proc/<pid>/status; empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    return next(
        (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(name)), ""
    )


def _is_first(pid: int) -> bool:
    numbers = status_line(pid, "NSpid:").split()
    return len(numbers) == 2 and numbers[1] == "1"


def stop(pid: int) -> None:
    """SIGSTOP to one process of the node under test."""
    assert pid > 1
    os.kill(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    """SIGCONT, if it still lives."""
    if is_alive(pid):
        os.kill(pid, signal.SIGCONT)


def kill(pid: int) -> None:
    """kill -9 of one process of the node under test, and nothing else."""
    assert pid > 1
    os.kill(pid, signal.SIGKILL)


def killed_comes_back(node: Node, name: str, *, within: float) -> float:
    """Kill a daemon; return the seconds until another one runs."""
    old = daemon(node, name)
    assert old is not None, f"{name} does not run"
    kill(old)

    def another() -> bool:
        pid = daemon(node, name)
        return pid is not None and pid != old

    return until(another, within, f"{name} is back")


class Sampler(Background):
    """Looks every 50 ms whether containers run more than once; ``twice`` says which did."""

    def __init__(self, node: Node, uids: list[int]) -> None:
        super().__init__("sampler")
        self.groups = cgroup.detect(settings_of(node).cgroup_name)
        self.customers = {uid: customer_of(node, uid) for uid in uids}
        self.twice: list[str] = []
        self.count = 0

    def _run(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            for uid, customer in self.customers.items():
                try:
                    pids = self.groups.pids(customer, uid)
                except OSError:
                    continue  # the group is being made again
                found = [pid for pid in pids if _is_first(pid) and is_alive(pid)]
                if len(found) > 1:
                    self.twice.append(f"{uid}: {found}")
            self.count += 1
            self._stop.wait(max(0.0, SAMPLE_SECONDS - (time.monotonic() - started)))
