"""The program inside: `attacks.pyz TARGETS.json [NAME…]` attacks, `--victim SECRET PORT` serves.

`--out FILE` writes the lines there, whole or not at all, and then waits: as a daemon of an app,
which uWSGI would start again and again, it attacks once.
"""

import contextlib
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
        with part.open("w") as file, contextlib.redirect_stdout(file):
            _run_all(chosen, targets)
        os.rename(part, out)
    while True:
        signal.pause()


def _run_all(chosen: list[str], targets: Targets) -> None:
    for name in chosen:
        say(run(ATTACKS[name], targets))
