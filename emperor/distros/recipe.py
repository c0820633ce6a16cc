"""What a distro is made from: a release, package sources and packages."""

import re
from dataclasses import dataclass
from hashlib import sha256

from insula.emperor import aptsources
from insula.vassals.errors import InvalidValue

# Grows when the way a tree is made changes, so that no old pack is taken for a new one.
VERSION = 1
PACKAGES = (
    "uwsgi-core", "uwsgi-plugin-python3", "python3", "python3-venv", "python3-pip",
    "git", "curl", "ca-certificates", "vim-tiny", "less", "procps", "rsync", "sqlite3",
    "openssh-client", "openssh-sftp-server", "bash-completion",
)  # fmt: skip
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a distro is made from."""

    suite: str
    sources: tuple[str, ...]
    packages: tuple[str, ...]

    def key(self) -> str:
        parts = [str(VERSION), self.suite, *self.sources, *sorted(self.packages)]
        return f"{self.suite}-{sha256(chr(10).join(parts).encode()).hexdigest()[:12]}"


def recipe(
    *, suite: str | None = None, mirror: str | None = None, include: tuple[str, ...] = ()
) -> Recipe:
    """The host's own release and package sources unless said otherwise. Raises InvalidValue."""
    own = aptsources.host_suite()
    wanted = suite or own
    if _SUITE.fullmatch(wanted) is None:
        raise InvalidValue(f"suite: {wanted!r} is not one", "for instance bookworm or noble")
    for package in include:
        if _PACKAGE.fullmatch(package) is None:
            raise InvalidValue(f"include: {package!r} is not a package's name")
    if mirror is not None:
        sources: tuple[str, ...] = (aptsources.line_of(mirror, wanted),)
    else:
        # Without sources mmdebstrap takes the official mirrors of the suite.
        sources = aptsources.host_sources(wanted) if wanted == own else ()
    return Recipe(wanted, sources, tuple(dict.fromkeys(PACKAGES + include)))
