"""Requests of a customer that are none of its business."""

from insula.emperor.isolation.arena import CPU_PERCENT, VICTIM, Arena
from insula.emperor.isolation.attacks.contract import Held
from insula.emperor.isolation.traps.contract import trap
from insula.emperor.isolation.traps.customer import Customer, customer

Request = tuple[str, str, object]
_SPOOFED = (
    {"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"},
    {"Insula-Door": "operator", "X-Door": "operator", "insula.door": "operator"},
    {"Remote-User": "operator", "Authorization": "Basic b3BlcmF0b3I6"},
)


@trap
def ask_for_neighbours_container(made: Arena) -> str:
    """Show, change and reboot it, its domain, its figures, its customer and that one's tokens."""
    # always the same: a detached domain is remembered for ever
    domain = "probe.isolation.invalid"
    if not _is_attached(made, domain):
        made.call("POST", "/api/v1/domains", {"name": domain, "customer": VICTIM})
    try:
        with customer(made) as asking:
            # No DELETE of the container: an attack does no harm where it gets through. It finds
            # the container as these do.
            place = f"/api/v1/containers/{made.victim.uid}"
            return _first_answer(asking, [
                ("GET", place, None), ("GET", f"{place}/metrics", None),
                ("GET", f"/api/v1/containers?customer={VICTIM}", None),
                ("GET", f"/api/v1/domains?customer={VICTIM}", None),
                ("GET", f"/api/v1/domains/{domain}/metrics", None),
                ("GET", f"/api/v1/customers/{VICTIM}", None),
                ("GET", f"/api/v1/customers/{VICTIM}/tokens", None),
                ("PATCH", place, {}),
                # what it has already
                ("PATCH", place, {"cpu_percent": CPU_PERCENT}),
                ("POST", f"{place}/reboot", None), ("DELETE", f"/api/v1/domains/{domain}", None),
                ("POST", "/api/v1/domains", {"name": f"a.{domain}", "customer": VICTIM}),
                ("POST", "/api/v1/domains", {"name": made.targets.neighbour.domain}),
                ("GET", "/api/v1/containers/30000", None),
            ])  # fmt: skip
    finally:
        if _is_attached(made, domain):
            made.call("DELETE", f"/api/v1/domains/{domain}")


def _is_attached(made: Arena, domain: str) -> bool:
    attached = made.call("GET", f"/api/v1/domains?customer={VICTIM}")
    return any(item["name"] == domain for item in attached)


@trap
def ask_as_operator(made: Arena) -> str:
    """The endpoints of operators and nodes, plain and with headers that claim a right."""
    asked: list[Request] = [
        ("GET", "/api/v1/customers", None), ("GET", "/api/v1/operators", None),
        ("GET", "/api/v1/node/feed?since=-1", None), ("GET", "/api/v1/node/signing-keys", None),
        ("GET", "/api/v1/%6eode/feed?since=-1", None), ("GET", "//api/v1/node/feed?since=-1", None),
        ("POST", "/api/v1/node/report", {}), ("POST", "/api/v1/node/samples", {"samples": []}),
    ]  # fmt: skip
    with customer(made) as asking:
        said = ""
        for headers in ({}, *_SPOOFED):
            try:
                return _first_answer(asking, asked, **headers)
            except Held as error:
                said = said or str(error)
    raise Held(said)


def _first_answer(asking: Customer, asked: list[Request], **headers: str) -> str:
    """The first request that is granted. Raises Held with all refusals."""
    refused: dict[str, int] = {}
    for method, url, body in asked:
        status, said = asking.ask(method, url, body, **headers)
        if 200 <= status < 300:
            return f"{method} {url} was answered with {status}"
        if status >= 500:
            raise ValueError(f"{method} {url} was answered with {status}: {said}")
        refused[f"{status} {said.get('code', '')}".strip()] = 1
    raise Held(f"{len(asked)} requests refused: {', '.join(refused)}")
