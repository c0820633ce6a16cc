"""Deleting what a customer made, however deep."""

import os
from pathlib import Path

import pytest

from insula.emperor.storage import layout

pytestmark = pytest.mark.kernel
DEPTH = 3000


def test_a_tree_deeper_than_pythons_recursion_is_deleted(tmp_path: Path) -> None:
    top = tmp_path / "30001-1"
    top.mkdir()
    here = os.getcwd()
    try:
        os.chdir(top)
        for _ in range(DEPTH):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    layout.remove_tree(top)
    assert not top.exists()


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("kept")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "precious")
    layout.remove_tree(tmp_path / "tree")
    assert (tmp_path / "precious/file").read_text() == "kept"
