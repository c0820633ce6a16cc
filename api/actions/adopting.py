"""Takes over what a node knows and an older database does not."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    RSAPublicNumbers,
)
from django.conf import settings
from django.db import connection
from django.db.models import F

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit, change
from insula.api.actions.customers import key_pair
from insula.api.actions.encryption import DecryptionError, decrypt, encrypt
from insula.api.models import Container, Customer, Domain, Revision, Token
from insula.vassals import identity
from insula.vassals.spec import ContainerSpec, CustomerSpec, DesiredState

# The feed's fields are the row's, but for these: numbers of others, a list, what is rendered.
_TAKEN_OVER = tuple(
    item.name
    for item in fields(ContainerSpec)
    if item.name not in ("uid", "customer_id", "ssh_keys", "vassal")
)


@dataclass(frozen=True, slots=True)
class _KeyPair:
    private_pem: str = field(repr=False)
    public: RSAPublicNumbers


@dataclass(slots=True)
class Adopted:
    """What was taken over, by name.

    ``kept_keys``: customers whose private key came from the node; ``new_keys``: customers whose
    private key was lost there, too; ``rebooted``: their containers, which must read the new one;
    ``revoked_tokens``: how many the copy still had.
    """

    revision: int = 0
    customers: list[str] = field(default_factory=list)
    containers: list[int] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    kept_keys: list[str] = field(default_factory=list)
    new_keys: list[str] = field(default_factory=list)
    rebooted: list[int] = field(default_factory=list)
    revoked_tokens: int = 0


def adopt(
    actor: Actor,
    state: DesiredState | None,
    private_keys: Mapping[int, str] | None = None,
    revoked: Collection[str] = (),
) -> Adopted:
    """Make the database at least as new as a node's last state, and its keys whole.

    What the node knows better is taken over; numbers that were given out are not given out again.
    The revision grows beyond the node's, so that it takes the next feed. ``private_keys`` are those
    that lie on the node, by customer: one counts when it fits the public key that the node knows.
    A customer without any gets a new pair, and its containers reboot. ``revoked`` are hashes of
    tokens that must not come back. Raises ApiError.
    """
    actor.must_be_operator()
    found = Adopted()
    # Opened before the transaction: the write lock must be short.
    at_hand = {number: _opened(pem) for number, pem in (private_keys or {}).items()}
    with change() as revision:
        if state is not None:
            _customers(state.customers, at_hand, found)
            _containers(state.containers, found)
            _domains(state, found)
            _skip_used_numbers(state)
            revision = max(revision, state.revision + 1)
            Revision.objects.filter(pk=1).update(number=revision)
        _mend_keys(at_hand, found)
        _revoke(revoked, found)
        _reboot(found, revision)
        found.revision = revision
        audit(actor, "restore", str(revision), f"{len(found.containers)} containers taken over")
    return found


def _customers(
    specs: tuple[CustomerSpec, ...], at_hand: Mapping[int, _KeyPair | None], found: Adopted
) -> None:
    known = {row.id: row for row in Customer.objects.all()}
    for item in specs:
        row = known.get(item.id)
        if row is None:
            Customer.objects.create(
                id=item.id, name=item.name, public_key_pem=item.public_key_pem,
                private_key_encrypted="",
            )  # fmt: skip
            found.customers.append(item.name)
        elif row.public_key_pem != item.public_key_pem and _fits(
            at_hand.get(item.id), item.public_key_pem
        ):
            # Renewed since the copy was made: what the apps sign with now counts.
            row.public_key_pem, row.private_key_encrypted = item.public_key_pem, ""
            row.save(update_fields=["public_key_pem", "private_key_encrypted"])


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


def _mend_keys(at_hand: Mapping[int, _KeyPair | None], found: Adopted) -> None:
    """Each customer has a private key that opens: its own, the node's copy of it, or a new one."""
    keys = settings.KEY_ENCRYPTION_KEYS
    for row in Customer.objects.all():
        try:
            decrypt(row.private_key_encrypted, about=row.name, keys=keys)
            continue
        except DecryptionError:
            pair = at_hand.get(row.id)
        if pair is not None and _fits(pair, row.public_key_pem):
            private = pair.private_pem
            found.kept_keys.append(row.name)
        else:
            private, row.public_key_pem = key_pair()
            found.new_keys.append(row.name)
        row.private_key_encrypted = encrypt(private, about=row.name, keys=keys)
        row.save(update_fields=["public_key_pem", "private_key_encrypted"])


def _reboot(found: Adopted, revision: int) -> None:
    """Apps read their key when they start: with another one their announcements are refused."""
    rows = Container.objects.filter(state="running", customer__name__in=found.new_keys)
    found.rebooted = sorted(row.uid for row in rows)
    rows.update(generation=F("generation") + 1, revision=revision, changed_at=time.time())


def _revoke(revoked: Collection[str], found: Adopted) -> None:
    """A copy has tokens that were revoked after it was made."""
    for row in Token.objects.all():
        if row.sha256 in revoked:
            row.delete()
            found.revoked_tokens += 1


def _opened(pem: str) -> _KeyPair | None:
    """None for what is no RSA key: it came from a file, and may be damaged."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return (
        _KeyPair(pem, key.public_key().public_numbers()) if isinstance(key, RSAPrivateKey) else None
    )


def _fits(pair: _KeyPair | None, public_pem: str) -> bool:
    """True when these two halves belong together."""
    try:
        key = serialization.load_pem_public_key(public_pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return False
    return (
        pair is not None and isinstance(key, RSAPublicKey) and key.public_numbers() == pair.public
    )
