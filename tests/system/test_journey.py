"""The README's promise: from nothing to a customer's app on its domain, and away again."""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from insula.emperor.daemon import http
from tests.system import indexes
from tests.system.conftest import Node, until

pytestmark = pytest.mark.system
SITE = "shop.example.net"


@pytest.fixture(scope="module")
def shop(node: Node) -> int:
    node.insula("customer", "create", "ann")
    uid = node.container("ann", "shop", "--memory", "1G", "--cpu", "150%")
    node.insula("domain", "add", SITE, "--customer", "ann")
    return uid


def test_the_demo_answers(node: Node) -> None:
    assert node.get("demo.insula.test").status == 200


def test_the_customer_comes_in_by_ssh(node: Node, shop: int) -> None:
    done = node.ssh(shop, "id -u; pwd; hostname")
    assert done.stdout.split() == [str(shop), f"/containers/{shop}", "shop"]


def test_the_exit_status_comes_back(node: Node, shop: int) -> None:
    assert node.ssh(shop, "exit 7", check=False).returncode == 7


def test_a_published_app_is_installed_in_a_venv(node: Node, shop: int) -> None:
    environment = indexes.words(node, shop)
    node.ssh(shop, f"python3 -m venv venv && {environment} venv/bin/pip install -q httpbin")
    assert "httpbin" in node.ssh(shop, "venv/bin/python -c 'import httpbin; print(httpbin)'").stdout


def test_before_the_app_the_domain_answers_503(node: Node, shop: int) -> None:
    answer = node.get(SITE)
    assert answer.status == 503
    assert b"INS-503" in answer.body


def test_six_lines_bring_the_app_onto_its_domain(node: Node, shop: int) -> None:
    vassal = f"""[uwsgi]
domain = {SITE}
plugin = python3
virtualenv = /containers/{shop}/venv
module = httpbin:app
processes = 4
"""
    node.ssh(shop, "cat > vassals/httpbin.ini", stdin=vassal)
    node.answers(SITE, 200, within=30)
    node.answers(SITE, 200, within=5, tls=True)
    assert b"httpbin" in node.get(SITE).body
    assert node.get(SITE.upper()).status == 200


def test_a_touch_reloads_without_a_failed_request(node: Node, shop: int) -> None:
    failed: list[str] = []
    done: list[float] = []
    wanted = 1000

    def visit(path: str) -> None:
        while len(done) < wanted:
            start = time.monotonic()
            try:
                status = node.get(SITE, path).status
                if status != 200:
                    failed.append(f"{path}: {status}")
            except OSError as error:
                failed.append(f"{path}: {error!r}")
            done.append(time.monotonic() - start)

    paths = ["/status/200", "/get", "/delay/2"]
    visitors = [threading.Thread(target=visit, args=(path,)) for path in paths]
    for visitor in visitors:
        visitor.start()
    for share in (0.2, 0.5, 0.8):
        until(lambda share=share: len(done) >= wanted * share, 120, "requests")  # type: ignore[misc]
        node.ssh(shop, "touch vassals/httpbin.ini")
    for visitor in visitors:
        visitor.join()
    assert failed == []
    assert len(done) >= wanted
    assert max(done) >= 2


def test_a_second_vassal_shares_the_load(node: Node, shop: int) -> None:
    node.ssh(
        shop,
        "cd vassals && { cat httpbin.ini; echo 'add-header = X-Vassal: second'; } > ../second"
        " && mv ../second second.ini",
    )

    def both() -> bool:
        seen = {node.get(SITE, "/get").headers.get("x-vassal") for _ in range(10)}
        return seen == {None, "second"}

    until(both, 20, "both vassals answer")


def test_without_vassals_the_domain_answers_503_again(node: Node, shop: int) -> None:
    node.ssh(shop, "rm vassals/httpbin.ini vassals/second.ini")
    node.answers(SITE, 503, within=20)


def test_an_unknown_host_answers_421(node: Node) -> None:
    answer = node.get("nobody.example.net")
    assert answer.status == 421
    assert b"INS-421" in answer.body


def test_files_come_and_go(node: Node, shop: int, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(os.urandom(100_000))
    words = node.ssh_words()
    # scp spells ssh's -p as -P
    copy = ["scp", *("-P" if word == "-p" else word for word in words[1:])]
    subprocess.run([*copy, tmp_path / "there", f"{shop}@127.0.0.1:"], check=True, timeout=30)
    subprocess.run([*copy, f"{shop}@127.0.0.1:there", tmp_path / "back"], check=True, timeout=30)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()
    remote = " ".join(words)
    subprocess.run(
        ["rsync", "-e", remote, tmp_path / "there", f"{shop}@127.0.0.1:again"],
        check=True,
        timeout=30,
    )
    assert node.ssh(shop, "cmp there again").returncode == 0


def test_what_happened_is_explained(node: Node, shop: int) -> None:
    text = node.insula("explain", str(shop)).stdout
    for step in ("api-changed", "vassal-written", "sub-emperor-up", "announced", "routed"):
        assert step in text


def test_what_was_measured_can_be_read(node: Node) -> None:
    demo = node.up["demo"]
    for _ in range(5):
        assert node.get(demo["domain"]).status == 200
    socket = node.paths.api_operator / "api.sock"

    def has_hits() -> bool:
        samples = http.call(socket, "GET", f"/api/v1/domains/{demo['domain']}/metrics")
        assert isinstance(samples, list)
        hits = [item["value"] for item in samples if item["metric"].endswith("_requests_total")]
        return bool(hits) and hits[-1] >= 5

    # the collector sends once a minute
    until(has_hits, 90, "the API has the site's requests")
    assert http.call(socket, "GET", f"/api/v1/containers/{demo['uid']}/metrics")
