"""How a node stands: its processes, the API, the containers, the ports."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from insula.emperor import next_start, service
from insula.emperor.daemon import http
from insula.emperor.distros import store
from insula.emperor.errors import FeedError
from insula.emperor.settings import Node
from insula.emperor.statistics import vassals_of


@dataclass(frozen=True, slots=True)
class Service:
    """One process tree below the root Emperor; ``pid`` is 0 while it does not run."""

    name: str
    pid: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Status:
    """What ``insula node status`` shows."""

    root: str
    running: bool
    emperor_pid: int
    services: tuple[Service, ...]
    api: bool
    revision: int
    containers: int
    distros: tuple[str, ...]
    http_port: int
    https_port: int
    ssh_port: int
    base_domain: str
    network: str
    # what a new release leaves for the next start: "uWSGI", and files below <etc>
    next_start: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def status(node: Node) -> Status:
    """Look at the node; what does not answer counts as not there."""
    settings = node.settings
    pid = service.emperor_pid(node.paths) or 0
    return Status(
        root=str(node.paths.root),
        running=pid != 0,
        emperor_pid=pid,
        services=_services(node.paths.emperor_stats),
        api=api_answers(node),
        revision=_revision(node.paths.lib / "feed-configurator.json"),
        containers=len(vassals_of(node.paths.containers_stats)),
        distros=tuple(store.listed(node)),
        http_port=settings.http_port,
        https_port=settings.https_port,
        ssh_port=settings.ssh_port,
        base_domain=settings.base_domain,
        network=settings.network,
        next_start=next_start.next_start(node).names(),
    )


def api_answers(node: Node, *, timeout: float = 3.0) -> bool:
    """True when the API answers on the operator's socket."""
    return api_release(node, timeout=timeout) is not None


def api_release(node: Node, *, timeout: float = 3.0) -> str | None:
    """The release that the API runs, None while it does not answer."""
    try:
        socket_path = node.paths.api_operator / "api.sock"
        answer = http.call(socket_path, "GET", "/api/v1/ping", timeout=timeout)
    except FeedError:
        return None
    return str(answer.get("release")) if isinstance(answer, dict) else None


def _services(stats: Path) -> tuple[Service, ...]:
    return tuple(
        Service(
            name=Path(str(item.get("id", ""))).stem,
            pid=_number(item.get("pid")),
            restarts=_number(item.get("respawns")),
        )
        for item in vassals_of(stats)
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _revision(cache: Path) -> int:
    try:
        found = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return -1
    return _number(found.get("revision")) if isinstance(found, dict) else -1
