"""The firewall table in the kernel: loaded whole, replaced whole, noticed when it is gone."""

from collections.abc import Iterator
from typing import Any

import pytest

from insula.configurator.actual import firewall_file, loaded_firewall
from insula.emperor import check
from insula.emperor.errors import KernelError
from insula.emperor.kernel import firewall
from insula.emperor.settings import Node
from tests.kernel.machine import fresh_node
from tests.kernel.test_network import table_of

pytestmark = pytest.mark.kernel


@pytest.fixture
def node() -> Iterator[Node]:
    with fresh_node("dir") as found:
        yield found


def test_the_table_loads_twice_and_goes(node: Node) -> None:
    firewall.load(table_of(node))
    firewall.load(table_of(node))
    assert firewall.is_loaded(node.nft_table)
    firewall.remove(node.nft_table)
    firewall.remove(node.nft_table)
    assert not firewall.is_loaded(node.nft_table)


def test_a_flushed_table_counts_as_missing(node: Node) -> None:
    firewall.load(table_of(node))
    firewall_file(node).write_text(table_of(node))
    assert loaded_firewall(node, ask_kernel=True) == table_of(node)
    firewall.remove(node.nft_table)
    assert loaded_firewall(node, ask_kernel=True) == ""


def test_a_text_that_nft_refuses_changes_nothing(node: Node) -> None:
    firewall.load(table_of(node))
    with pytest.raises(KernelError):
        firewall.load(table_of(node).replace("masquerade", "nonsense"))
    assert firewall.is_loaded(node.nft_table)


def test_a_kernel_that_cannot_load_it_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check.network_features().state == "ok"
    text = firewall.ruleset

    def unfit(**values: Any) -> str:
        return text(**values).replace("masquerade", "jump nowhere")

    monkeypatch.setattr(firewall, "ruleset", unfit)
    found = check.network_features()
    assert found.state == "fail"
    assert "makes no firewall" in found.detail and "No such file" in found.detail
