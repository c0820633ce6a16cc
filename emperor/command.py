"""Runs the machine's own tools: argument lists only, and a failure that says what was run."""

import subprocess
from pathlib import Path

from insula.emperor.errors import PreparationError

_SHOWN_LINES = 12


def run(
    argv: list[str],
    *,
    hint: str | None = None,
    cwd: Path | None = None,
    text: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run to the end and return standard output; ``text`` is its standard input.

    Raises PreparationError with the last lines of what it said when it fails or is not installed.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            input=text or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise PreparationError(
            f"{argv[0]} is not installed", "run bin/up: it installs it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PreparationError(f"{' '.join(argv)}: no end after {timeout} s", hint) from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_SHOWN_LINES:])
        raise PreparationError(f"{' '.join(argv)}: exit status {done.returncode}\n{tail}", hint)
    return done.stdout
