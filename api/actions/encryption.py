"""Encrypts what may not lie readable in the database: AES-256-GCM with a ring of versioned keys."""

import base64
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from insula.vassals.errors import InsulaError

_NONCE_BYTES = 12


class DecryptionError(InsulaError):
    """The stored text does not open with the keys at hand."""


def encrypt(text: str, *, about: str, keys: Sequence[str]) -> str:
    """Encrypt with the newest key; ``about`` binds the text to its owner, rows do not swap."""
    version = len(keys)
    nonce = os.urandom(_NONCE_BYTES)
    cipher = AESGCM(bytes.fromhex(keys[-1]))
    sealed = cipher.encrypt(nonce, text.encode(), about.encode())
    return f"{version}:{base64.b64encode(nonce + sealed).decode()}"


def decrypt(stored: str, *, about: str, keys: Sequence[str]) -> str:
    """Open what ``encrypt`` wrote. Raises DecryptionError."""
    hint = "restore the key-encryption-key that belongs to this database"
    version, _, payload = stored.partition(":")
    if not version.isdecimal() or not 1 <= int(version) <= len(keys):
        raise DecryptionError(f"key of {about}: needs key version {version[:8]}", hint)
    data = base64.b64decode(payload)
    try:
        cipher = AESGCM(bytes.fromhex(keys[int(version) - 1]))
        return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], about.encode()).decode()
    except InvalidTag as error:
        raise DecryptionError(f"key of {about}: does not open", hint) from error
