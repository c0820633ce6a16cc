"""Whether a private and a public key are the two halves of one."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key


def belong_together(private_pem: bytes, public_pem: str) -> bool:
    """False also for what is no RSA key: it came from a file and may be damaged."""
    try:
        private = load_pem_private_key(private_pem, password=None)
        public = load_pem_public_key(public_pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return (
        isinstance(private, RSAPrivateKey)
        and isinstance(public, RSAPublicKey)
        and private.public_key().public_numbers() == public.public_numbers()
    )
