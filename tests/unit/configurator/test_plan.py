"""Desired and actual in, actions out."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from insula.configurator.actual import Actual, ContainerActual
from insula.configurator.files import container_files, extrausers
from insula.configurator.plan import Plan, limits_of, plan
from insula.emperor.distros.builds import Build
from insula.emperor.distros.ground import Ground
from insula.emperor.kernel import firewall
from insula.emperor.kernel.cgroup import Limits
from insula.vassals import identity
from insula.vassals.spec import ContainerSpec
from tests.unit.configurator.examples import NODE, container

GROUND = Ground(Build("default", 7), "root:x:0:0::/root:/bin/sh\n", "root:x:0:\n")
FIREWALL = firewall.ruleset(
    table=NODE.nft_table,
    prefix=NODE.link_prefix,
    network=NODE.settings.ip_network,
    gateway=NODE.settings.gateway,
)


def in_place(spec: ContainerSpec) -> ContainerActual:
    """A container as it is when its spec has been applied."""
    files = container_files(
        NODE, spec, stands_on=GROUND, resolv_conf="r\n", cgroups=(), signing_key=None
    )
    return ContainerActual(
        uid=spec.uid,
        has_storage=True,
        storage_bytes=spec.storage_bytes,
        has_network=True,
        limits=limits_of(spec),
        has_directories=True,
        files={file.path: file.data for file in files},
        vassal=spec.vassal.encode(),
    )


def actual(*found: ContainerActual, accounts_of: tuple[ContainerSpec, ...] = ()) -> Actual:
    lines = extrausers(NODE, accounts_of, {})
    return Actual(
        firewall=FIREWALL,
        grounds={item.uid: GROUND for item in found},
        resolv_conf="r\n",
        extrausers={file.path.name: file.data.decode() for file in lines},
        containers={item.uid: item for item in found},
        signing_keys={},
    )


def described(specs: tuple[ContainerSpec, ...], state: Actual) -> list[str]:
    todo = plan(NODE, specs, state, everyone=specs, public_keys={})
    return [item.describe() for item in todo.actions]


def test_a_new_container_gets_its_vassal_file_last() -> None:
    spec = container()
    state = replace(actual(ContainerActual(uid=30001)), firewall="")
    assert described((spec,), state) == [
        "load the firewall",
        "write the containers' accounts for sshd",
        "30001: make a home of 1073741824 bytes",
        "30001: make the network",
        "30001: limit memory to 67108864 bytes, cpu to 50 %, processes to 64",
        "30001: write hosts, hostname, resolv.conf, authorized_keys/30001, cgroups/30001, "
        "passwd, group, localtime, timezone, environment, 30001.ini",
        "30001: write the vassal file of generation 1",
    ]


def test_what_is_in_place_needs_nothing() -> None:
    spec = container()
    assert described((spec,), actual(in_place(spec), accounts_of=(spec,))) == []


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            {"memory_bytes": 96 << 20},
            ["30001: limit memory to 100663296 bytes, cpu to 50 %, processes to 64"],
        ),
        ({"storage_bytes": 2 << 30}, ["30001: limit the home to 2147483648 bytes"]),
        ({"ssh_keys": ()}, ["30001: write authorized_keys/30001"]),
        ({"generation": 2}, ["30001: write the vassal file of generation 2"]),
        ({"revision": 9}, []),
    ],
    ids=["memory", "storage", "keys", "generation", "revision"],
)
def test_a_change_touches_only_what_it_is_about(changes: dict[str, Any], wanted: list[str]) -> None:
    before, after = container(), container(**changes)
    assert described((after,), actual(in_place(before), accounts_of=(before,))) == wanted


def test_a_destroyed_container_is_destroyed_once() -> None:
    spec = container(state="destroyed")
    there = actual(in_place(container()))
    assert described((spec,), there) == ["30001: stop, take away, set the home aside"]
    assert described((spec,), actual(ContainerActual(uid=30001))) == []


def test_an_empty_feed_plans_nothing() -> None:
    spec = container()
    assert described((), actual(in_place(spec), accounts_of=(spec,))) == []


def test_the_apis_container_is_neither_written_nor_removed() -> None:
    spec = container(identity.API_UID, vassal="of node up")
    state = actual(replace(in_place(spec), vassal=None), accounts_of=(spec,))
    assert described((spec,), state) == []
    assert described((replace(spec, state="destroyed"),), state)[1:] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"vassal": "[uwsgi]\nexec-asap = id\n"},
        {"vassal": container(30002).vassal},
        {"vassal": container(distro="other").vassal},
        {"vassal": container(generation=8).vassal},
        {"distro": "missing"},
    ],
    ids=["not-the-grammar", "other-uid", "other-distro", "other-generation", "no-distro"],
)
def test_a_refused_container_is_not_touched_and_the_next_one_goes_on(
    changes: dict[str, Any],
) -> None:
    specs = (container(**changes), container(30003))
    state = actual(ContainerActual(uid=30001), ContainerActual(uid=30003), accounts_of=specs)
    if changes.get("distro") == "missing":
        state = replace(state, grounds={30003: GROUND})
    found = plan(NODE, specs, state, everyone=specs, public_keys={})
    assert set(found.refused) == {30001}
    assert {item.uid for item in found.actions if hasattr(item, "uid")} == {30003}


def test_memory_is_compared_in_whole_pages() -> None:
    spec = container(memory_bytes=(64 << 20) + 5)
    assert limits_of(spec) == Limits(memory_bytes=64 << 20, cpu_percent=50, pids_max=64)


def key_pair() -> tuple[bytes, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM
    private = key.private_bytes(
        form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public.decode()


def test_a_container_does_not_boot_with_a_key_that_was_replaced() -> None:
    """Its apps would sign with it until the next boot, and the gate would refuse them."""
    spec, (old, old_public), (new, public) = container(generation=2), key_pair(), key_pair()
    present = in_place(container(generation=1))
    lying = {**(present.files or {}), NODE.paths.keys(spec.uid) / "signing.pem": old}
    state = actual(replace(present, files=lying), accounts_of=(spec,))

    def planned(found: Actual, public_key: str) -> Plan:
        return plan(NODE, (spec,), found, everyone=(spec,), public_keys={7: public_key})

    held = planned(state, public)
    assert held.actions == () and "new signing key" in held.refused[spec.uid].message
    boot = f"{spec.uid}: write the vassal file of generation 2"
    # It is no other's yet: the API does not answer, and what was acknowledged is done without it.
    assert [item.describe() for item in planned(state, old_public).actions] == [boot]
    here = planned(replace(state, signing_keys={7: new.decode()}), public)
    assert [item.describe() for item in here.actions] == [
        f"{spec.uid}: write signing.pem", boot,
    ]  # fmt: skip


def test_a_container_without_any_key_boots() -> None:
    spec = container(generation=2)
    state = actual(in_place(container(generation=1)), accounts_of=(spec,))
    found = plan(NODE, (spec,), state, everyone=(spec,), public_keys={7: key_pair()[1]})
    assert len(found.actions) == 1 and not found.refused
