"""`node up`: which settings a node gets, what the summary says, how a step is shown."""

import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from insula.emperor import demo, local, release, up
from insula.emperor.errors import PreparationError, SettingsError
from insula.emperor.progress import Progress
from insula.emperor.settings import Node, NodeSettings, Paths
from insula.vassals import grammar


def settled(root: Path, settings: NodeSettings) -> Paths:
    paths = Paths(root)
    paths.etc.mkdir(parents=True)
    paths.node_toml.write_text(settings.to_toml())
    return paths


def test_a_new_node_gets_the_defaults_and_what_was_given(tmp_path: Path) -> None:
    node = up.decide(tmp_path, up.Wanted(http_port=8080))
    assert node.settings == NodeSettings(http_port=8080)


def test_what_is_not_given_stays(tmp_path: Path) -> None:
    settled(tmp_path, NodeSettings(http_port=8080, base_domain="apps.example.org"))
    node = up.decide(tmp_path, up.Wanted(ssh_port=2200))
    assert node.settings == NodeSettings(
        http_port=8080, base_domain="apps.example.org", ssh_port=2200
    )


@pytest.mark.parametrize(
    "wanted", [up.Wanted(network="10.5.0.0/16"), up.Wanted(base_domain="b.example.org")]
)
def test_a_node_with_containers_keeps_network_and_base_domain(
    tmp_path: Path, wanted: up.Wanted
) -> None:
    paths = settled(tmp_path, NodeSettings())
    paths.local_json.write_text("{}")
    with pytest.raises(SettingsError, match="it cannot become"):
        up.decide(tmp_path, wanted)


def test_two_equal_ports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="three different ports"):
        up.decide(tmp_path, up.Wanted(http_port=443))


def test_a_broken_node_toml_is_not_overwritten(tmp_path: Path) -> None:
    settled(tmp_path, NodeSettings()).node_toml.write_text("nonsense = 1\n")
    with pytest.raises(SettingsError, match="nonsense is not a setting"):
        up.decide(tmp_path, up.Wanted())


def test_the_summary_has_a_fixed_form() -> None:
    node = Node(Paths(Path("/srv/n")), NodeSettings(http_port=8080, https_port=8443))
    shown = demo._demo(node, 30001)
    facts = up.summary(up.Result(node, shown, ()))
    assert up.summary_lines(facts) == [
        "api    https://api.insula.localhost:8443/",
        "docs   https://api.insula.localhost:8443/api/v1/docs",
        "cli    /srv/n/var/lib/insula/venv/bin/insula --root /srv/n",
        "login  customer demo, token in /srv/n/etc/insula/demo/token",
        "ssh    ssh -i /srv/n/etc/insula/demo/id_ed25519 -p 2222"
        " -o UserKnownHostsFile=/srv/n/etc/insula/demo/known_hosts"
        " -o StrictHostKeyChecking=accept-new 30001@127.0.0.1",
        "curl   curl -H 'Host: demo.insula.localhost' http://127.0.0.1:8080/",
    ]


def test_without_a_demo_the_summary_names_none() -> None:
    facts = up.summary(up.Result(Node(Paths(Path("/")), NodeSettings()), None, ()))
    assert facts["demo"] is None
    assert up.summary_lines(facts)[0] == "api    https://api.insula.localhost/"


def test_a_failed_step_is_named_and_a_slow_one_timed() -> None:
    times: Iterator[float] = iter([100.0, 131.2, 132.0, 133.0])
    stream = io.StringIO()
    progress = Progress(90.0, clock=lambda: next(times), stream=stream)
    with progress.step("distro default"):
        pass
    assert stream.getvalue() == "[  42.0s] distro default: 31.2 s\n"
    with pytest.raises(PreparationError, match="storage: disk full"), progress.step("storage"):
        raise PreparationError("disk full")


def test_the_apis_vassal_file_keeps_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "public_key_pem", lambda _: "-----BEGIN PUBLIC KEY-----\n")
    node = Node(Paths(Path("/srv/n")), NodeSettings())
    container = local.desired(node, number=5, changed_at=1.0).containers[0]
    include = PurePosixPath("/srv/n/etc/insula/container.ini")
    found = grammar.check(container.vassal, uid=30000, container_ini=include)
    assert (found.distro, found.generation, found.customer_id) == ("insula-api", 5, 0)


def test_a_tree_without_python_gets_no_release(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").symlink_to("busybox")
    with pytest.raises(PreparationError, match="has no Python"):
        release.python_of(tmp_path)
