"""Keeps which containers wish to reach which; no node opens the way yet."""

from insula.api.errors import ApiError, Code
from insula.api.models import Container, Link, PortMapping
from insula.vassals import identity

MAXIMUM_LINKS = 1000


def link(row: Container, uid: int) -> None:
    """Inside a transaction: anybody's running container. Raises ApiError: conflict."""
    target = Container.objects.filter(pk=uid - identity.UID_BASE, state="running").first()
    if target is None or target.pk == row.pk:
        raise ApiError(Code.CONFLICT, f"link: {uid} is no other container", field="link")
    if row.links.filter(target=target).exists():
        raise ApiError(Code.CONFLICT, f"link: {uid} is linked already", field="link")
    if row.links.count() >= MAXIMUM_LINKS:
        raise ApiError(Code.CONFLICT, f"container {row.uid} has {MAXIMUM_LINKS} links")
    Link.objects.create(container=row, target=target)


def unlink(row: Container, uid: int) -> None:
    """Inside a transaction. Raises ApiError: conflict."""
    found = row.links.filter(target=uid - identity.UID_BASE).first()
    if found is None:
        raise ApiError(Code.CONFLICT, f"unlink: {uid} is not linked", field="unlink")
    found.delete()


def release(row: Container) -> None:
    """A destroyed container holds neither a port nor a link, and no other may have its distros."""
    PortMapping.objects.filter(container=row).delete()
    Link.objects.filter(container=row).delete()
    Link.objects.filter(target=row).delete()
    Container.objects.filter(custom_distro__container=row).update(custom_distro=None)
