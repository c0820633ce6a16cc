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
    assert _names(KERNEL_CALLS, allowed=("emperor/kernel/",)) == []


def test_only_the_settings_read_the_environment() -> None:
    allowed = ("api/settings.py", "emperor/settings.py")
    assert _names(re.compile(r"os\.environ|os\.getenv"), allowed=allowed) == []


def test_no_module_is_longer_than_500_lines() -> None:
    assert [str(path) for path in SOURCES if len(path.read_text().splitlines()) > 500] == []
