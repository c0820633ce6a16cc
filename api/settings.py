"""Django's settings, read once from one file; the only place that looks at the environment.

INSULA_API_CONFIG names that file (default /run/secrets/api.toml); `secret-key` and
`key-encryption-key` lie beside it, and if wanted the operator's own `operator.toml`.
INSULA_API_ROLE=node loads the node door alone, which saves its process the libraries of the
customers' door. INSULA_API_TESTING=1 takes fixed keys and a database in memory.
"""

import os
import sys
import tomllib
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, ip_address
from pathlib import Path, PurePosixPath

from django.core.exceptions import ImproperlyConfigured

# The type checker's Django plugin and the tests import settings on machines without any secret.
TESTING = os.environ.get("INSULA_API_TESTING") == "1" or (
    "INSULA_API_CONFIG" not in os.environ and bool({"mypy", "pytest"} & set(sys.modules))
)
ROLE = os.environ.get("INSULA_API_ROLE", "public")
CONFIG = Path(os.environ.get("INSULA_API_CONFIG", "/run/secrets/api.toml"))

_DEFAULTS = {
    "installation": "testing",
    "base_domain": "insula.test",
    "network": "10.0.0.0/8",
    "container_ini": "/etc/insula/container.ini",
    "default_distro": "default",
    "database": "/containers/30000/api.sqlite3",
}


def _read_config() -> dict[str, str]:
    try:
        found = tomllib.loads(CONFIG.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ImproperlyConfigured(f"{CONFIG}: {error}; `insula node up` writes it") from error
    required = set(_DEFAULTS) - {"database"}
    if unknown := set(found) - set(_DEFAULTS):
        raise ImproperlyConfigured(f"{CONFIG}: unknown keys {', '.join(sorted(unknown))}")
    if missing := required - set(found):
        raise ImproperlyConfigured(f"{CONFIG}: missing keys {', '.join(sorted(missing))}")
    return {**_DEFAULTS, **{key: str(value) for key, value in found.items()}}


@dataclass(frozen=True, slots=True)
class Choices:
    """What an operator may choose in ``operator.toml``, which no upgrade overwrites.

    ``resolver`` is the address of the DNS server that domains' proofs are asked from; without one
    the zones' own name servers are asked. ``allowed_origins`` are the web pages that may call
    ``/api/`` from a browser; ``*`` is all of them.
    """

    resolver: str = ""
    resolver_port: int = 53
    allowed_origins: tuple[str, ...] = ("*",)


def read_choices(path: Path) -> Choices:
    """The operator's choices, the defaults without a file. Raises ImproperlyConfigured."""
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Choices()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ImproperlyConfigured(f"{path}: {error}; correct it or take it away") from error
    if unknown := set(found) - {item.name for item in fields(Choices)}:
        raise ImproperlyConfigured(f"{path}: unknown keys {', '.join(sorted(unknown))}")
    resolver, port = found.get("resolver", ""), found.get("resolver_port", 53)
    origins = found.get("allowed_origins", ["*"])
    try:
        if resolver != "":
            ip_address(str(resolver))
    except ValueError as error:
        raise ImproperlyConfigured(f"{path}: resolver: should be an IP address") from error
    if type(port) is not int or not 0 < port < 65536:
        raise ImproperlyConfigured(f"{path}: resolver_port: should be from 1 to 65535")
    if not isinstance(origins, list) or not all(isinstance(item, str) for item in origins):
        raise ImproperlyConfigured(f"{path}: allowed_origins: should be a list of texts")
    return Choices(resolver, port, tuple(origins))


def _read_secret(name: str) -> str:
    path = CONFIG.with_name(name)
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{path}: {error}; `insula node up` writes it") from error
    if not text:
        raise ImproperlyConfigured(f"{path} is empty: restore it from the backup")
    return text


_config = dict(_DEFAULTS, database=":memory:") if TESTING else _read_config()
SECRET_KEY = "testing" * 8 if TESTING else _read_secret("secret-key")
# One key a line, 64 hexadecimal digits each: version 1 first; the last one encrypts.
KEY_ENCRYPTION_KEYS = ("11" * 32 if TESTING else _read_secret("key-encryption-key")).split()

INSTALLATION = _config["installation"]
BASE_DOMAIN = _config["base_domain"]
NETWORK = IPv4Network(_config["network"])
CONTAINER_INI = PurePosixPath(_config["container_ini"])
DEFAULT_DISTRO = _config["default_distro"]
CHOICES = Choices() if TESTING else read_choices(CONFIG.with_name("operator.toml"))
# Where committed changes wake the waiting feeds of the node door's process; None: nobody waits.
WAKE_SOCKET = None if TESTING else str(Path(_config["database"]).with_name("wake.sock"))

# Made by the node once its API has answered: from then on an empty database is a lost one.
DATABASE_MARKER = CONFIG.with_name("database")
# Copies of the database, on another file system than the database; None: none are made.
BACKUPS = None if TESTING else Path("/run/backups")

DEBUG = False
ALLOWED_HOSTS = ["*"]  # the router maps hosts to apps; no page here builds a link from the host
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
WSGI_APPLICATION = "insula.api.wsgi.application"
ROOT_URLCONF = "insula.api.node.urls" if ROLE == "node" else "insula.api.urls"
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024  # the doors set narrower limits

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _config["database"],
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 20,
            # A transaction that starts as a reader cannot wait for its turn to write.
            "transaction_mode": "IMMEDIATE",
            # FULL: what was acknowledged survives a power cut, also in WAL mode.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }
}

_PAGES = [
    "django.contrib.admin",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "insula.api.web",
    "ninja",
]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "insula.api",
    *([] if ROLE == "node" else _PAGES),
]
MIDDLEWARE = ["insula.api.doors.door_middleware"]
if ROLE != "node":
    MIDDLEWARE += [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Operators' passwords of earlier releases are PBKDF2; Django renews them at the next login.
PASSWORD_HASHERS = [
    "insula.api.hashers.Argon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
STATIC_URL = "/static/"
# Every customer has a site beside the API's and may set cookies for the base domain. Browsers take
# a name with this prefix from its own host alone.
SESSION_COOKIE_NAME = "__Host-session"
CSRF_COOKIE_NAME = "__Host-csrf"
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_CONTENT_TYPE_NOSNIFF = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # Django writes a line for each answer of 5xx, too: while a disk is full that is a flood.
    "filters": {"crashes": {"()": "insula.api.faults.CrashesAlone"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"filters": ["crashes"]}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
