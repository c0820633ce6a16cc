"""Installs the node's own files with their tokens replaced, and tells which of them changed."""

import os
import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from insula.emperor import lxcfs
from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import PreparationError
from insula.emperor.kernel import cgroup
from insula.emperor.rundir import directory
from insula.emperor.seccomp.program import filter_program
from insula.emperor.settings import (
    COLLECTOR_UID,
    DOMINATOR_UID,
    NODE_GID,
    ROUTER_UID,
    Node,
    Paths,
)

_TOKEN = re.compile(r"@([a-z_]+)@")
# A value stands in an ini file that root's uWSGI reads: nothing there may start a macro, a comment,
# a second line or a second word.
_VALUE = re.compile(r"[A-Za-z0-9._:/-]+")
# Files whose change ends all containers: they wait for the next full start.
_WAITING = ("emperor.ini", "services/containers.ini")


def tokens(node: Node, *, venv: Path, cpu_count: int) -> dict[str, str]:
    """What ``@name@`` stands for in the shipped files. Raises PreparationError for a bad value.

    ``venv`` is the environment that runs now, not the link to it: after an upgrade the daemons'
    file differs, and so the Emperor starts them again.
    """
    paths, settings = node.paths, node.settings
    values = {
        "root": paths.root, "etc": paths.etc, "lib": paths.lib, "run": paths.run, "venv": venv,
        # For what a running node keeps as it is: an upgrade removes old environments.
        "venv_link": paths.venv,
        "uwsgi": paths.uwsgi / "uwsgi", "tag": node.tag or "0", "nft_table": node.nft_table,
        "http_port": settings.http_port, "https_port": settings.https_port,
        "ssh_port": settings.ssh_port, "base_domain": settings.base_domain,
        "api_domain": settings.api_domain, "network": settings.network,
        "gateway": settings.gateway, "cpu_count": cpu_count, "node_gid": NODE_GID,
        "router_uid": ROUTER_UID, "dominator_uid": DOMINATOR_UID, "collector_uid": COLLECTOR_UID,
    }  # fmt: skip
    for name, value in values.items():
        if _VALUE.fullmatch(str(value)) is None:
            raise PreparationError(
                f"{name} is {str(value)!r}, which cannot stand in a uWSGI file",
                "use a root of letters, digits, '.', '_', '-' and '/'",
            )
    return {name: str(value) for name, value in values.items()}


def replaced(text: str, values: dict[str, str], *, name: str) -> str:
    """The text with every token replaced. Raises PreparationError for one that is not known."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise PreparationError(
                f"{name}: @{found[1]}@ is not a token", f"known are {', '.join(sorted(values))}"
            )
        return values[found[1]]

    return _TOKEN.sub(value, text)


def shipped() -> Traversable:
    """The folder of the installed package that holds the files."""
    return files("insula.emperor")


@dataclass(frozen=True, slots=True)
class Running:
    """A node that runs; ``other_uwsgi``: its uWSGI is not the one that the next start takes."""

    other_uwsgi: bool = False

    def keeps(self, name: str) -> bool:
        """True for a file below ``<etc>`` that stays as it is until the next start.

        Another uWSGI may not know what is said in the new ones. What lies in inside/ is read by the
        distros' own.
        """
        if self.other_uwsgi:
            return name.endswith(".ini") and not name.startswith("inside/")
        return name in _WAITING


def install(
    node: Node, values: dict[str, str], *, running: Running | None, services: bool
) -> list[str]:
    """Write what differs below ``<etc>``; return the names of what changed.

    ``services`` chooses the services' files or all others: the Emperor starts a service as soon as
    its file is there, and by then the rest must be.

    What the running node keeps is left as it is and comes back with ``(waits)``; only the programs
    that it starts are today's. It is written before the next start (``take_up``). Files in
    services/ that the product no longer ships are removed, so their trees end.
    """
    paths = node.paths
    changed = []
    for name, mode, text in _wanted(values, services=services):
        target = paths.etc / name
        # Below its own uWSGI a file that is missing was lost.
        is_lost = running is not None and not running.other_uwsgi and not target.exists()
        if running is not None and running.keeps(name) and not is_lost:
            if _bytes_of(target) != text:
                changed.append(f"{name} (waits)")
                changed += _move_programs(target, paths, values["venv"])
            continue
        directory(target.parent, mode=0o755)
        if write_atomic(target, text, mode=mode):
            changed.append(name)
    if services:
        changed += _remove_unknown(paths, running)
    return changed


def waiting(node: Node, values: dict[str, str], running: Running) -> list[str]:
    """The files that the next start writes or removes, by name."""
    found = []
    for services in (False, True):
        for name, _, text in _wanted(values, services=services):
            if running.keeps(name) and _bytes_of(node.paths.etc / name) != text:
                found.append(name)
    return found + [name for name in _unknown(node.paths) if running.keeps(name)]


def take_up(node: Node, values: dict[str, str]) -> list[str]:
    """Before a start, write all that waited; the names of what changed. The node must not run."""
    changed = install(node, values, running=None, services=False)
    return changed + install(node, values, running=None, services=True)


def _wanted(values: dict[str, str], *, services: bool) -> list[tuple[str, int, bytes]]:
    """(name below <etc>, mode, text) of every shipped file of one kind."""
    found = []
    for name, mode, source in _wanted_services() if services else _others(shipped()):
        text = source.read_bytes()
        if name.endswith(".ini") or name.startswith("inside/"):
            text = replaced(text.decode(), values, name=name).encode()
        found.append((name, mode, text))
    return found


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _move_programs(target: Path, paths: Paths, venv: str) -> list[str]:
    """Let a kept file start the programs of the environment ``venv``, when that has them all.

    Else it keeps those of its own: `up` removes no environment that a file names.
    """
    text = _bytes_of(target)
    if text is None:
        return []
    program = re.compile(rb"%s/[^/\s]+/(bin/[A-Za-z0-9._-]+)" % re.escape(bytes(paths.venvs)))
    has_all = all((Path(venv) / os.fsdecode(name)).exists() for name in program.findall(text))
    if not has_all or not write_atomic(target, program.sub(venv.encode() + rb"/\1", text)):
        return []
    return [f"{target.relative_to(paths.etc)} (its programs)"]


def environments(paths: Paths) -> set[Path]:
    """The environments whose programs the installed services start."""
    named = re.compile(rf"{re.escape(str(paths.venvs))}/[^/\s]+")
    texts = [path.read_text() for path in paths.services.glob("*.ini")]
    return {Path(found) for text in texts for found in named.findall(text)}


def _remove_unknown(paths: Paths, running: Running | None) -> list[str]:
    changed = []
    for name in _unknown(paths):
        if running is not None and running.keeps(name):
            changed.append(f"{name} (waits)")
            continue
        (paths.etc / name).unlink()
        changed.append(f"{name} (removed)")
    return changed


def _unknown(paths: Paths) -> list[str]:
    """Services that the product no longer ships, or that cannot run here any more."""
    known = {name for name, _, _ in _wanted_services()}
    names = sorted(f"services/{path.name}" for path in paths.services.glob("*.ini"))
    return [name for name in names if name not in known]


def install_cgroup_ini(node: Node) -> bool:
    """Write how a booting container joins its groups on this machine; True when it changed."""
    groups = cgroup.detect(node.cgroup_name)
    return write_atomic(node.paths.cgroup_ini, cgroup.cgroup_ini(groups).encode())


def install_seccomp(node: Node) -> bool:
    """Write the system call filters; True when one changed: it counts for what starts now."""
    usual = write_atomic(node.paths.seccomp, filter_program())
    narrow = write_atomic(node.paths.seccomp_32bit, filter_program(is_32bit=True))
    return usual or narrow


def _others(package: Traversable) -> list[tuple[str, int, Traversable]]:
    """(name below <etc>, mode, file) of all but the services."""
    found: list[tuple[str, int, Traversable]] = []
    for folder in ("inside", "pages", "container.d"):
        place = package / folder
        if place.is_dir():
            for item in sorted(place.iterdir(), key=lambda item: item.name):
                if item.is_file() and not item.name.endswith((".py", ".pyc")):
                    found.append((f"{folder}/{item.name}", _mode(item), item))
    return found + [(name, 0o644, package / name) for name in ("container.ini", "emperor.ini")]


def _services(package: Traversable) -> list[tuple[str, int, Traversable]]:
    files_ = [item for item in (package / "services").iterdir() if item.name.endswith(".ini")]
    files_.sort(key=lambda item: item.name)
    return [(f"services/{item.name}", 0o644, item) for item in files_]


def _wanted_services() -> list[tuple[str, int, Traversable]]:
    # A service that cannot run would be started again for ever.
    unwanted = ["services/lxcfs.ini"] if lxcfs.lack() else []
    return [item for item in _services(shipped()) if item[0] not in unwanted]


def _mode(item: Traversable) -> int:
    # A wheel does not always keep the execute bit; a script says what it is in its first bytes.
    return 0o755 if item.read_bytes()[:2] == b"#!" else 0o644


def cpu_count() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def own_tokens(node: Node) -> dict[str, str]:
    """The tokens with the environment and the processors of this very process."""
    return tokens(node, venv=Path(sys.prefix), cpu_count=cpu_count())
