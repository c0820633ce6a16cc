"""Containers: list, make on one's own node, show, change, new secret uuid."""

from dataclasses import dataclass, fields

from django.http import HttpResponse

from insula.api.actions import wire_containers as actions
from insula.api.actions.actor import Actor
from insula.api.actions.containers import Wanted, find_container
from insula.api.actions.nodes import the_node
from insula.api.errors import ApiError, Code
from insula.api.models import Container, Distro, Domain, Loopbox, Node, Notification
from insula.api.wire.endpoint import Call, created, done, endpoint, said
from insula.api.wire.fields import Fields, query_tags
from insula.vassals import spec
from insula.vassals.errors import InvalidValue

_CHANNELS = tuple(item.name for item in fields(actions.Channels))
_NUMBERS = ("alarm_freq", "quota_threshold")
# Shown, but for the one secret that nobody reads again.
_SHOWN_CHANNELS = tuple(name for name in _CHANNELS if name != "jid_secret")


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all containers of an answer have in common, asked for once."""

    node: Node | None
    distros: dict[str, int]

    @classmethod
    def read(cls) -> "_Ground":
        return cls(the_node(), {row.name: row.pk for row in Distro.objects.order_by("-id")})


def list_containers(call: Call) -> HttpResponse:
    rows = call.customer.containers.filter(state="running")
    rows = rows.select_related("custom_distro").prefetch_related("tags")
    names = query_tags(call.request)
    if names is not None:
        # Two steps: a join would list a container once for each of its tags.
        wanted = call.customer.tags.filter(name__in=names)
        rows = rows.filter(
            pk__in=Container.tags.through.objects.filter(tag__in=wanted).values("container")
        )
    ground = _Ground.read()
    return said([_line(row, ground) for row in rows], request=call.request)


def create_container(call: Call) -> HttpResponse:
    given = call.fields()
    server, title = given.text("server"), given.text("name")
    memory, storage = given.number("memory"), given.number("storage")
    if server is None or title is None or memory is None or storage is None:
        raise ApiError(Code.FORBIDDEN, "server, name, memory and storage are needed")
    row = actions.create_container(
        call.actor, call.customer, server=server, title=title, memory_mib=memory,
        storage_mib=storage,
    )  # fmt: skip
    return created(call.request, uid=row.uid)


def show_container(call: Call, uid: str) -> HttpResponse:
    return said(_whole(container_of(call.actor, int(uid))), request=call.request)


def change_container(call: Call, uid: str) -> HttpResponse:
    row = container_of(call.actor, int(uid))
    given = call.fields()
    if not given.values:
        raise ApiError(Code.FORBIDDEN, "an empty object changes nothing")
    effects = actions.change_container(call.actor, row.uid, _request(given))
    shown = _whole(container_of(call.actor, row.uid))
    return said({**shown, "effects": effects}, request=call.request)


def _request(given: Fields) -> actions.Request:
    channels = {
        name: given.number(name) if name in _NUMBERS else given.text(name) for name in _CHANNELS
    }
    return actions.Request(
        title=given.text("name"),
        note=given.text("note"),
        nofollow=given.flag("nofollow"),
        memory_mib=given.number("memory"),
        storage_mib=given.number("storage"),
        limits=Wanted(ssh_keys=_keys(given), distro=_distro(given)),
        channels=actions.Channels(**channels),  # type: ignore[arg-type]  # by name, as above
        tags=given.texts("tags"),
        custom_distros_storage=given.flag("custom_distros_storage"),
        custom_distro=_custom_distro(given),
        link=given.number("link"),
        unlink=given.number("unlink"),
        is_reboot="reboot" in given,
    )


def _keys(given: Fields) -> tuple[str, ...] | None:
    """Clients split a text field into lines, and send the empty ones along."""
    keys = given.texts("ssh_keys")
    return None if keys is None else tuple(key for key in keys if key.strip())


def _distro(given: Fields) -> str | None:
    number = given.number("distro")
    if number is None:
        return None
    row = Distro.objects.filter(pk=number).first()
    if row is None:
        raise InvalidValue(f"distro: there is no distro {number}", "GET distros lists them")
    return row.name


def _custom_distro(given: Fields) -> int | None:
    """A number; 0 for null, which takes it away."""
    if given.is_null("custom_distro"):
        return 0
    number = given.number("custom_distro")
    if number is not None and number <= 0:
        raise InvalidValue("custom_distro: should be a number above 0, or null")
    return number


def renew_secret_uuid(call: Call, uid: str) -> HttpResponse:
    actions.renew_secret_uuid(call.actor, container_of(call.actor, int(uid)).uid)
    return done(call.request)


def container_of(actor: Actor, uid: int) -> Container:
    """A running container of one's own. Raises ApiError: forbidden, also for what is not there."""
    try:
        row = find_container(actor, uid)
    except ApiError as error:
        raise forbidden(uid) from error
    if row.state != "running":
        raise forbidden(uid)
    return row


def forbidden(uid: int) -> ApiError:
    return ApiError(Code.FORBIDDEN, f"container {uid} is none of yours")


def names_of_tags(row: Container | Domain | Loopbox) -> list[str]:
    """In order, from what was fetched with the row."""
    return sorted(tag.name for tag in row.tags.all())


def _whole(row: Container) -> dict[str, object]:
    """All of a container, as its own page shows it."""
    found = getattr(row, "notification", None) or Notification()
    line = _line(row, _Ground.read())
    if row.custom_distro is None:
        del line["custom_distro_name"]
    linked = [item.uid for item in Container.objects.filter(linked_by__container=row)]
    return {
        **line,
        **{name: getattr(found, name) for name in _SHOWN_CHANNELS},
        "nofollow": row.nofollow,
        "note": row.note,
        "linked_to": linked,
        "custom_distros_storage": row.custom_distros_storage,
        "secret_uuid": None if row.secret_uuid is None else str(row.secret_uuid),
        "ssh_keys": row.ssh_keys,
        "legion_address": [],
        "not_applied": _not_applied(row, found, linked),
    }


def _not_applied(row: Container, found: Notification, linked: list[int]) -> list[str]:
    """The keys whose values are kept, and that no node acts on yet."""
    named = [name for name in _SHOWN_CHANNELS if name not in _NUMBERS and getattr(found, name)]
    named += ["linked_to"] * bool(linked) + ["custom_distro"] * (row.custom_distro is not None)
    return sorted(named)


def _line(row: Container, ground: _Ground) -> dict[str, object]:
    """A container as the list shows it."""
    title = row.title or row.name
    node = ground.node
    return {
        "uid": row.uid,
        "name": title,
        "hostname": _hostname(title),
        "ip": row.address,
        "memory": row.memory_bytes // spec.MEBIBYTE,
        "storage": row.storage_bytes // spec.MEBIBYTE,
        "uuid": str(row.uuid),
        "distro": ground.distros.get(row.distro),
        "distro_name": row.distro,
        "custom_distro": row.custom_distro_id,
        "custom_distro_name": None if row.custom_distro is None else row.custom_distro.name,
        "server": None if node is None else node.name,
        "server_address": None if node is None else node.address,
        "tags": names_of_tags(row),
    }


def _hostname(title: str) -> str:
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == "-") else "-"
        for letter in title
    )


containers = endpoint(get=list_containers, post=create_container)
container = endpoint(get=show_container, post=change_container)
secret_uuid = endpoint(post=renew_secret_uuid)
