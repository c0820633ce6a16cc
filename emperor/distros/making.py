"""Turns a filled tree into a build, whole or not at all, and deletes what nobody needs any more."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from insula.emperor.distros import builds, ground, upgrades
from insula.emperor.distros.builds import Build, Facts
from insula.emperor.distros.tree import size_bytes
from insula.emperor.kernel.beneath import read_in_root
from insula.emperor.settings import Node
from insula.emperor.storage import Storage, driver

# elf(5): e_machine of a program, in Debian's words
_MACHINES = {3: "i386", 62: "amd64", 183: "arm64", 40: "armhf", 21: "ppc64el", 243: "riscv64"}
_OS_RELEASE_BYTES = 1 << 16


def make(node: Node, distro: str, facts: Facts, fill: Callable[[Path, int], None]) -> Build:
    """A new build of a distro, not yet current; ``fill`` gets an empty tree and its number.

    The caller holds ``builds.changing``. When ``fill`` fails nothing has changed.
    """
    storage, paths = driver(node), node.paths
    paths.distros.mkdir(mode=0o755, parents=True, exist_ok=True)
    builds.adopt(paths)
    sweep(node, storage)
    build, unfinished = builds.new(distro), paths.distros / f".{distro}.tmp"
    storage.create_tree(unfinished)
    try:
        fill(unfinished, build.number)
        _described(unfinished, facts, build).write(build.facts(paths))
        storage.make_readonly(unfinished)
        unfinished.rename(build.tree(paths))
    except BaseException:
        build.facts(paths).unlink(missing_ok=True)
        storage.delete_tree(unfinished)
        raise
    return build


def _described(tree: Path, facts: Facts, build: Build) -> Facts:
    return replace(
        facts,
        suite=suite_of(tree) or facts.suite,
        architecture=architecture_of(tree),
        size_bytes=size_bytes(tree),
        made_at=build.number / 1e9,
    )


def suite_of(tree: Path) -> str:
    """The release as a tree names it, for instance bookworm; empty when it does not."""
    text = read_in_root(tree, "etc/os-release", _OS_RELEASE_BYTES) or b""
    values = dict(
        line.split("=", 1) for line in text.decode(errors="replace").splitlines() if "=" in line
    )
    named = values.get("VERSION_CODENAME") or "-".join(
        values.get(key, "").strip("\"'") for key in ("ID", "VERSION_ID")
    )
    return "".join(c for c in named.strip("\"'-") if c.isalnum() or c in ".-_")[:64]


def architecture_of(tree: Path) -> str:
    """The architecture of a tree's shell; empty when it is unknown or there is no shell."""
    head = read_in_root(tree, "bin/sh", 20) or b""
    if len(head) < 20 or not head.startswith(b"\x7fELF"):
        return ""
    return _MACHINES.get(int.from_bytes(head[18:20], "little"), "")


def sweep(node: Node, storage: Storage) -> None:
    """Delete unfinished trees, and builds that nothing names and no container stands on.

    The caller holds ``builds.changing``, so what is unfinished was left by a killed command.
    """
    paths = node.paths
    for path in sorted(paths.distros.glob(".*")):
        # A distro may be called anything, `debian.old-1` too: a build of it is no leftover.
        is_build = "+" in path.name
        if not is_build and (path.name.endswith((".tmp", ".link")) or ".old-" in path.name):
            _delete_unless_mounted(storage, path)
    needed = wanted(node)
    mounted = _mounted_roots()
    for build in builds.all_builds(paths):
        if build not in needed and not any(build.name in root for root in mounted):
            storage.delete_tree(build.tree(paths))
    for path in paths.distros.glob(".*+*.json"):
        if not path.with_suffix("").exists():
            path.unlink()


def wanted(node: Node) -> set[Build]:
    """The builds that must stay: current ones, those of upgrades, and where containers stand."""
    paths = node.paths
    found: set[Build] = set(stood_on(node).values())
    for name in builds.names(paths):
        current = builds.current(paths, name)
        found |= {current} if current else set()
    for item in upgrades.everyone(paths):
        found |= {item.old_build, item.new_build}
    return found


def stood_on(node: Node) -> dict[int, Build]:
    """On which build each container of this node boots, by uid."""
    found: dict[int, Build] = {}
    for path in node.paths.vassals.glob("*.ini"):
        if path.stem.isdecimal() and (build := ground.pinned(node.paths, int(path.stem))):
            found[int(path.stem)] = build
    return dict(sorted(found.items()))


def _delete_unless_mounted(storage: Storage, path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif not any(path.name in root for root in _mounted_roots()):
        storage.delete_tree(path)


def _mounted_roots() -> set[str]:
    # Fourth field: which directory of its file system a mount shows, under its name of now.
    found: set[str] = set()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            lines = Path("/proc", name, "mountinfo").read_text().splitlines()
        except OSError:
            continue
        found.update(line.split(" ")[3] for line in lines)
    return found
