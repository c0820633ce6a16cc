"""The node's settings and every path it uses, all of them below one root."""

import json
import os
import tomllib
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

from insula.emperor.errors import SettingsError
from insula.vassals import identity, names
from insula.vassals.errors import InsulaError

# The platform's own accounts are bare numbers below the containers' range, so that a node adds no
# line to the machine's passwd; the doctor names a clash.
NODE_GID = 29990  # may talk to the API's node socket
ROUTER_UID = 29991
DOMINATOR_UID = 29992
COLLECTOR_UID = 29993

StorageDriver = Literal["btrfs", "dir"]


@dataclass(frozen=True, slots=True)
class Paths:
    """Every path of a node. Directories are root's, closed to customers unless said so."""

    root: Path

    # configuration: <root>/etc/insula
    @property
    def etc(self) -> Path:
        return self.root / "etc/insula"

    @property
    def node_toml(self) -> Path:
        return self.etc / "node.toml"

    @property
    def container_ini(self) -> Path:
        """How a container boots; every vassal file includes it."""
        return self.etc / "container.ini"

    @property
    def cgroup_ini(self) -> Path:
        """The lines that join the cgroups of this machine (v1 or v2), included by container.ini."""
        return self.etc / "cgroup.ini"

    @property
    def seccomp(self) -> Path:
        """The system call filter of containers and sessions: an array of struct sock_filter."""
        return self.etc / "seccomp.bpf"

    @property
    def seccomp_32bit(self) -> Path:
        """The filter of those on a 32-bit distro: its C library needs one call more."""
        return self.etc / "seccomp-32bit.bpf"

    @property
    def container_d(self) -> Path:
        """``<uid>.ini`` here is included by container.ini for that container alone (30000)."""
        return self.etc / "container.d"

    @property
    def services(self) -> Path:
        """The root Emperor's directory: router, pages, daemons, sshd, containers."""
        return self.etc / "services"

    @property
    def vassals(self) -> Path:
        """The containers Emperor's directory: ``<uid>.ini``."""
        return self.etc / "vassals"

    @property
    def local_json(self) -> Path:
        """The node's own DesiredState, mode 0644: container 30000, customer 0, the API's domain."""
        return self.etc / "local.json"

    @property
    def inside(self) -> Path:
        """Bound read-only at /run/insula in every container: shortcuts.ini, the vassal wrapper."""
        return self.etc / "inside"

    @property
    def secrets(self) -> Path:
        """Mode 0711, root's: ``api-signing.pem`` (0400) and what only root reads."""
        return self.etc / "secrets"

    @property
    def api_secrets(self) -> Path:
        """Mode 0750 root:30000, /run/secrets in 30000: api.toml, secret-key, key-encryption-key."""
        return self.secrets / "api"

    @property
    def ssh(self) -> Path:
        """sshd_config, host keys, pam, nsswitch.conf; ``authorized_keys/<uid>`` (mode 0644)."""
        return self.etc / "ssh"

    @property
    def certificates(self) -> Path:
        """``default.crt`` and ``default.key`` of the router."""
        return self.etc / "certificates"

    # state: <root>/var/lib/insula
    @property
    def lib(self) -> Path:
        return self.root / "var/lib/insula"

    @property
    def venv(self) -> Path:
        """A link to the environment of today, one of ``venvs``."""
        return self.lib / "venv"

    @property
    def venvs(self) -> Path:
        return self.lib / "venvs"

    @property
    def uwsgi(self) -> Path:
        """The node's own uWSGI: a link to ``uwsgi-<version>-<profile hash>/uwsgi``."""
        return self.lib / "uwsgi"

    @property
    def pool_image(self) -> Path:
        return self.lib / "pool.img"

    @property
    def pool_marker(self) -> Path:
        """There from the first mount of the pool on: a missing image is a loss then."""
        return self.etc / "pool"

    @property
    def pool(self) -> Path:
        """Where the storage driver works: a btrfs mount, or a plain directory."""
        return self.lib / "pool"

    @property
    def distros(self) -> Path:
        """``<name>`` is a link to ``.<name>+<number>/``, a read-only root file system."""
        return self.pool / "distros"

    @property
    def containers(self) -> Path:
        """``<uid>/`` (root's, limited) holds what the uid can write: home/, tmp/ (1777), sockets/.

        No path below that is given out: emperor/kernel/beneath is the way there. ``sockets`` is
        /run/sockets inside: owner the uid, group ROUTER_UID, mode 2730.
        """
        return self.pool / "containers"

    @property
    def removed(self) -> Path:
        """``<uid>-<unix time>/``: what destroyed containers left, until purged."""
        return self.pool / "removed"

    @property
    def extrausers(self) -> Path:
        """passwd, group and shadow of all containers, for sshd through libnss-extrausers."""
        return self.lib / "extrausers"

    @property
    def api(self) -> Path:
        """``releases/<hash>/`` and the link ``current``: the API's code; /opt/insula inside."""
        return self.lib / "api"

    @property
    def api_backups(self) -> Path:
        """Copies of the API's database, /run/backups in 30000, whose they are."""
        return self.lib / "api-backups"

    @property
    def database_marker(self) -> Path:
        """There from the API's first answer on: since then an empty database is a lost one."""
        return self.api_secrets / "database"

    def container_files(self, uid: int) -> Path:
        """What is bound over the distro's files in one container, and ``environment``: LANG, TZ."""
        return self.lib / "files" / str(uid)

    def boot_ini(self, uid: int) -> Path:
        """What of its boot differs from container to container; container.ini includes it."""
        return self.lib / "boot" / f"{uid}.ini"

    # run time: <root>/run/insula (a tmpfs of its own, so keys never touch a disk)
    @property
    def run(self) -> Path:
        return self.root / "run/insula"

    @property
    def emperor_pid(self) -> Path:
        return self.run / "emperor.pid"

    @property
    def emperor_stats(self) -> Path:
        return self.run / "emperor-stats.sock"

    @property
    def containers_stats(self) -> Path:
        """A connection here wakes the containers Emperor and returns its vassals as JSON."""
        return self.run / "containers-stats.sock"

    @property
    def apps(self) -> Path:
        """The router's view of ``containers``: a bind mount with nosymfollow."""
        return self.run / "apps"

    @property
    def dev(self) -> Path:
        """The minimal /dev that every container gets, read-only."""
        return self.run / "dev"

    @property
    def empty(self) -> Path:
        """An empty directory that hides others inside containers."""
        return self.run / "empty"

    @property
    def lxcfs(self) -> Path:
        """Where lxcfs is mounted: each reader sees its own container's figures."""
        return self.run / "lxcfs"

    @property
    def roots(self) -> Path:
        """``<uid>/``: the empty mount point on which that container builds its root."""
        return self.run / "roots"

    @property
    def api_operator(self) -> Path:
        """Directory of the operator's socket, ``api.sock``: root alone may enter."""
        return self.run / "api-operator"

    @property
    def api_node(self) -> Path:
        """Directory of the daemons' socket, ``api.sock``: root and NODE_GID may enter."""
        return self.run / "api-node"

    @property
    def router(self) -> Path:
        """``subscribe.sock`` (the dominator writes), ``pages-421.sock``, ``pages-503.sock``."""
        return self.run / "router"

    @property
    def router_stats(self) -> Path:
        """``stats.sock`` and ``stats.sock.1`` …: the figures of each router process."""
        return self.run / "router-stats"

    @property
    def beats(self) -> Path:
        """A file for each daemon, which it touches while it works."""
        return self.run / "beats"

    @property
    def dominator(self) -> Path:
        """The dominator's own state: routing table, refusals; owned by DOMINATOR_UID."""
        return self.run / "dominator"

    @property
    def collector(self) -> Path:
        """``metrics.sock``: Prometheus text over HTTP; owned by COLLECTOR_UID."""
        return self.run / "collector"

    @property
    def usage_json(self) -> Path:
        """Disk usage by uid, written by the configurator for the collector (mode 0644)."""
        return self.run / "usage.json"

    @property
    def isolation_json(self) -> Path:
        """What the last whole `insula node doctor --isolation` has found (mode 0644)."""
        return self.lib / "isolation.json"

    def netns(self, uid: int) -> Path:
        return self.run / "netns" / str(uid)

    def cgroups(self, uid: int) -> Path:
        """The container's cgroup directories, one absolute path a line (one on v2)."""
        return self.run / "cgroups" / str(uid)

    def keys(self, uid: int) -> Path:
        """Bound at /run/keys inside; ``signing.pem`` in it is root's, 0440 for the uid's group."""
        return self.run / "keys" / str(uid)

    def subscribe(self, uid: int) -> Path:
        """Directory bound at /run/subscribe inside; the dominator's, as is its socket ``http``."""
        return self.run / "subscribe" / str(uid)

    def trace(self, writer: str, uid: int) -> Path:
        """JSON lines of TraceEvent; ``writer`` is configurator, dominator or boot."""
        return self.run / "trace" / writer / f"{uid}.jsonl"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What ``node.toml`` says; written by ``node up``, read once by each process at its start."""

    base_domain: str = "insula.localhost"
    network: str = str(identity.DEFAULT_NETWORK)
    http_port: int = 80
    https_port: int = 443
    ssh_port: int = 2222
    default_distro: str = "default"
    storage: StorageDriver = "btrfs"
    pool_bytes: int = 40 * 1024**3
    # each night at 03:17: insula node doctor --isolation
    nightly_isolation: bool = False

    @property
    def api_domain(self) -> str:
        return f"api.{self.base_domain}"

    @property
    def ip_network(self) -> IPv4Network:
        return IPv4Network(self.network)

    @property
    def gateway(self) -> IPv4Address:
        return identity.gateway_of(self.ip_network)

    def to_toml(self) -> str:
        lines = [
            # strings, numbers and booleans are the same in TOML as in JSON
            f"{key} = {json.dumps(value)}"
            for key, value in asdict(self).items()
        ]
        return "# Written by `insula node up`; change it there.\n" + "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str, *, path: Path) -> "NodeSettings":
        """Read and validate; unknown keys are errors. Raises SettingsError."""
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path}: {error}") from error
        kinds = {item.name: type(item.default) for item in fields(cls)}
        for key, value in values.items():
            if key not in kinds:
                raise SettingsError(
                    f"{path}: {key} is not a setting", f"known are {', '.join(kinds)}"
                )
            if type(value) is not kinds[key]:
                raise SettingsError(f"{path}: {key} should be {kinds[key].__name__}")
        settings = cls(**values)
        settings.validate(path)
        return settings

    def validate(self, path: Path) -> None:
        """Raises SettingsError that names the wrong setting."""
        try:
            names.domain(self.base_domain, path="base_domain", wildcard=False)
            network = self.ip_network
        except InsulaError as error:
            raise SettingsError(f"{path}: {error.message}", error.hint) from error
        except ValueError as error:
            raise SettingsError(f"{path}: network: {error}", "for instance 10.0.0.0/8") from error
        if network.prefixlen > 24:
            raise SettingsError(f"{path}: network {network} should be a /24 or larger")
        for key in ("http_port", "https_port", "ssh_port"):
            if not 1 <= getattr(self, key) <= 65535:
                raise SettingsError(f"{path}: {key} should be from 1 to 65535")
        if len({self.http_port, self.https_port, self.ssh_port}) != 3:
            raise SettingsError(f"{path}: http, https and ssh need three different ports")
        if self.storage not in ("btrfs", "dir"):
            raise SettingsError(f"{path}: storage should be btrfs or dir")
        if not names.is_token(self.default_distro):
            raise SettingsError(f"{path}: default_distro is not a distro's name")


@dataclass(frozen=True, slots=True)
class Node:
    """A node: where it lies and how it is set."""

    paths: Paths
    settings: NodeSettings

    @property
    def tag(self) -> str:
        """Empty for the root ``/``; else four hex digits that keep several nodes apart."""
        if self.paths.root == Path("/"):
            return ""
        return sha256(str(self.paths.root).encode()).hexdigest()[:4]

    @property
    def link_prefix(self) -> str:
        """Host side of a container's veth is ``<prefix><uid>``, for instance ``ins-30001``."""
        return f"ins{self.tag}-"

    @property
    def nft_table(self) -> str:
        return f"insula_{self.tag}" if self.tag else "insula"

    @property
    def cgroup_name(self) -> str:
        """The cgroup below which ``<customer>/<uid>`` lies, in every hierarchy."""
        return f"insula-{self.tag}" if self.tag else "insula"


def root_from_environment() -> Path:
    """``INSULA_ROOT`` or ``/``, absolute and without links."""
    return Path(os.environ.get("INSULA_ROOT", "/")).resolve()


def load(root: Path) -> Node:
    """The node below ``root``. Raises SettingsError when there is none."""
    paths = Paths(root)
    try:
        text = paths.node_toml.read_text()
    except FileNotFoundError as error:
        raise SettingsError(
            f"there is no node below {root}: {paths.node_toml} is missing",
            "run bin/up first, or give --root DIR",
        ) from error
    return Node(paths, NodeSettings.from_toml(text, path=paths.node_toml))
