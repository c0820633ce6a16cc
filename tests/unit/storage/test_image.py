"""What is said of a program of the machine's that takes too long."""

import subprocess

import pytest

from insula.emperor.errors import StorageError
from insula.emperor.storage import image


def test_a_program_that_takes_too_long_is_named_with_what_it_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No traceback: an operator who takes a node down on a slow disk is told to wait."""

    def never_ends(words: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setattr(subprocess, "run", never_ends)
    with pytest.raises(StorageError, match="unmounting /pool: not done within 7 s") as found:
        image.run(["umount", "/pool"], "unmounting /pool", "a hint", seconds=7)
    assert found.value.hint == "the disk is slow: wait, then try again"
