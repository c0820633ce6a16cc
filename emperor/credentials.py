"""The node's own secrets and its self-made certificate: made once, kept, with narrow rights."""

import ipaddress
import os
import secrets
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import PreparationError
from insula.emperor.rundir import directory
from insula.emperor.settings import ROUTER_UID, Node, Paths
from insula.vassals.identity import API_UID

# The longest life that browsers and Apple's libraries accept from a private CA or a self-made one.
_CERTIFICATE_DAYS = 820
_RENEW_BEFORE_DAYS = 60


def make(node: Node, *, now: datetime) -> list[str]:
    """Make what is missing; return the names of what was made. Nothing existing is replaced,
    except a default certificate that ends soon or names another base domain."""
    paths = node.paths
    directory(paths.secrets, mode=0o711)
    directory(paths.api_secrets, mode=0o750, group=API_UID)
    directory(paths.certificates, mode=0o755)
    made = []
    if _make_signing_key(paths):
        made.append("api-signing.pem")
    for name in ("secret-key", "key-encryption-key"):
        path = paths.api_secrets / name
        if not path.exists():
            _refuse_to_lose(paths, path)
            key = secrets.token_hex(32) + "\n"
            write_atomic(path, key.encode(), mode=0o440, group=API_UID, lasting=True)
            made.append(name)
    if write_atomic(
        paths.api_secrets / "api.toml", api_toml(node, installation(paths)).encode(),
        mode=0o440, group=API_UID, lasting=True,
    ):  # fmt: skip
        made.append("api.toml")
    if _certificate_is_due(paths.certificates / "default.crt", node.settings.base_domain, now):
        _make_certificate(paths.certificates, node.settings.base_domain, now)
        made.append("default.crt")
    return made


def api_toml(node: Node, installation: str) -> str:
    """What the API is told about the node; the keys are those of its settings."""
    values = {
        "installation": installation,
        "base_domain": node.settings.base_domain,
        "network": node.settings.network,
        "container_ini": str(node.paths.container_ini),
        "default_distro": node.settings.default_distro,
        "database": f"/containers/{API_UID}/api.sqlite3",
    }
    lines = [f'{key} = "{value}"' for key, value in values.items()]
    return "# Written by `insula node up`.\n" + "\n".join(lines) + "\n"


def installation(paths: Paths) -> str:
    """The random name of the API's database: kept, because a node refuses another one's feed."""
    try:
        known = tomllib.loads((paths.api_secrets / "api.toml").read_text())["installation"]
    except (FileNotFoundError, KeyError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        # Lost or damaged: the marker has the name, too. None there: this node had no API yet.
        return _installation_of(paths.database_marker) or secrets.token_hex(8)
    return str(known)


def _installation_of(path: Path) -> str | None:
    """The installation that a marker names, None without one."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def _refuse_to_lose(paths: Paths, path: Path) -> None:
    """A new key in place of a lost one would close every customer's private key for good."""
    if path.name == "key-encryption-key" and paths.database_marker.exists():
        raise PreparationError(
            f"{path} is missing, and this node's database needs it",
            "restore it from your backup; if there is none, write 64 hexadecimal digits there"
            " (openssl rand -hex 32), run bin/up, then `insula node restore current`: it takes the"
            " customers' keys over from the node; who has none there gets a new one",
        )


def _make_signing_key(paths: Paths) -> bool:
    path = paths.secrets / "api-signing.pem"
    if path.exists():
        return False
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    return write_atomic(path, _pem(key), mode=0o400)


def public_key_pem(paths: Paths) -> str:
    """The public half of the key with which container 30000 signs its announcements."""
    data = (paths.secrets / "api-signing.pem").read_bytes()
    key = serialization.load_pem_private_key(data, password=None).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def _certificate_is_due(path: Path, base_domain: str, now: datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        return True
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if base_domain not in names.get_values_for_type(x509.DNSName):
        return True
    return found.not_valid_after_utc - now < timedelta(days=_RENEW_BEFORE_DAYS)


def _make_certificate(target: Path, base_domain: str, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # A common name holds 64 characters at most; clients look at the alternative names.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Insula node, self-made")])
    names = [
        x509.DNSName(base_domain), x509.DNSName(f"*.{base_domain}"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - timedelta(hours=1))
        .not_valid_after(now.astimezone(UTC) + timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    # The router opens both after it became ROUTER_UID, and again when it is restarted.
    write_atomic(target / "default.key", _pem(key), mode=0o440, group=ROUTER_UID)
    data = certificate.public_bytes(serialization.Encoding.PEM)
    write_atomic(target / "default.crt", data, mode=0o644)


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def wrong_rights(paths: Paths) -> list[str]:
    """Secrets that others could read, each as one line; the doctor shows them."""
    wanted = {
        paths.secrets / "api-signing.pem": (0o400, 0),
        paths.api_secrets / "secret-key": (0o440, API_UID),
        paths.api_secrets / "key-encryption-key": (0o440, API_UID),
        paths.api_secrets / "api.toml": (0o440, API_UID),
        paths.certificates / "default.key": (0o440, ROUTER_UID),
    }
    wrong = []
    for path, (mode, group) in wanted.items():
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if found.st_mode & 0o777 & ~mode or found.st_uid != 0 or found.st_gid not in (0, group):
            wrong.append(f"{path}: mode {found.st_mode & 0o777:04o}")
    return wrong
