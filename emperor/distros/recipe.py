"""What a distro is made from: a release, package sources and packages."""

import re
from dataclasses import dataclass
from hashlib import sha256

from insula.emperor import aptsources
from insula.emperor.distros import steps
from insula.vassals.errors import InvalidValue

# Grows when the way a tree is made changes, so that no old pack is taken for a new one.
VERSION = 2
# What every container needs: `insula distro build NAME --minimal` makes a distro of this alone.
PACKAGES = (
    "uwsgi-core", "uwsgi-plugin-python3", "python3", "python3-venv", "python3-pip",
    "git", "curl", "ca-certificates", "vim-tiny", "less", "procps", "rsync", "sqlite3",
    "openssh-client", "openssh-sftp-server", "bash-completion",
)  # fmt: skip
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
_ARCHITECTURE = re.compile(r"[a-z0-9]{2,16}")


@dataclass(frozen=True, slots=True)
class Group:
    """Packages for one purpose."""

    purpose: str
    packages: tuple[str, ...]
    # Extended regular expressions of whole names. A release that has none of them gets a distro
    # without; the build says so.
    optional: tuple[str, ...] = ()


# Names hold for Debian 12 and 13 and Ubuntu 24.04. Debian's recommendations are not installed, so
# what an app needs at run time stands here.
GROUPS = (
    Group(
        "Python: apps that wait for others; PyPy, whose plug-in we build ourselves",
        ("python3-dev",),
        ("uwsgi-plugin-gevent-python3", "uwsgi-dev", "pypy3", "pypy3-dev", "pypy3-venv"),
    ),
    Group(
        "Perl: PSGI, the usual frameworks, and cpanm for the rest",
        ("uwsgi-plugin-psgi", "libplack-perl", "cpanminus", "liblocal-lib-perl", "libdbi-perl",
         "libdbd-sqlite3-perl", "libdbd-mysql-perl", "libdbd-pg-perl", "libwww-perl",
         "liblwp-protocol-https-perl", "libjson-xs-perl", "libtemplate-perl"),
        ("starman", "libmojolicious-perl", "libdancer2-perl"),
    ),
    Group(
        "Ruby: Rack; bundler and headers for native gems",
        ("ruby", "ruby-dev", "bundler", "rake", "ruby-rack"),
        ("uwsgi-plugin-rack-ruby[0-9.]+", "ruby-sinatra", "ruby-sqlite3", "ruby-pg",
         "ruby-mysql2", "puma"),
    ),
    Group(
        "Lua: WSAPI; uWSGI's plug-in speaks 5.1",
        ("lua5.1", "liblua5.1-0-dev", "luarocks", "lua-socket", "lua-sec", "lua-filesystem",
         "lua-cjson", "lua-lpeg"),
        ("uwsgi-plugin-lua5.1", "lua-wsapi", "lua-orbit", "lua-cosmo", "lua-sql-sqlite3",
         "lua-sql-mysql", "lua-sql-postgres"),
    ),
    Group(
        "PHP: what WordPress and Laravel ask for",
        ("php-cli", "php-mysql", "php-pgsql", "php-sqlite3", "php-curl", "php-gd", "php-mbstring",
         "php-xml", "php-zip", "php-intl", "php-bcmath"),
        ("uwsgi-plugin-php", "composer"),
    ),
    Group("CGI: a program that answers at once, over one's own repositories", (), ("gitweb",)),
    Group("JavaScript and Java: servers of their own, behind http-app",
          ("default-jre-headless",), ("nodejs", "npm")),
    Group("Databases: each customer runs its own, below its home",
          ("postgresql", "mariadb-server"), ("redis-server", "valkey-server")),
    Group(
        "Compilers and headers: pip, gem, npm, cpanm and pecl build from source",
        ("gcc", "g++", "make", "pkg-config", "patch", "libc6-dev", "libffi-dev", "libssl-dev",
         "zlib1g-dev", "libpq-dev", "libmariadb-dev", "libsqlite3-dev", "libxml2-dev",
         "libxslt1-dev", "libjpeg-dev", "libyaml-dev"),
    ),
    Group("Time zones and languages of the whole world", ("tzdata", "locales-all")),
    Group(
        "A shell to work in",
        ("nano", "tmux", "screen", "ncurses-term", "file", "unzip", "zip", "bzip2", "xz-utils",
         "zstd", "wget", "jq", "gettext-base", "netcat-openbsd", "iproute2", "lsof", "strace",
         "gdb"),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a distro is made from."""

    suite: str
    sources: tuple[str, ...]
    packages: tuple[str, ...]
    # as in Group
    optional: tuple[str, ...] = ()
    # in Debian's words; empty for the machine's own
    architecture: str = ""
    # as they were asked for, so that the next build of a distro can be asked for the same way
    mirror: str | None = None
    include: tuple[str, ...] = ()
    minimal: bool = False

    def key(self) -> str:
        parts = [str(VERSION), steps.digest(), self.suite, *self.sources, *sorted(self.packages)]
        parts += ["", *sorted(self.optional)]
        parts += [self.architecture] if self.architecture else []
        return f"{self.suite}-{sha256(chr(10).join(parts).encode()).hexdigest()[:12]}"

    def missing(self, installed: set[str]) -> list[str]:
        """The optional expressions that none of the installed packages fits."""
        return [
            wanted
            for wanted in self.optional
            if not any(re.fullmatch(wanted, name) for name in installed)
        ]


def recipe(
    *,
    suite: str | None = None,
    mirror: str | None = None,
    include: tuple[str, ...] = (),
    minimal: bool = False,
    architecture: str | None = None,
) -> Recipe:
    """The host's own release and package sources unless said otherwise. Raises InvalidValue."""
    if architecture is not None and _ARCHITECTURE.fullmatch(architecture) is None:
        raise InvalidValue(f"arch: {architecture!r} is not one", "for instance i386")
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
    groups = () if minimal else GROUPS
    packages = [*PACKAGES, *(name for group in groups for name in group.packages), *include]
    optional = [name for group in groups for name in group.optional]
    return Recipe(
        suite=wanted,
        sources=sources,
        packages=tuple(dict.fromkeys(packages)),
        optional=tuple(dict.fromkeys(optional)),
        architecture=architecture or "",
        mirror=mirror,
        include=include,
        minimal=minimal,
    )
