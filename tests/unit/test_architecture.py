"""House rules that no linter knows; each fails the build with the file that breaks it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "collector", "configurator", "dominator", "emperor", "vassals")
SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts and "__pycache__" not in path.parts
)
DATABASE_WRITES = re.compile(
    r"\.(save|bulk_create|bulk_update|get_or_create|update_or_create)\(|objects\.create\(|"
    r"\.objects\.[^\n]*\.(delete|update)\("
)
KERNEL_CALLS = re.compile(
    r"\bctypes\b|^\s*(from|import) pyroute2\b|os\.(setns|unshare|mknod|pidfd_open)\b",
    re.MULTILINE,
)
# Decide here, act elsewhere: the time and what is on the disk are handed in.
PURE = (
    "configurator/boots.py",
    "configurator/duties.py",
    "configurator/effects.py",
    "configurator/files.py",
    "configurator/keypair.py",
    "configurator/plan.py",
    "dominator/events.py",
    "dominator/gate.py",
    "dominator/history.py",
    "dominator/keys.py",
    "dominator/machine.py",
    "dominator/ownership.py",
    "dominator/packet.py",
    "dominator/reasons.py",
    "dominator/table.py",
    "emperor/daemon/desired.py",
)
IMPURE_IMPORTS = {
    *("asyncio", "datetime", "fcntl", "glob", "http", "io", "os", "random", "select", "shutil"),
    *("signal", "socket", "subprocess", "sys", "tempfile", "threading", "time"),
}
IMPURE_CALLS = {
    *("chmod", "exists", "glob", "is_dir", "is_file", "iterdir", "lstat", "mkdir", "open"),
    *("read_bytes", "read_text", "rename", "resolve", "rmdir", "stat", "symlink_to", "touch"),
    *("unlink", "write_bytes", "write_text", "print", "input"),
}


def _names(pattern: re.Pattern[str], *, allowed: tuple[str, ...]) -> list[str]:
    found = []
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        if not name.startswith(allowed) and pattern.search(path.read_text()):
            found.append(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{path}: no docstring"


def test_only_the_actions_write_to_the_database() -> None:
    assert _names(DATABASE_WRITES, allowed=("api/actions/",)) == []


def test_only_the_kernel_package_calls_the_kernel() -> None:
    # an attack asks the kernel itself: it runs where the platform's wrappers are not
    allowed = ("emperor/kernel/", "emperor/isolation/attacks/")
    assert _names(KERNEL_CALLS, allowed=allowed) == []


def test_only_the_settings_read_the_environment() -> None:
    # what runs inside a container has that container's environment
    inside = ("emperor/distros/plugins/", "emperor/isolation/attacks/")
    allowed = ("api/settings.py", "emperor/settings.py", *inside)
    assert _names(re.compile(r"os\.environ|os\.getenv"), allowed=allowed) == []


def test_no_module_is_longer_than_500_lines() -> None:
    assert [str(path) for path in SOURCES if len(path.read_text().splitlines()) > 500] == []


@pytest.mark.parametrize("name", PURE)
def test_what_decides_touches_neither_clock_nor_disk_nor_network(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text())
    imported = {
        module.split(".")[0]
        for node in ast.walk(tree)
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    }
    assert not imported & IMPURE_IMPORTS
    assert not called & IMPURE_CALLS
