"""What is: the state of the node as the kernel and the disk have it, read and never changed."""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from insula.configurator.files import Directory, directories
from insula.emperor.distros import builds, ground, upgrades
from insula.emperor.distros.ground import Ground
from insula.emperor.kernel import firewall
from insula.emperor.kernel.beneath import read_own
from insula.emperor.kernel.cgroup import Cgroups, Limits
from insula.emperor.kernel.network import Network
from insula.emperor.release import DISTRO as API_DISTRO
from insula.emperor.settings import Node
from insula.emperor.storage import Storage
from insula.vassals.spec import ContainerSpec

_FILES = ("hosts", "hostname", "resolv.conf", *ground.FILES)


@dataclass(frozen=True, slots=True)
class ContainerActual:
    """One container as it is; ``storage_bytes`` is None where no limit is known."""

    uid: int
    has_storage: bool = False
    storage_bytes: int | None = None
    has_network: bool = False
    limits: Limits | None = None
    cgroups: tuple[Path, ...] = ()
    has_directories: bool = False
    files: Mapping[Path, bytes] | None = None
    vassal: bytes | None = None

    @property
    def is_there(self) -> bool:
        """True when anything is left of it."""
        return bool(
            self.has_storage
            or self.has_network
            or self.limits
            or self.files
            or self.has_directories
            or self.vassal is not None
        )


@dataclass(frozen=True, slots=True)
class Actual:
    """The node as it is; ``firewall`` is the loaded table's text, '' when none is.

    ``grounds`` has what each container shall stand on, as far as its distro is on this node.
    """

    firewall: str
    grounds: Mapping[int, Ground]
    resolv_conf: str
    extrausers: Mapping[str, str]
    containers: Mapping[int, ContainerActual]
    signing_keys: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Kernel:
    """The wrappers by which a configurator sees and changes one node."""

    storage: Storage
    network: Network
    cgroups: Cgroups


def observe_container(
    node: Node, kernel: Kernel, spec: ContainerSpec, *, limit: int | None, has_network: bool
) -> ContainerActual:
    """Read all there is of one container."""
    uid, paths = spec.uid, node.paths
    wanted = [paths.container_files(uid) / name for name in _FILES]
    wanted += [paths.ssh / "authorized_keys" / str(uid), paths.cgroups(uid)]
    wanted += [paths.keys(uid) / "signing.pem", paths.boot_ini(uid)]
    read = {path: read_bytes(path) for path in wanted}
    return ContainerActual(
        uid=uid,
        has_storage=kernel.storage.has_container(uid),
        storage_bytes=limit,
        has_network=has_network,
        limits=kernel.cgroups.limits(spec.customer_id, uid),
        cgroups=kernel.cgroups.directories(spec.customer_id, uid),
        has_directories=all(_is_whole(item) for item in directories(node, uid)),
        files={path: data for path, data in read.items() if data is not None},
        vassal=read_bytes(paths.vassals / f"{uid}.ini"),
    )


def observe_containers(
    node: Node, kernel: Kernel, specs: Iterable[ContainerSpec], limits: Mapping[int, int]
) -> dict[int, ContainerActual]:
    """Read all there is of some containers; ``limits`` are the disk limits by uid."""
    chosen = tuple(specs)
    whole = kernel.network.ready([spec.uid for spec in chosen])
    return {
        spec.uid: observe_container(
            node, kernel, spec, limit=limits.get(spec.uid), has_network=spec.uid in whole
        )
        for spec in chosen
    }


def loaded_firewall(node: Node, *, ask_kernel: bool) -> str:
    """The table's text; it counts as missing when somebody has flushed it."""
    text = read_bytes(firewall_file(node)) or b""
    if text and ask_kernel and not firewall.is_loaded(node.nft_table):
        return ""
    # What is damaged equals no text that is wanted, so it is made again.
    return text.decode(errors="replace")


def firewall_file(node: Node) -> Path:
    """Where the text of the loaded table is kept."""
    return node.paths.run / "firewall.nft"


def observe_grounds(
    node: Node, specs: Iterable[ContainerSpec], containers: Mapping[int, ContainerActual]
) -> dict[int, Ground]:
    """On which build each of some containers shall stand, and what is in it."""
    held = upgrades.held(node.paths)
    found: dict[int, Ground] = {}
    for spec in specs:
        boots = containers[spec.uid].vassal != spec.vassal.encode()
        stands_on = ground.ground_of(node, spec, boots=boots, is_held=spec.distro in held)
        if stands_on is not None:
            found[spec.uid] = stands_on
    return found


def extrausers_texts(node: Node) -> dict[str, str]:
    """The three account files as they are."""
    found = {
        name: read_bytes(node.paths.extrausers / name) for name in ("passwd", "group", "shadow")
    }
    return {name: (data or b"").decode(errors="replace") for name, data in found.items()}


def installed_distros(node: Node) -> tuple[str, ...]:
    """The names of the finished distros."""
    return tuple(name for name in builds.names(node.paths) if name != API_DISTRO)


def _is_whole(place: Directory) -> bool:
    """A directory that a killed configurator left has not its owner yet."""
    try:
        found = os.lstat(place.path)
    except FileNotFoundError:
        return False
    wanted = (stat.S_IFDIR | place.mode, place.owner, place.owner)
    return (found.st_mode, found.st_uid, found.st_gid) == wanted


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a file of ours; None when it is not there, or somebody else's."""
    try:
        return read_own(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
