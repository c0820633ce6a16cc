"""What of a build a container's boot file says, and what of it a customer can influence."""

import os
import resource
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from insula.emperor.distros import builds, ground, upgrades
from insula.emperor.distros.builds import Build
from insula.emperor.distros.ground import Ground
from insula.emperor.settings import Paths
from insula.vassals.errors import InvalidValue
from insula.vassals.spec import ContainerSpec
from tests.unit.configurator.examples import NODE, container

GROUND = Ground(Build("default", 7), "root:x:0:0::/:/bin/sh\n", "root:x:0:\n", has_clock=True)
ZONE = b"TZif2 some zone"


def files(spec: ContainerSpec, stands_on: Ground = GROUND) -> dict[str, str]:
    found = ground.files_of(NODE, spec, stands_on)
    return {path.name: data.decode("latin-1") for path, data in found.items()}


def test_the_boot_file_comes_last_and_names_the_build(tmp_path: Path) -> None:
    found = files(container())
    assert list(found)[-1] == "30001.ini"
    line = "hook-asap = mount:none /var/lib/insula/pool/distros/.default+7 /run/insula/roots/30001"
    assert f"{line} bind\n" in found["30001.ini"]
    paths = Paths(tmp_path)
    paths.boot_ini(30001).parent.mkdir(parents=True)
    paths.boot_ini(30001).write_text(found["30001.ini"])
    assert ground.pinned(paths, 30001) == Build("default", 7)


def test_a_zone_that_the_build_has_is_bound_and_said() -> None:
    spec = replace(container(), timezone="Europe/Rome", locale="it_IT.UTF-8")
    stands_on = replace(GROUND, zone=ZONE)
    found = files(spec, stands_on)
    assert (found["localtime"], found["timezone"]) == (ZONE.decode(), "Europe/Rome\n")
    assert found["environment"].startswith("LANG=it_IT.UTF-8\nTZ=Europe/Rome\n")
    assert "env = TZ=Europe/Rome\n" in found["30001.ini"]
    assert "/etc/localtime bind\n" in found["30001.ini"]
    assert ground.remark(spec, stands_on) == ""


def test_a_zone_or_locale_that_it_lacks_becomes_utc_and_c_with_a_remark() -> None:
    spec = replace(container(), timezone="Europe/Rome", locale="it_IT.UTF-8")
    stands_on = replace(GROUND, has_locale=False)
    found = files(spec, stands_on)
    assert found["environment"].startswith("LANG=C.UTF-8\nTZ=UTC\n")
    assert found["timezone"] == "UTC\n"
    assert found["localtime"].endswith("\nUTC0\n")
    said = ground.remark(spec, stands_on)
    assert "no time zone Europe/Rome" in said and "no locale it_IT.UTF-8" in said


def test_a_build_from_before_time_zones_gets_no_mount_that_would_fail_the_boot() -> None:
    old = replace(GROUND, has_clock=False, zone=ZONE)
    found = files(replace(container(), timezone="Europe/Rome"), old)
    assert "localtime" not in found["30001.ini"] and "TZ=UTC" in found["environment"]


@pytest.mark.parametrize(
    ("percent", "machine", "processors"), [(1, 8, 1), (100, 8, 1), (101, 8, 2), (900, 8, 8)]
)
def test_nproc_tells_what_the_limit_is_worth(
    percent: int, machine: int, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    found = files(replace(container(), cpu_percent=percent))
    assert f"OMP_NUM_THREADS={processors}\n" in found["environment"]
    assert f"env = OMP_NUM_THREADS={processors}\n" in found["30001.ini"]


def test_only_a_32_bit_build_gets_another_personality() -> None:
    assert "personality" not in files(container())["30001.ini"]
    narrow = files(container(), replace(GROUND, is_32bit=True))["30001.ini"]
    assert "hook-as-root = callint:personality 8\n" in narrow


@pytest.mark.parametrize(
    "change",
    [
        {"timezone": "Europe/Rome\nhook-asap = exec:id"},
        {"timezone": "../../../root/secret"},
        {"timezone": "Europe/%(x)"},
        {"locale": "it_IT.UTF-8\nenv = A=B"},
        {"locale": "a b"},
        {"timezone": 7},
    ],
)
def test_no_feed_brings_a_line_of_its_own(change: dict[str, object]) -> None:
    with pytest.raises(InvalidValue):
        ContainerSpec.from_json({**container().to_json(), **change})


def test_a_feed_of_an_older_release_is_read() -> None:
    old = container().to_json()
    del old["timezone"], old["locale"]
    assert ContainerSpec.from_json(old) == container()


def test_a_link_in_a_strangers_tree_shows_nothing_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root:secret\n")
    tree = tmp_path / "lib/var/lib/insula/pool/distros/.evil+1"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/group").write_text("root:x:0:\n")
    (tree / "etc/passwd").symlink_to(tmp_path / "secret")
    paths = Paths(tmp_path / "lib")
    assert ground.look(paths, Build("evil", 1), container()) is None


def archive(*names: str) -> bytes:
    """A locale archive as localedef writes it, without the locales' data."""
    table = b"".join(name.encode() + b"\0" for name in names)
    head = struct.pack("=14I", 0xDE020109, 1, 56, 0, 0, 100, len(table), 4096, *[0] * 6)
    return head.ljust(100, b"\0") + table + b"\0en_GB.utf8\0"


def test_a_build_that_could_not_be_read_once_is_read_again(tmp_path: Path) -> None:
    """Else a moment without a free descriptor would hold up a container until the next start."""
    paths, build = Paths(tmp_path), Build("late", 1)
    (build.tree(paths) / "etc").mkdir(parents=True)
    assert ground.look(paths, build, container()) is None
    for name in ("passwd", "group"):
        (build.tree(paths) / "etc" / name).write_text("")
    zone = build.tree(paths) / "usr/share/zoneinfo/Europe/Rome"
    zone.parent.mkdir(parents=True)
    zone.write_bytes(ZONE)
    roman = replace(container(), timezone="Europe/Rome")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # one is left for the tree, none for what is in it
        with (tmp_path / "probe").open("w") as probe:
            lowest = probe.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
        assert ground.look(paths, build, roman) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    found = ground.look(paths, build, roman)
    assert found is not None and found.zone == ZONE


@pytest.mark.parametrize("content", [b"", b"x" * 40, b"\0" * 56, b"x\0fr_FR.utf8\0" * 9])
def test_a_damaged_archive_has_no_locale(tmp_path: Path, content: bytes) -> None:
    paths, build = Paths(tmp_path), Build("cut", 1)
    place = build.tree(paths) / "usr/lib/locale"
    place.mkdir(parents=True)
    (build.tree(paths) / "etc").mkdir()
    for name in ("passwd", "group"):
        (build.tree(paths) / "etc" / name).write_text("")
    (place / "locale-archive").write_bytes(content)
    found = ground.look(paths, build, replace(container(), locale="fr_FR.UTF-8"))
    assert found is not None and not found.has_locale


def test_locales_are_found_as_glibc_spells_them(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    tree = Build("one", 1).tree(paths)
    for name in ("passwd", "group"):
        (tree / "etc").mkdir(parents=True, exist_ok=True)
        (tree / "etc" / name).write_text("")
    place = tree / "usr/lib/locale/it_IT.utf8"
    place.mkdir(parents=True)
    (place / "LC_IDENTIFICATION").write_text("x")
    (tree / "usr/lib/locale/locale-archive").write_bytes(archive("de_DE@euro", "fr_FR.utf8"))
    has = {
        name: ground.look(paths, Build("one", 1), replace(container(), locale=name))
        for name in (
            "it_IT.UTF-8",
            "it_IT",
            "de_DE@euro",
            "fr_FR.UTF-8",
            "C.UTF-8",
            "C",
            "en_GB.UTF-8",
        )
    }
    found = {name: item.has_locale for name, item in has.items() if item}
    assert found == {
        "it_IT.UTF-8": True, "it_IT": False, "de_DE@euro": True, "fr_FR.UTF-8": True,
        "C.UTF-8": True, "C": True, "en_GB.UTF-8": False,
    }  # fmt: skip


def test_a_tree_at_its_own_name_becomes_a_build_without_a_gap(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    (paths.distros / "default/etc").mkdir(parents=True)
    (paths.distros / "default/etc/insula-distro").write_text("17\n")
    assert builds.adopt(paths) == [Build("default", 17)]
    assert builds.current(paths, "default") == Build("default", 17)
    assert (paths.distros / ".default+17/etc/insula-distro").read_text() == "17\n"
    assert builds.adopt(paths) == []


def test_an_upgrades_record_that_was_spoilt_holds_no_container(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.distros.mkdir(parents=True)
    upgrades.Upgrade("default", 1, 2, "moving").saved(paths, "moving")
    assert upgrades.held(paths) == {"default"}
    (paths.distros / ".default.upgrade.json").write_text("{")
    assert upgrades.held(paths) == frozenset()
