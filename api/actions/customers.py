"""Makes customers, their signing keys and their tokens."""

import hashlib
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from insula.api import revocations
from insula.api.actions.actor import Actor
from insula.api.actions.change import audit, change
from insula.api.actions.encryption import decrypt, encrypt
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Customer, Token
from insula.vassals import names

TOKEN_PREFIX = "insula_pat_"
RESERVED = frozenset({"api", "www", "admin", "mail", "ns", "router", "platform"})
_KEY_BITS = 2048
_LAST_USED_STEP = timedelta(minutes=1)
_MAXIMUM_TOKENS = 100


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token as it is shown once."""

    token: str
    row: Token


def create_customer(actor: Actor, *, name: str, email: str = "") -> Customer:
    """Make a customer with a key pair. Raises ApiError or InvalidValue."""
    actor.must_be_operator()
    names.label(name, path="name")
    if name in RESERVED:
        raise ApiError(Code.NAME_TAKEN, f"the name {name} is reserved", field="name")
    try:
        if email:
            validate_email(email)
    except ValidationError as error:
        raise ApiError(Code.INVALID, f"email: {email!r} is no address", field="email") from error
    # Made before the transaction: a key takes a tenth of a second, the write lock must be short.
    private, public = key_pair()
    with change():
        if Customer.objects.filter(name=name).exists():
            raise ApiError(Code.NAME_TAKEN, f"there is a customer {name}", field="name")
        sealed = encrypt(private, about=name, keys=settings.KEY_ENCRYPTION_KEYS)
        customer = Customer.objects.create(
            name=name, email=email, public_key_pem=public, private_key_encrypted=sealed
        )
        audit(actor, "create-customer", name)
    return customer


def key_pair() -> tuple[str, str]:
    """A new customer's private and public key, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def signing_keys() -> dict[str, str]:
    """The private keys of all customers by id, for the node that runs their containers."""
    keys = settings.KEY_ENCRYPTION_KEYS
    running = Customer.objects.filter(containers__state="running").distinct()
    return {
        str(row.id): decrypt(row.private_key_encrypted, about=row.name, keys=keys)
        for row in running
    }


def create_token(
    actor: Actor, customer: Customer, *, name: str, expires: datetime | None = None
) -> NewToken:
    """Make a token; its text is returned once and kept nowhere."""
    if not actor.may_see(customer.id):
        raise ApiError(Code.NOT_FOUND, f"there is no customer {customer.name}")
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise ApiError(Code.INVALID, "name: should be 1 to 64 printable characters", field="name")
    body = secrets.token_hex(24)
    text = f"{TOKEN_PREFIX}{body}{_checksum(body)}"
    with transaction.atomic():
        if Token.objects.filter(customer=customer).count() >= _MAXIMUM_TOKENS:
            raise ApiError(Code.CONFLICT, f"{customer.name} has {_MAXIMUM_TOKENS} tokens already")
        row = Token.objects.create(
            customer=customer, name=name, sha256=_sha256(text), expires=expires
        )
        audit(actor, "create-token", customer.name, name)
    return NewToken(text, row)


def revoke_token(actor: Actor, customer: Customer, number: int) -> Token:
    """Take a token away for good: it is refused from now on, also after a restore of a copy.

    Raises ApiError: not found, or that it could not be noted, and then the token still works.
    """
    row = Token.objects.filter(customer=customer, pk=number).first()
    if row is None or not actor.may_see(customer.id):
        raise not_found(f"token {number} of {customer.name}")
    try:
        revocations.note(row.sha256)
    except OSError as error:
        raise ApiError(
            Code.NO_SPACE, f"token {number} cannot be revoked, it still works: {error}",
            "the operator makes room for the copies of the database: insula node doctor",
        ) from error  # fmt: skip
    with transaction.atomic():
        Token.objects.filter(pk=row.pk).delete()
        audit(actor, "revoke-token", customer.name, f"{row.pk} {row.name}")
    return row


def customer_of_token(text: str, *, now: datetime) -> Customer | None:
    """Whose token it is; None when nobody's, or when it expired."""
    body = text.removeprefix(TOKEN_PREFIX)
    if not text.startswith(TOKEN_PREFIX) or len(body) != 56 or _checksum(body[:-8]) != body[-8:]:
        return None
    row = Token.objects.select_related("customer").filter(sha256=_sha256(text)).first()
    if row is None or (row.expires is not None and row.expires <= now):
        return None
    # Not at each request: reading must not wait for the write lock.
    if row.last_used is None or now - row.last_used > _LAST_USED_STEP:
        Token.objects.filter(pk=row.pk).update(last_used=now)
    return row.customer


def _checksum(body: str) -> str:
    """Lets secret scanners tell a real token from a look-alike without asking us."""
    return f"{zlib.crc32(body.encode(errors='replace')):08x}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
