"""Attacks on files of others: the neighbour's, the machine's, those that all containers share."""

import contextlib
import errno
import fcntl
import os
import struct
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import syscalls
from insula.emperor.isolation.attacks.contract import (
    Absent,
    Held,
    Targets,
    any_of,
    attack,
    past_permission,
)

_KEY_BYTES = 16384
# How file systems call their root in a handle, name_to_handle_at(2). btrfs: object 256 of tree 5;
# ext4: inode 2; xfs: mostly inode 128, or 64. Generation 0 stands for any.
ROOTS = (
    (0x4D, struct.pack("=QQI", 256, 5, 0)),
    (1, struct.pack("=II", 2, 0)), (1, struct.pack("=II", 128, 0)), (1, struct.pack("=II", 64, 0)),
)  # fmt: skip
_HANDLE = struct.Struct("=Ii")
# utmp(5): type, process, line, id, user; a record has 384 bytes, kind 7 is a session
UTMP, _UTMP_BYTES, _SESSION = struct.Struct("=hxxi32s4s32s"), 384, 7


def home() -> Path:
    """A directory that we may write in, on the file system of all homes."""
    return Path(os.environ.get("HOME", "/tmp"))


def _read(path: Path, secret: str) -> str:
    if secret in path.read_bytes()[:_KEY_BYTES].decode(errors="replace"):
        return f"read {path}"
    raise Held(f"{path} is another file")


def _insula(targets: Targets, place: str) -> Path:
    return Path(targets.machine.root, place, "insula")


@attack
def read_neighbours_home(targets: Targets) -> str:
    """By the machine's path, and by its own."""
    near = targets.neighbour
    homes = (Path(near.outside, "home"), Path(f"/containers/{near.uid}"), home() / f"../{near.uid}")
    return any_of([partial(_read, place / "secret.txt", near.secret) for place in homes])


@attack
def write_neighbours_home(targets: Targets) -> str:
    """Into its file, and a file of our own beside it."""
    place = Path(targets.neighbour.outside, "home")
    return any_of([partial(_open_to_write, place / "secret.txt"), partial(_create, place)])


def _open_to_write(path: Path) -> str:
    """Opening is proof enough; nothing is written."""
    os.close(os.open(path, os.O_WRONLY))
    return f"could write {path}"


def _create(place: Path) -> str:
    path = place / f".attack-{os.getpid()}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    path.unlink()
    return f"made and removed {path}"


@attack
def read_neighbours_temporary_files(targets: Targets) -> str:
    """By the machine's path, and where our own are."""
    near = targets.neighbour
    places = (Path(near.outside, "tmp"), Path("/tmp"), Path("/var/tmp"))
    return any_of([partial(_read, place / "secret.txt", near.secret) for place in places])


@attack
def read_neighbours_signing_key(targets: Targets) -> str:
    """With it we would announce its domains."""
    path = Path("insula/keys", str(targets.neighbour.uid), "signing.pem")
    places = (Path(targets.machine.root, "run", path), Path("/run/keys/..", path))
    return any_of([partial(_read, place, "PRIVATE KEY") for place in places])


@attack
def read_machines_secrets(targets: Targets) -> str:
    """A file of root's, where the machine has it and below what might lead there."""
    machine = targets.machine
    ways = ("/", "/.old_root", "/proc/1/root", "/proc/self/root/..")
    paths = [Path(f"{way}/{machine.canary}") for way in ways]
    return any_of([partial(_read, path, machine.secret) for path in paths])


@attack
def write_distro(_targets: Targets) -> str:
    """A program that all containers run, and one of our own among them."""
    programs = ("/usr/bin/true", "/usr/bin/env", "/usr/bin/id", "/etc/nsswitch.conf")
    opened = [partial(_open_to_write, Path(program)) for program in programs]
    return any_of([*opened, partial(_create, Path("/usr/bin")), partial(_create, Path("/etc"))])


@attack
def change_platform_files(_targets: Targets) -> str:
    """Whom the door takes us for, what starts our apps, where our announcements go."""
    names = ("/etc/passwd", "/etc/group", "/etc/hosts", "/run/insula/vassal",
             "/run/insula/shortcuts.ini")  # fmt: skip
    places = ("/run/insula", "/run/keys", "/run/subscribe")
    return any_of([
        *(partial(_open_to_write, Path(name)) for name in names),
        *(partial(_create, Path(place)) for place in places),
    ])  # fmt: skip


@attack
def see_sessions(targets: Targets) -> str:
    """Who is logged in, and who has an account on the node."""
    accounts = _insula(targets, "var/lib") / "extrausers/passwd"
    records = [Path(name) for name in ("/run/utmp", "/var/log/wtmp")]
    return any_of([
        *(partial(session_of_others, targets, path) for path in records),
        partial(_read, accounts, f":{targets.neighbour.uid}:"),
        lambda: f"logind has {os.listdir('/run/systemd/sessions')}",
    ])  # fmt: skip


def session_of_others(targets: Targets, records: Path) -> str:
    content = records.read_bytes()
    for start in range(0, len(content) - _UTMP_BYTES + 1, _UTMP_BYTES):
        kind, _, line, _, name = UTMP.unpack_from(content, start)
        user = name.rstrip(b"\0").decode(errors="replace")
        if kind == _SESSION and user != str(targets.own.uid):
            return f"{user} is logged in at {line.rstrip(bytes(1)).decode(errors='replace')}"
    raise Held(f"{records} has no session of others")


@attack
def open_by_handle(targets: Targets) -> str:
    """By the numbers of the root of the file system on which all homes lie; no name is needed."""
    mount = os.open(home(), os.O_RDONLY | os.O_DIRECTORY)
    return any_of([partial(_open_root, targets, mount, *root) for root in ROOTS])


def _open_root(targets: Targets, mount: int, kind: int, content: bytes) -> str:
    handle = _HANDLE.pack(len(content), kind) + content
    root = syscalls.call("open_by_handle_at", mount, handle, os.O_RDONLY | os.O_DIRECTORY)
    path = Path(targets.neighbour.outside, "home/secret.txt")
    for start in range(1, len(path.parts)):
        with contextlib.suppress(OSError):
            found = os.open(Path(*path.parts[start:]), os.O_RDONLY, dir_fd=root)
            if targets.neighbour.secret.encode() in os.read(found, 100):
                return f"the neighbour's secret from the root of our file system, handle {kind}"
    listing = os.listdir(root)
    if not {"vassals", "logs"} <= set(listing):
        return f"the root of our file system: {listing[:8]}"
    raise Held(f"handle {kind} leads to our own home")


@attack
def search_file_system(targets: Targets) -> str:
    """Names and inodes of all homes, by btrfs's search in its trees."""
    tree_search, everything = 0xD0009411, 2**64 - 1
    root_tree, most_items, kinds = 1, 4096, 256
    key = struct.pack(
        "=7Q4I4Q", root_tree, 0, everything, 0, everything, 0, everything, 0, kinds, most_items,
        0, 0, 0, 0, 0,
    )  # fmt: skip
    found = control(tree_search, bytearray(key.ljust(4096, b"\0")))
    count = struct.unpack_from("=I", found, 7 * 8 + 2 * 4)[0]
    return f"{count} items of the tree of all subvolumes"


def control(request: int, argument: bytearray) -> bytes:
    """An ioctl on our home. Raises OSError, or Absent where its file system does not know it."""
    place = os.open(home(), os.O_RDONLY)
    try:
        fcntl.ioctl(place, request, argument)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise Absent("the file system of homes does not know this") from error
        raise
    finally:
        os.close(place)
    return bytes(argument)


@attack
def freeze_file_system(_targets: Targets) -> str:
    """Nobody could write any more. Thawing asks for the same right, and this is not frozen."""
    thaw, proof = 0xC0045878, "may freeze the homes' file system"
    return past_permission(partial(control, thaw, bytearray(4)), (errno.EINVAL,), proof)


@attack
def lift_disk_limit(_targets: Targets) -> str:
    """The limit of a group of btrfs; of one that is not there."""
    limit_group, absent = 0x8030942B, 0xFFFF << 48 | 1
    lift = partial(control, limit_group, bytearray(struct.pack("=6Q", absent, 0, 0, 0, 0, 0)))
    return past_permission(lift, (errno.ENOENT, errno.ENOTCONN), "may set disk limits")


@attack
def make_subvolume(_targets: Targets) -> str:
    """Before Linux 6.7 what lies in one counts for nobody."""
    create, name = 0x5000940E, f".attack-{os.getpid()}"
    control(create, bytearray(struct.pack("=q4088s", 0, name.encode())))
    (home() / name).rmdir()
    return "made a subvolume of our own"


@attack
def pin_file(_targets: Targets) -> str:
    """A file that root cannot delete would outlive our container."""
    get_flags, set_flags, immutable = 0x80086601, 0x40086602, 0x10
    path = home() / f".attack-{os.getpid()}"
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    try:
        before = bytearray(fcntl.ioctl(file, get_flags, bytes(8)))
        wanted = struct.unpack("=Q", before)[0] | immutable
        fcntl.ioctl(file, set_flags, struct.pack("=Q", wanted))
        fcntl.ioctl(file, set_flags, bytes(before))
        return "made a file that nobody can delete, and let it go"
    finally:
        os.close(file)
        path.unlink()


@attack
def make_set_uid_root_program(_targets: Targets) -> str:
    """A program that gives rights to whoever runs it, also outside."""
    path = home() / f".attack-{os.getpid()}"
    path.touch(exist_ok=False)
    # VFS_CAP_REVISION_2: all of the first 32 capabilities, permitted
    all_permitted = struct.pack("=5I", 0x02000001, 0xFFFFFFFF, 0, 0, 0)
    try:
        return any_of([
            partial(_give_to_root, path),
            partial(_set_attribute, path, "security.capability", all_permitted),
        ])  # fmt: skip
    finally:
        path.unlink()


def _give_to_root(path: Path) -> str:
    before = path.stat().st_uid
    os.chown(path, 0 if before else 1, -1)
    return f"gave a file of {before} to {path.stat().st_uid}"


def _set_attribute(path: Path, name: str, value: bytes) -> str:
    os.setxattr(path, name, value)
    return f"wrote {name} on a file of ours"
