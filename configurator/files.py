"""What the node writes for a container, as values: which files, with which text and rights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from insula.emperor.distros import ground
from insula.emperor.distros.ground import Ground, group_line, passwd_line
from insula.emperor.settings import DOMINATOR_UID, Node
from insula.vassals import identity
from insula.vassals.spec import ContainerSpec


@dataclass(frozen=True, slots=True)
class File:
    """One file of root's; ``data`` may be a secret and never shows in a repr.

    Nobody else may own it, also not whoever alone may read it: an owner can lay a lease on a file
    (fcntl(2)), and root, which looks at all of them, would wait 45 s for each.
    """

    path: Path
    data: bytes = field(repr=False)
    mode: int = 0o644
    group: int = 0


@dataclass(frozen=True, slots=True)
class Directory:
    path: Path
    mode: int = 0o755
    owner: int = 0


def directories(node: Node, uid: int) -> tuple[Directory, ...]:
    """The platform's places of one container, all below root's own directories."""
    paths = node.paths
    return (
        Directory(paths.container_files(uid)),
        Directory(paths.keys(uid)),
        Directory(paths.subscribe(uid), owner=DOMINATOR_UID),
        Directory(paths.roots / str(uid)),
    )


def container_files(
    node: Node,
    spec: ContainerSpec,
    *,
    stands_on: Ground,
    resolv_conf: str,
    cgroups: tuple[Path, ...],
    signing_key: str | None,
) -> tuple[File, ...]:
    """All files of one container but its vassal file."""
    uid, paths = spec.uid, node.paths
    place = paths.container_files(uid)
    address = identity.address_of(uid, node.settings.ip_network)
    hosts = f"127.0.0.1 localhost\n{address} {spec.hostname} {uid}.local\n"
    keys = "".join(f"{line}\n" for line in spec.ssh_keys)
    files = [
        File(place / "hosts", hosts.encode()),
        File(place / "hostname", f"{spec.hostname}\n".encode()),
        File(place / "resolv.conf", resolv_conf.encode()),
        File(paths.ssh / "authorized_keys" / str(uid), keys.encode()),
        File(paths.cgroups(uid), "".join(f"{path}\n" for path in cgroups).encode()),
    ]
    if signing_key is not None:
        secret = signing_key.encode()
        files.append(File(paths.keys(uid) / "signing.pem", secret, mode=0o440, group=uid))
    # Last: the boot file says on which build all of this stands.
    depending = ground.files_of(node, spec, stands_on)
    return (*files, *(File(path, data) for path, data in depending.items()))


def extrausers(
    node: Node, specs: tuple[ContainerSpec, ...], present: Mapping[str, str]
) -> tuple[File, ...]:
    """passwd, group and shadow for sshd; ``present`` is the text that each has now.

    The lines of containers that ``specs`` does not mention stay: absence removes nothing.
    """
    running = {spec.uid: spec for spec in specs if spec.state == "running"}
    gone = {spec.uid for spec in specs} - set(running)
    wanted = {
        "passwd": {uid: passwd_line(spec) for uid, spec in running.items()},
        "group": {uid: group_line(uid) for uid in running},
        "shadow": {uid: f"{uid}:*:19000:0:99999:7:::" for uid in running},
    }
    found: list[File] = []
    for name, lines in wanted.items():
        merged = {uid: line for uid, line in _by_uid(present.get(name, "")).items()} | lines
        kept = [line for uid, line in sorted(merged.items()) if uid not in gone]
        text = "".join(f"{line}\n" for line in kept)
        mode = 0o600 if name == "shadow" else 0o644
        found.append(File(node.paths.extrausers / name, text.encode(), mode=mode))
    return tuple(found)


def _by_uid(text: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for line in text.splitlines():
        name = line.partition(":")[0]
        if name.isascii() and name.isdecimal():
            found[int(name)] = line
    return found
