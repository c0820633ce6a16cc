"""The terminals that container.ini allows one container, on a real devpts."""

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

PROGRAM = """
import os, sys
from insula.emperor.kernel import libc, namespaces
namespaces.private_mounts()
where, options = (item.encode() for item in sys.argv[1:])
libc.call("mount", b"none", where, b"devpts", 0, options, about="devpts")
opened = []
try:
    while len(opened) < 1000:
        opened.append(os.open(where + b"/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError:
    pass
print(len(opened))
"""


def test_no_container_can_take_all_terminals_of_the_machine(tmp_path: Path) -> None:
    text = (files("insula.emperor") / "container.ini").read_text()
    found = re.search(r"^hook-asap = mount:devpts none \S+/dev/pts \S+ (\S+)$", text, re.MULTILINE)
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), found[1]],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert int(done.stdout) == 128
