"""What a container stands on: one build of its distro, and the files that depend on it.

They are root's. ``boot/<uid>.ini`` names the build, so it is also the record of where the container
stands: it is written last, and container.ini includes it at each boot.
"""

import os
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from insula.emperor.distros import builds
from insula.emperor.distros.builds import Build
from insula.emperor.errors import KernelError
from insula.emperor.kernel.beneath import read_in_root
from insula.emperor.settings import Node, Paths
from insula.vassals import names
from insula.vassals.errors import InvalidValue
from insula.vassals.identity import API_UID
from insula.vassals.spec import DEFAULT_LOCALE, DEFAULT_TIMEZONE, ContainerSpec

ENVIRONMENT = "environment"
# nproc(1) and OpenMP ask the scheduler, which knows no quota, but believe this first.
PROCESSORS = "OMP_NUM_THREADS"
# Below files/<uid>, in the order in which they are written; boot/<uid>.ini follows.
FILES = ("passwd", "group", "localtime", "timezone", ENVIRONMENT)
_ACCOUNTS_BYTES = 1 << 20
_ZONE_BYTES = 1 << 16
# locale/locarchive.h of glibc: fourteen numbers of 32 bits, then tables at the places they name.
_ARCHIVE_HEADER, _ARCHIVE_MAGIC = struct.Struct("=14I"), 0xDE020109
_ARCHIVE_NAMES_BYTES = 1 << 20
_BUILT_IN_LOCALES = ("C", "POSIX", "C.UTF-8")
# tzfile(5), version 2: no transitions, one kind of local time, "UTC".
_UTC_PART = b"TZif2" + bytes(15 + 16) + b"\0\0\0\x01\0\0\0\x04" + bytes(6) + b"UTC\0"
_UTC = _UTC_PART * 2 + b"\nUTC0\n"
# personality(2): uname says i686, as on a 32-bit machine
_PER_LINUX32 = 8
_ROOT_LINE = re.compile(r"^hook-asap = mount:none \S+/distros/(\S+) \S+ bind$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ground:
    """One build as one container sees it.

    ``zone`` is the text of the wanted time zone, None where the build does not know it.
    """

    build: Build
    passwd: str
    group: str
    is_32bit: bool = False
    # /etc/localtime and /etc/timezone are files that others can be bound over
    has_clock: bool = False
    zone: bytes | None = None
    has_locale: bool = True


def pinned(paths: Paths, uid: int) -> Build | None:
    """The build on which a container boots; None before its first boot."""
    try:
        text = paths.boot_ini(uid).read_text()
    except OSError:
        return None
    found = _ROOT_LINE.search(text)
    if found is None:
        return None
    return Build.parse(found[1]) or Build(found[1], 0)


def chosen(
    pin: Build | None, *, distro: str, current: Build | None, boots: bool, is_held: bool
) -> Build | None:
    """The build that a container shall boot on; None when its distro is not there.

    ``boots``: somebody asks for a reboot, which takes up the current build; a crash does not.
    ``is_held``: an upgrade of the distro is under way and moves each container in its turn.
    """
    if pin is None or pin.distro != distro or (boots and not is_held):
        return current
    return pin


def ground_of(node: Node, spec: ContainerSpec, *, boots: bool, is_held: bool) -> Ground | None:
    """What a container shall stand on; None when its distro is not on this node."""
    paths = node.paths
    pin = pinned(paths, spec.uid)
    if pin is not None and not pin.tree(paths).is_dir():
        pin = None
    build = chosen(
        pin,
        distro=spec.distro,
        current=builds.current(paths, spec.distro),
        boots=boots or spec.uid == API_UID,
        is_held=is_held,
    )
    return None if build is None else look(paths, build, spec)


def look(paths: Paths, build: Build, spec: ContainerSpec) -> Ground | None:
    """Read what a container needs to know of a build; None when it is not whole or unreadable."""
    tree, known = build.tree(paths), (spec.timezone, spec.locale)
    # A build never changes, so what was read of it stays true; what failed may go well next time.
    try:
        return _seen(build, tree, *known) if build.number else _look(build, tree, *known)
    except (KernelError, OSError):
        return None


def _look(build: Build, tree: Path, timezone: str, locale: str) -> Ground:
    passwd = read_in_root(tree, "etc/passwd", _ACCOUNTS_BYTES)
    group = read_in_root(tree, "etc/group", _ACCOUNTS_BYTES)
    if passwd is None or group is None:
        raise KernelError(f"{tree} has no accounts")
    zone = read_in_root(tree, f"usr/share/zoneinfo/{timezone}", _ZONE_BYTES)
    places = (tree / "etc/localtime", tree / "etc/timezone")
    return Ground(
        build=build,
        passwd=passwd.decode(errors="replace"),
        group=group.decode(errors="replace"),
        # elf(5): the fifth byte of a program is its class
        is_32bit=(read_in_root(tree, "bin/sh", 5) or b"") == b"\x7fELF\x01",
        has_clock=all(place.is_file() and not place.is_symlink() for place in places),
        zone=zone if zone and zone.startswith(b"TZif") else None,
        has_locale=locale in _BUILT_IN_LOCALES or _has_locale(tree, locale),
    )


_seen = lru_cache(maxsize=4096)(_look)


def _has_locale(tree: Path, locale: str) -> bool:
    """True when glibc in that tree finds a locale: a directory of its own or in the archive."""
    name, _, modifier = locale.partition("@")
    language, _, charset = name.partition(".")
    plain = charset.replace("-", "").lower()
    spelt = f"{language}.{plain}" if plain else language
    wanted = f"{spelt}@{modifier}" if modifier else spelt
    place = f"usr/lib/locale/{wanted}/LC_IDENTIFICATION"
    if read_in_root(tree, place, 1) is not None:
        return True
    return b"\0" + wanted.encode() + b"\0" in b"\0" + _archived_names(tree) + b"\0"


def _archived_names(tree: Path) -> bytes:
    """The names of the locales in glibc's archive, which itself may be hundreds of megabytes."""
    place = "usr/lib/locale/locale-archive"
    header = read_in_root(tree, place, _ARCHIVE_HEADER.size) or b""
    if len(header) < _ARCHIVE_HEADER.size:
        return b""
    magic, _, _, _, _, names_offset, names_used, *_ = _ARCHIVE_HEADER.unpack(header)
    if magic != _ARCHIVE_MAGIC:
        return b""
    limit = min(names_used, _ARCHIVE_NAMES_BYTES)
    return read_in_root(tree, place, limit, offset=names_offset) or b""


def remark(spec: ContainerSpec, ground: Ground) -> str:
    """What the container's owner should know of its ground; empty when all is as wanted."""
    said = []
    if ground.zone is None and spec.timezone != DEFAULT_TIMEZONE:
        said.append(f"its distro {spec.distro} has no time zone {spec.timezone}: it runs in UTC")
    elif spec.timezone != DEFAULT_TIMEZONE and not ground.has_clock:
        said.append(f"its distro {spec.distro} is too old for time zones: it runs in UTC")
    if not ground.has_locale:
        said.append(f"its distro {spec.distro} has no locale {spec.locale}: it runs with C.UTF-8")
    if not said:
        return ""
    return "; ".join(said) + "; choose another one, or another distro"


def files_of(node: Node, spec: ContainerSpec, ground: Ground) -> dict[Path, bytes]:
    """The files that depend on the build, in the order in which they are written."""
    uid, has_zone = spec.uid, ground.zone is not None and ground.has_clock
    timezone = spec.timezone if has_zone else DEFAULT_TIMEZONE
    locale = spec.locale if ground.has_locale else DEFAULT_LOCALE
    environment = {"LANG": locale, "TZ": timezone, PROCESSORS: str(processors_of(spec))}
    zone = ground.zone if has_zone and ground.zone is not None else _UTC
    place = node.paths.container_files(uid)
    return {
        place / "passwd": _with_line(ground.passwd, uid, passwd_line(spec)),
        place / "group": _with_line(ground.group, uid, group_line(uid)),
        place / "localtime": zone,
        place / "timezone": f"{timezone}\n".encode(),
        place / ENVIRONMENT: _lines(environment),
        node.paths.boot_ini(uid): _boot_ini(node.paths, uid, ground, environment).encode(),
    }


def processors_of(spec: ContainerSpec) -> int:
    """How many processors the container may keep busy; never more than the machine has."""
    return min(os.cpu_count() or 1, -(-spec.cpu_percent // 100))


def _lines(environment: dict[str, str]) -> bytes:
    return "".join(f"{key}={value}\n" for key, value in environment.items()).encode()


def _boot_ini(paths: Paths, uid: int, ground: Ground, environment: dict[str, str]) -> str:
    root, files = paths.roots / str(uid), paths.container_files(uid)
    lines = [
        f"; What differs from container to container in the boot of {uid}; written by the node.",
        "[uwsgi]",
        f"hook-asap = mount:none {ground.build.tree(paths)} {root} bind",
    ]
    for name in ("localtime", "timezone") if ground.has_clock else ():
        lines += [
            f"hook-asap = mount:none {files / name} {root}/etc/{name} bind",
            f"hook-asap = remount:{root}/etc/{name} ro,nosuid,nodev,noexec",
        ]
    if ground.is_32bit:
        lines.append(f"hook-as-root = callint:personality {_PER_LINUX32}")
    lines += [f"env = {key}={value}" for key, value in environment.items()]
    return "\n".join(lines) + "\n"


def passwd_line(spec: ContainerSpec) -> str:
    """The user's name is the uid, for it never changes; the container's name is the comment."""
    return f"{spec.uid}:x:{spec.uid}:{spec.uid}:{spec.name}:/containers/{spec.uid}:/bin/bash"


def group_line(uid: int) -> str:
    return f"{uid}:x:{uid}:"


def _with_line(text: str, uid: int, line: str) -> bytes:
    # A distro that names this number itself would give the customer a second name.
    kept = [item for item in text.splitlines() if str(uid) not in item.split(":")[:3]]
    return ("\n".join([*kept, line]) + "\n").encode()


def environment_of(paths: Paths, uid: int) -> dict[str, str]:
    """LANG, TZ and the processors of a container's new sessions, as the node wrote them.

    Raises InvalidValue when the file holds anything else.
    """
    path = paths.container_files(uid) / ENVIRONMENT
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {"LANG": DEFAULT_LOCALE}
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    names.locale(found.get("LANG", DEFAULT_LOCALE), path=f"{path}: LANG")
    names.timezone(found.get("TZ", DEFAULT_TIMEZONE), path=f"{path}: TZ")
    if not found.get(PROCESSORS, "1").isdecimal():
        raise InvalidValue(f"{path}: {PROCESSORS} should be a number")
    return {key: found[key] for key in ("LANG", "TZ", PROCESSORS) if key in found}
