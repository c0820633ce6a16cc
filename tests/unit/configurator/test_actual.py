"""What the configurator sees of the distros."""

from pathlib import Path

from insula.configurator.actual import distro_accounts
from insula.configurator.files import Accounts
from insula.emperor.settings import Node, NodeSettings, Paths


def test_a_distro_that_is_still_being_built_is_none(tmp_path: Path) -> None:
    node = Node(Paths(tmp_path), NodeSettings())
    for name in ("default", ".default"):
        etc = node.paths.distros / name / "etc"
        etc.mkdir(parents=True)
        (etc / "passwd").write_text("p\n")
        (etc / "group").write_text("g\n")
    assert distro_accounts(node, ["default", ".default"]) == {"default": Accounts("p\n", "g\n")}
