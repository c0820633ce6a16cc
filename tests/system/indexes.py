"""The machine's way to the package indexes, for use in a container: addresses, certificates."""

import os
import shlex
from pathlib import Path

from tests.system.conftest import Node

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_NAMES = (
    "PIP_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
    "NPM_CONFIG_REGISTRY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)


def words(node: Node, uid: int) -> str:
    """Bring the certificates in; return ``NAME=value`` words for a shell's command line."""
    bundle = os.environ.get("PIP_CERT") or _BUNDLE
    node.ssh(uid, "cat > ca.crt", stdin=Path(bundle).read_text())
    found = [f"{name}=$HOME/ca.crt" for name in ("PIP_CERT", "NODE_EXTRA_CA_CERTS")]
    found += ["PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_CACHE_DIR=1"]
    found += ["NPM_CONFIG_UPDATE_NOTIFIER=false", "NPM_CONFIG_FUND=false", "NPM_CONFIG_AUDIT=false"]
    for name in _NAMES:
        if os.environ.get(name):
            found.append(f"{name}={shlex.quote(os.environ[name])}")
    return " ".join(found)
