"""Which foreign architectures this machine can execute: a kernel's own ability, no emulator."""

import shutil
import subprocess

from insula.emperor.command import run
from insula.emperor.errors import PreparationError
from insula.vassals.errors import InvalidValue

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def own() -> str:
    """The machine's own architecture in Debian's words, for instance amd64."""
    return run(["dpkg", "--print-architecture"], timeout=20).strip()


def require(architecture: str) -> None:
    """Raises InvalidValue unless programs of the architecture run here; '' is the machine's own.

    Asked before anything is fetched. mmdebstrap asks the same program, arch-test, and it runs a
    real program of that architecture.
    """
    machine = own()
    if architecture in ("", machine):
        return
    program = shutil.which("arch-test", path=_PATH)
    if program is None:
        raise PreparationError(
            f"arch-test is not installed: without it nobody knows whether {architecture} runs here",
            "apt-get install arch-test",
        )
    done = subprocess.run([program, "-n", architecture], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        runs = subprocess.run([program, "-n"], capture_output=True, text=True, timeout=60)
        known = ", ".join(runs.stdout.split()) or machine
        raise InvalidValue(
            f"arch: this machine ({machine}) cannot execute programs of {architecture}",
            f"it can execute {known}",
        )
