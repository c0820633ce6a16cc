"""Takes over what a node knows and an older database does not."""

from dataclasses import dataclass, field, fields

from django.conf import settings
from django.db import connection

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit, change
from insula.api.actions.customers import key_pair
from insula.api.actions.encryption import DecryptionError, decrypt, encrypt
from insula.api.models import Container, Customer, Domain, Revision
from insula.vassals import identity
from insula.vassals.spec import ContainerSpec, CustomerSpec, DesiredState

# The feed's fields are the row's, but for these: numbers of others, a list, what is rendered.
_TAKEN_OVER = tuple(
    item.name
    for item in fields(ContainerSpec)
    if item.name not in ("uid", "customer_id", "ssh_keys", "vassal")
)


@dataclass(slots=True)
class Adopted:
    """What was taken over, by name; ``new_keys`` are customers whose private key was lost."""

    revision: int = 0
    customers: list[str] = field(default_factory=list)
    containers: list[int] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    new_keys: list[str] = field(default_factory=list)


def adopt(actor: Actor, state: DesiredState | None) -> Adopted:
    """Make the database at least as new as a node's last state, and its keys whole.

    What the node knows better is taken over; numbers that were given out are not given out again.
    The revision grows beyond the node's, so that it takes the next feed. A customer whose private
    key is lost or does not open gets a new pair. Raises ApiError.
    """
    actor.must_be_operator()
    found = Adopted()
    with change() as revision:
        if state is not None:
            _customers(state.customers, found)
            _containers(state.containers, found)
            _domains(state, found)
            _skip_used_numbers(state)
            revision = max(revision, state.revision + 1)
            Revision.objects.filter(pk=1).update(number=revision)
        _renew_lost_keys(found)
        found.revision = revision
        audit(actor, "restore", str(revision), f"{len(found.containers)} containers taken over")
    return found


def _customers(specs: tuple[CustomerSpec, ...], found: Adopted) -> None:
    known = set(Customer.objects.values_list("id", flat=True))
    for item in specs:
        if item.id not in known:
            Customer.objects.create(
                id=item.id, name=item.name, public_key_pem=item.public_key_pem,
                private_key_encrypted="",
            )  # fmt: skip
            found.customers.append(item.name)


def _containers(specs: tuple[ContainerSpec, ...], found: Adopted) -> None:
    known = {row.id: row for row in Container.objects.all()}
    # Destroyed ones first: a running one may have got the name that they had.
    for item in sorted(specs, key=lambda item: item.state == "running"):
        row = known.get(item.uid - identity.UID_BASE)
        if row is not None and row.revision >= item.revision:
            continue
        row = row or Container(id=item.uid - identity.UID_BASE)
        row.customer_id = item.customer_id
        for name in _TAKEN_OVER:
            setattr(row, name, getattr(item, name))
        row.ssh_keys = list(item.ssh_keys)
        row.save()
        found.containers.append(item.uid)


def _domains(state: DesiredState, found: Adopted) -> None:
    known = {row.name: row for row in Domain.objects.all()}
    running = {row.domain: row for row in Container.objects.filter(state="running")}
    for item in state.domains:
        row = known.get(item.name)
        if row is not None and (
            # The node had not heard of this change yet: it must not give back what was detached.
            row.revision > state.revision
            or (row.customer_id, row.state) == (item.customer_id, item.state)
        ):
            continue
        Domain.objects.update_or_create(
            name=item.name,
            defaults={
                "customer_id": item.customer_id,
                "container": running.get(item.name),
                "state": item.state,
                "revision": state.revision,
            },
        )
        found.domains.append(item.name)


def _skip_used_numbers(state: DesiredState) -> None:
    """A number that a node knows is taken for ever, also when its row came with an older copy."""
    last = {
        Container._meta.db_table: [item.uid - identity.UID_BASE for item in state.containers],
        Customer._meta.db_table: [item.id for item in state.customers],
    }
    with connection.cursor() as cursor:
        for table, numbers in last.items():
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
            row = cursor.fetchone()
            highest = max(numbers, default=0)
            if row is None:
                cursor.execute("INSERT INTO sqlite_sequence VALUES (%s, %s)", [table, highest])
            elif row[0] < highest:
                cursor.execute(
                    "UPDATE sqlite_sequence SET seq = %s WHERE name = %s", [highest, table]
                )


def _renew_lost_keys(found: Adopted) -> None:
    keys = settings.KEY_ENCRYPTION_KEYS
    for row in Customer.objects.all():
        try:
            decrypt(row.private_key_encrypted, about=row.name, keys=keys)
        except DecryptionError:
            private, row.public_key_pem = key_pair()
            row.private_key_encrypted = encrypt(private, about=row.name, keys=keys)
            row.save(update_fields=["public_key_pem", "private_key_encrypted"])
            found.new_keys.append(row.name)
