"""Takes a node down: stops it and gives back all that it holds of the kernel; data stays."""

from pathlib import Path

from insula.emperor import service
from insula.emperor.errors import PreparationError
from insula.emperor.kernel import cgroup, firewall, lxcfs_group, mounts, services_group
from insula.emperor.kernel.network import Network
from insula.emperor.progress import Progress
from insula.emperor.settings import Node
from insula.emperor.storage import driver, layout

# On the machine's PATH for the node below /; made by `insula node up`.
COMMAND = Path("/usr/local/bin/insula")


def down(node: Node, progress: Progress) -> None:
    """Stop everything and leave nothing behind but files. Twice is once."""
    with progress.step("stop"):
        service.stop(node)
    with progress.step("containers"):
        _reap(node)
    with progress.step("network"):
        remove_network(node)
    with progress.step("cgroups"):
        found = cgroup.detect(node.cgroup_name)
        found.release()
        services_group.remove(services_group.paths_of(node.cgroup_name))
        services_group.remove(lxcfs_group.paths_of(found))
    # Last, for somebody else's process may hold a mount: then all the rest is gone already.
    with progress.step("mounts"):
        unmount_run(node)
        driver(node).release()


def _reap(node: Node) -> None:
    groups = cgroup.detect(node.cgroup_name)
    for customer_id, uid in groups.known():
        groups.reap(customer_id, uid)
        groups.remove(customer_id, uid)


def remove_network(node: Node) -> None:
    """Remove the node's interfaces, namespaces and firewall table; other nodes' stay."""
    directory = node.paths.netns(0).parent
    Network(node.link_prefix, node.settings.ip_network, directory).release()
    firewall.remove(node.nft_table)


def unmount_run(node: Node) -> None:
    """Unmount everything at and below the run directory, the latest first."""
    while below := _mounts_below(node.paths.run):
        mounts.unmount(below[-1], lazy=True)


def _mounts_below(directory: Path) -> list[Path]:
    return sorted(path for path in mounts.points() if path.is_relative_to(directory))


def purge(node: Node) -> None:
    """Delete the node's directories for good; it must be down. Raises PreparationError."""
    paths = node.paths
    held = [path for place in (paths.run, paths.lib, paths.etc) for path in _mounts_below(place)]
    if held:
        raise PreparationError(f"{held[0]} is still mounted", "run `insula node down` first")
    for place in (paths.run, paths.lib, paths.etc):
        if place.exists():
            layout.remove_tree(place)
        _remove_empty(place.parent, upto=paths.root)
    service.forget(node)
    if COMMAND.is_symlink() and COMMAND.readlink().is_relative_to(paths.lib):
        COMMAND.unlink()


def _remove_empty(place: Path, *, upto: Path) -> None:
    """Remove directories that held nothing but the node, from ``place`` up to its root."""
    if upto == Path("/"):
        return
    for directory in (place, *place.parents):
        if not directory.is_relative_to(upto) or (directory.exists() and any(directory.iterdir())):
            return
        if directory.exists():
            directory.rmdir()
