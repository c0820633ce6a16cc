"""Checks signatures with the customers' public keys; each key is loaded once."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key


class KeyRing:
    """The public keys by customer."""

    def __init__(self, pems: dict[int, str]) -> None:
        self._pems = pems
        self._loaded: dict[int, RSAPublicKey | None] = {}

    def verifies(self, customer_id: int, *, signed: bytes, signature: bytes) -> bool:
        """True when the customer's key made this RSA PKCS#1 v1.5 SHA-256 signature."""
        if customer_id not in self._loaded:
            self._loaded[customer_id] = self._load(customer_id)
        key = self._loaded[customer_id]
        if key is None:
            return False
        try:
            key.verify(signature, signed, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    def _load(self, customer_id: int) -> RSAPublicKey | None:
        try:
            key = load_pem_public_key(self._pems.get(customer_id, "").encode())
        except (ValueError, UnsupportedAlgorithm):
            return None
        return key if isinstance(key, RSAPublicKey) and key.key_size >= 2048 else None
