"""Compiles the PAM module of the platform's sshd from the sources that bin/up keeps."""

import os
import sys
from pathlib import Path

from insula.emperor.command import run
from insula.emperor.errors import PreparationError

SOURCES = ("pam_insula.c", "rights.c")
# The flags of pam/Makefile; make itself is not there on a bare machine.
_FLAGS = (
    "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-D_FORTIFY_SOURCE=2",
    "-fstack-protector-strong", "-shared", "-fPIC", "-Wl,-z,relro,-z,now",
)  # fmt: skip


def build() -> Path:
    """The module of this version, compiled once; the returned file lies beside its source."""
    folder = Path(sys.prefix) / "pam"
    sources, target = [folder / name for name in SOURCES], folder / "pam_insula.so"
    if target.exists():
        return target
    for source in sources:
        if not source.exists():
            raise PreparationError(f"{source} is missing", "run bin/up of the checkout")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    run(
        ["cc", *_FLAGS, f"-o{unfinished}", *map(str, sources), "-lpam"],
        hint="apt-get install gcc libc6-dev libpam0g-dev",
    )
    unfinished.rename(target)
    return target
