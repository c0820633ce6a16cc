"""The program inside: `attacks.pyz TARGETS.json [NAME…]` attacks, `--victim SECRET PORT` serves.

`--out FILE` writes the lines there, whole or not at all, and then waits: as a daemon of an app,
which uWSGI would start again and again, it attacks once. Where the kernel ended it (for the memory
that an attack took and has not given back yet), the next start goes on with that attack.
"""

import contextlib
import json
import os
import signal
from pathlib import Path

# each registers its attacks
from insula.emperor.isolation.attacks import (  # noqa: F401
    announcing,
    devices,
    escapes,
    files,
    impostors,
    kernel,
    machine,
    meeting,
    memory,
    namespaces,
    network,
    processes,
    resources,
    rights,
    rootly,
    switches,
)
from insula.emperor.isolation.attacks.contract import ATTACKS, Targets, run, say
from insula.emperor.isolation.attacks.victim import serve


def main(words: list[str]) -> None:
    """Run; ``words`` are the command's arguments."""
    if words[0] == "--victim":
        serve(words[1], int(words[2]))
    out = None
    if words[0] == "--out":
        out, words = Path(words[1]), words[2:]
    targets = Targets.from_json(Path(words[0]).read_text())
    chosen = words[1:] or list(ATTACKS)
    if out is None:
        _run_all(chosen, targets)
        return
    if not out.exists():
        part = out.with_suffix(".part")
        left = [name for name in chosen if name not in _answered(part)]
        with part.open("a") as file, contextlib.redirect_stdout(file):
            _run_all(left, targets)
        os.rename(part, out)
    while True:
        signal.pause()


def _answered(part: Path) -> set[str]:
    """The attacks that a start before this one has brought to an end."""
    if not part.exists():
        return set()
    lines = part.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        part.write_text("".join(lines[:-1]))
        del lines[-1]
    return {json.loads(line)["name"] for line in lines}


def _run_all(chosen: list[str], targets: Targets) -> None:
    for name in chosen:
        say(run(ATTACKS[name], targets))
