"""A customer's home, and what must stay untouched beside it."""

import os
from pathlib import Path

import pytest

from tests.kernel.swapping import UID, Canary


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "canary")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A customer's home: root's rules hold above it, the customer's in it."""
    place = tmp_path / "home"
    place.mkdir(mode=0o750)
    os.chown(place, UID, UID)
    return place
