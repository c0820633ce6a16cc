"""Every folder with code is packaged, and everything that is shipped beside the code is there."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "collector", "configurator", "dominator", "emperor", "vassals")


def _setuptools() -> dict[str, object]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: dict[str, object] = project["tool"]["setuptools"]
    return found


def test_every_folder_with_an_init_is_a_package() -> None:
    inits = [path for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")]
    names = {"insula." + ".".join(path.relative_to(ROOT).parent.parts) for path in inits}
    assert names == set(_setuptools()["packages"])  # type: ignore[call-overload]  # parsed TOML


def test_every_shipped_file_is_in_the_wheel() -> None:
    data = _setuptools()["package-data"]
    assert isinstance(data, dict)
    missing = []
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if not path.is_file() or path.suffix in (".py", ".pyc") or "__pycache__" in path.parts:
                continue
            if not any(
                path.match(str(ROOT / package.removeprefix("insula.").replace(".", "/") / glob))
                for package, globs in data.items()
                for glob in globs
            ):
                missing.append(str(path.relative_to(ROOT)))
    assert missing == []
