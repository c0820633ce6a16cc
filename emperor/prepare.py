"""Installs the node's own files with their tokens replaced, and tells which of them changed."""

import os
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import PreparationError
from insula.emperor.kernel import cgroup
from insula.emperor.rundir import directory
from insula.emperor.settings import (
    COLLECTOR_UID,
    DOMINATOR_UID,
    NODE_GID,
    ROUTER_UID,
    Node,
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


def install(node: Node, values: dict[str, str], *, running: bool, services: bool) -> list[str]:
    """Write what differs below ``<etc>``; return the names of what changed.

    ``services`` chooses the services' files or all others: the Emperor starts a service as soon as
    its file is there, and by then the rest must be.

    While the node runs, a changed file that would end the containers is left as it is and comes
    back with ``(waits)``: it is written at the next start. Files in services/ that the product no
    longer ships are removed, so their trees end.
    """
    paths = node.paths
    changed = []
    chosen = _services(shipped()) if services else _others(shipped())
    for name, mode, source in chosen:
        text = source.read_bytes()
        if name.endswith(".ini") or name.startswith("inside/"):
            text = replaced(text.decode(), values, name=name).encode()
        target = paths.etc / name
        if running and name in _WAITING and target.exists():
            if target.read_bytes() != text:
                changed.append(f"{name} (waits)")
            continue
        directory(target.parent, mode=0o755)
        if write_atomic(target, text, mode=mode):
            changed.append(name)
    if services:
        changed += _remove_unknown(paths.services, {name for name, _, _ in chosen})
    return changed


def _remove_unknown(directory_: Path, shipped_names: set[str]) -> list[str]:
    removed = []
    for path in sorted(directory_.glob("*.ini")):
        if f"services/{path.name}" not in shipped_names:
            path.unlink()
            removed.append(f"services/{path.name} (removed)")
    return removed


def install_cgroup_ini(node: Node) -> bool:
    """Write how a booting container joins its groups on this machine; True when it changed."""
    groups = cgroup.detect(node.cgroup_name)
    return write_atomic(node.paths.cgroup_ini, cgroup.cgroup_ini(groups).encode())


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


def _mode(item: Traversable) -> int:
    # A wheel does not always keep the execute bit; a script says what it is in its first bytes.
    return 0o755 if item.read_bytes()[:2] == b"#!" else 0o644


def cpu_count() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))
