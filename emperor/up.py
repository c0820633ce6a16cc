"""`insula node up`: from a checked machine to a running node, in steps that can be taken twice."""

import shlex
import shutil
import sys
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from insula.emperor import (
    apidata,
    credentials,
    demo,
    doctor,
    local,
    next_start,
    pam,
    prepare,
    release,
    rundir,
    service,
    sshd,
    uwsgi_build,
)
from insula.emperor import wait as waiting
from insula.emperor.daemon.files import write_atomic
from insula.emperor.distros import building, builds, grounding
from insula.emperor.distros.recipe import recipe
from insula.emperor.down import COMMAND
from insula.emperor.errors import SettingsError
from insula.emperor.kernel.beneath import refuse_paths
from insula.emperor.progress import Progress
from insula.emperor.settings import Node, NodeSettings, Paths, load
from insula.emperor.storage import driver


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator gave; None keeps what the node has."""

    http_port: int | None = None
    https_port: int | None = None
    ssh_port: int | None = None
    base_domain: str | None = None
    network: str | None = None
    nightly_isolation: bool | None = None
    with_demo: bool = True
    # the first build of the default distro: Python alone, a fifth of the disk and of the time
    minimal: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What was done: ``changed`` names the files and steps, empty when all was there."""

    node: Node
    demo: demo.Demo | None
    changed: tuple[str, ...]
    left: next_start.NextStart = next_start.NextStart()


def up(root: Path, wanted: Wanted, progress: Progress) -> Result:
    """Bring the node up. A failure names its step; the next run goes on from there."""
    node = decide(root, wanted)
    refuse_paths(node.paths)
    is_running = service.running(node.paths) is not None
    with progress.step("check"):
        _check(node, running=is_running)
    values = prepare.own_tokens(node)
    changed: list[str] = []
    with progress.step("settings and secrets"):
        changed += _settings(node)
    with progress.step("uWSGI"):
        uwsgi_build.build(node.paths, progress.note)
    if not is_running:
        with progress.step("run directory and storage"):
            service.boot(node)
    else:
        rundir.make(node.paths)  # an upgrade may bring a directory that its services need
    with progress.step(f"distro {node.settings.default_distro}"):
        changed += _default_distro(node, progress, minimal=wanted.minimal)
    with progress.step("API"):
        changed += ["API's distro"] if release.make_distro(node) else []
        changed += ["API"] if release.install(node, values, progress.note) else []
    with progress.step("files"):
        # A running Emperor keeps its binary and what that reads, or every container would end now.
        running = service.running(node.paths) if is_running else None
        changed += _files(node, values, running=running)
        changed += _command_link(node)
    with progress.step("start"):
        changed += ["started"] if service.start(node, values) else []
    with progress.step("API answers"):
        waiting.for_api(node, progress.note)
        apidata.remember_database(node.paths, credentials.installation(node.paths))
    shown = _demo(node, wanted, progress, changed)
    _remove_old_environments(node.paths)
    left = next_start.next_start(node)
    if left:
        progress.note(f"{left.sentence()} ({next_start.REMEDY})")
    return Result(node, shown, tuple(changed), left)


def take_up(node: Node) -> list[str]:
    """Before each start of the root Emperor: write what waited; the names of what changed.

    A start that nobody asked for counts, too: the uWSGI that starts is the new one then. A node
    that `up` has not made whole yet is left to it. Raises OSError and InsulaError.
    """
    if not node.paths.local_json.exists():
        return []
    changed = prepare.take_up(node, prepare.own_tokens(node))
    return changed + (["API's container"] if local.install(node) else [])


def decide(root: Path, wanted: Wanted) -> Node:
    """The node with its settings: what it has, changed by what was given. Raises SettingsError."""
    paths = Paths(root)
    try:
        known = load(root).settings
    except SettingsError:
        if paths.node_toml.exists():
            raise
        known = NodeSettings()
    names = {item.name for item in fields(NodeSettings)} & {item.name for item in fields(Wanted)}
    given = {name: getattr(wanted, name) for name in names if getattr(wanted, name) is not None}
    if paths.local_json.exists():
        _refuse_moves(known, given)
    settings = replace(known, **given)
    settings.validate(paths.node_toml)
    return Node(paths, settings)


def _refuse_moves(known: NodeSettings, given: dict[str, object]) -> None:
    # Addresses and names of every container hang on these two; the API keeps them in its rows.
    for name in ("network", "base_domain"):
        if given.get(name, getattr(known, name)) != getattr(known, name):
            raise SettingsError(
                f"this node's {name} is {getattr(known, name)}; it cannot become {given[name]}",
                "make a second node below another --root, or purge this one first",
            )


def _check(node: Node, *, running: bool) -> None:
    # A running node has shown that the machine can; only what can change since is looked at.
    if running:
        return
    doctor.require(doctor.before_start(node))


def _settings(node: Node) -> list[str]:
    paths = node.paths
    rundir.directory(paths.etc, mode=0o755)
    rundir.directory(paths.lib, mode=0o755)
    made = credentials.make(node, now=datetime.now(UTC))
    apidata.make_place(paths)
    if write_atomic(paths.node_toml, node.settings.to_toml().encode()):
        made.append("node.toml")
    return made


def _default_distro(node: Node, progress: Progress, *, minimal: bool) -> list[str]:
    name = node.settings.default_distro
    driver(node).prepare()
    builds.adopt(node.paths)
    if builds.current(node.paths, name) is not None:
        return []
    building.build(node, name, recipe(minimal=minimal), progress.note, fresh=False)
    return [f"distro {name}"]


def _files(node: Node, values: dict[str, str], *, running: prepare.Running | None) -> list[str]:
    # before what reads it: sshd and each boot
    changed = ["system call filter"] if prepare.install_seccomp(node) else []
    if sshd.install(node, module=pam.build()):
        changed.append("sshd")
    # A container that boots from here on reads its boot file; older releases wrote none.
    changed += ["boot files"] if grounding.write_missing(node) else []
    # container.d first: the API's vassal file is made from it. Services last: they start at once.
    changed += prepare.install(node, values, running=running, services=False)
    changed += ["API's container"] if local.install(node) else []
    changed += prepare.install(node, values, running=running, services=True)
    return changed


def _remove_old_environments(paths: Paths) -> None:
    """Keep the current environment, the one before, and those that services start from.

    A process may still load from the one before.
    """
    used = {Path(sys.prefix), *prepare.environments(paths)}
    others = [path for path in paths.venvs.glob("*") if path not in used]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[1:]:
        shutil.rmtree(path)


def _command_link(node: Node) -> list[str]:
    """Put `insula` on the machine's PATH; a second node's command stays below its root."""
    if node.tag or (COMMAND.exists() and not COMMAND.is_symlink()):
        return []
    target = node.paths.venv / "bin/insula"
    if COMMAND.is_symlink() and COMMAND.readlink() == target:
        return []
    COMMAND.unlink(missing_ok=True)
    COMMAND.symlink_to(target)
    return ["insula command"]


def _demo(node: Node, wanted: Wanted, progress: Progress, changed: list[str]) -> demo.Demo | None:
    found = demo.existing(node)
    if found is not None or not wanted.with_demo:
        return found
    with progress.step("demo"):
        changed.append("demo")
        return demo.make(node)


def summary(result: Result) -> dict[str, object]:
    """The closing facts, as ``--json`` prints them."""
    settings = result.node.settings
    facts: dict[str, object] = {
        "root": str(result.node.paths.root),
        "api": _url("https", settings.api_domain, settings.https_port, "/"),
        "docs": _url("https", settings.api_domain, settings.https_port, "/api/v1/docs"),
        "command": _command(result.node),
        "changed": list(result.changed),
        "next_start": list(result.left.names()),
        "demo": None,
    }
    if result.demo is not None:
        facts["demo"] = {
            "customer": demo.NAME,
            "token_file": str(result.demo.token_file),
            "uid": result.demo.uid,
            "domain": result.demo.domain,
            "ssh": shlex.join(demo.ssh_line(result.node, result.demo)),
            "curl": f"curl -H 'Host: {result.demo.domain}' "
            + _url("http", "127.0.0.1", settings.http_port, "/"),
        }
    return facts


def summary_lines(facts: dict[str, object]) -> list[str]:
    """The same for people, in a fixed form: one fact a line, names in the first column."""
    lines = [
        f"api    {facts['api']}",
        f"docs   {facts['docs']}",
        f"cli    {facts['command']}",
    ]
    found = facts["demo"]
    if isinstance(found, dict):
        lines.append(f"login  customer {found['customer']}, token in {found['token_file']}")
        lines.append(f"ssh    {found['ssh']}")
        lines.append(f"curl   {found['curl']}")
    left = facts["next_start"]
    if isinstance(left, list) and left:
        lines.append(f"waits  {len(left)} parts for the next start (insula node status)")
    return lines


def _command(node: Node) -> str:
    """What to type for `insula` on this node."""
    if not node.tag:
        return "insula"
    return f"{node.paths.venv}/bin/insula --root {node.paths.root}"


def _url(scheme: str, host: str, port: int, path: str) -> str:
    usual = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{host}{'' if port == usual else f':{port}'}{path}"
