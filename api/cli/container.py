"""`insula container`: create, list, show, set, reboot, destroy."""

import sys
import time
from pathlib import Path
from typing import Any

import click

from insula.api.cli.client import ApiRefused, Client
from insula.api.cli.invocation import Invocation, takes_json
from insula.api.cli.output import facts, remark, show
from insula.api.cli.units import Share, Size, size
from insula.vassals import identity
from insula.vassals.errors import InsulaError, InvalidValue
from insula.vassals.spec import MINIMUM_MEMORY_BYTES, MINIMUM_STORAGE_BYTES, ssh_key

COLUMNS = ("uid", "name", "customer", "domain", "address", "memory", "cpu", "storage", "state")
FACTS = (
    *COLUMNS, "hostname", "distro", "timezone", "locale", "pids_max", "disk_used", "ssh_keys",
    "applied",
)  # fmt: skip
_STEP_SECONDS, _MAXIMUM_STEP_SECONDS = 0.02, 0.25
_BUSY = 503
# The API answers at once when the change is applied, but not when it fails.
_LOOK_SECONDS = 2.0


class WaitedTooLong(InsulaError):
    """The node has not applied the change in time; it goes on working at it."""

    exit_code = 6


@click.group()
def container() -> None:
    """Containers: each is one uWSGI Emperor with its own limits, disk and address."""


def _limits(function: Any) -> Any:
    for option in (
        click.option("--memory", type=Size(MINIMUM_MEMORY_BYTES), help="For instance 512M."),
        click.option("--storage", type=Size(MINIMUM_STORAGE_BYTES), help="Disk, for instance 2G."),
        click.option("--cpu", type=Share(), help="Of one core: 50%, or 0.5."),
        click.option(
            "--pids", type=click.IntRange(16, 1 << 22), help="How many processes and threads."
        ),
        click.option("--distro", help="The root file system."),
        click.option("--timezone", help="For instance Europe/Rome."),
        click.option("--locale", help="Language and character set, for instance it_IT.UTF-8."),
        click.option(
            "--ssh-key", "ssh_keys", multiple=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A .pub file; may be given several times. On a change they replace all keys.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def _waits(function: Any) -> Any:
    wait = click.option("--wait/--no-wait", default=False, help="Until the node has done it.")
    timeout = click.option(
        "--timeout", type=float, default=60.0, show_default=True, help="Seconds."
    )
    return wait(timeout(function))


def _body(options: dict[str, Any]) -> dict[str, object]:
    names = {"memory": "memory_bytes", "storage": "storage_bytes", "cpu": "cpu_percent"}
    names |= {"pids": "pids_max", "distro": "distro", "timezone": "timezone", "locale": "locale"}
    body = {
        names[key]: value for key, value in options.items() if key in names and value is not None
    }
    keys = [key for path in options["ssh_keys"] for key in _keys_of(path)]
    return body | ({"ssh_keys": keys} if keys else {})


def _keys_of(path: Path) -> list[str]:
    """The public keys of a file; comments and empty lines are passed over."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    keys = [ssh_key(line, path=str(path)) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InvalidValue(
            f"{path}: holds no public key", "ssh-keygen makes one; give its .pub file"
        )
    return keys


@container.command()
@click.option("--customer", help="Whose container it is (operators).")
@click.option("--name", required=True, help="Also its host name and <name>.<base domain>.")
@_limits
@_waits
@takes_json
@click.pass_obj
def create(
    invocation: Invocation,
    /,
    customer: str | None,
    name: str,
    wait: bool,
    timeout: float,
    **limits: Any,
) -> None:
    """Create a container."""
    client = Client(invocation)
    body = _body(limits) | {"name": name} | ({"customer": customer} if customer else {})
    made = client.post("containers", body)
    _finish(invocation, client, made, wait=wait, timeout=timeout)


@container.command("list")
@click.option("--customer", help="Only this customer's.")
@click.option("--all", "everything", is_flag=True, help="Destroyed ones, too.")
@takes_json
@click.pass_obj
def list_containers(invocation: Invocation, customer: str | None, everything: bool) -> None:
    """Show containers."""
    state = "all" if everything else None
    found = Client(invocation).get("containers", customer=customer, state=state)
    _show(invocation, found)


@container.command("show")
@click.argument("uid")
@takes_json
@click.pass_obj
def show_container(invocation: Invocation, uid: str) -> None:
    """Show container UID, and what the node has applied of it."""
    found = Client(invocation).get(f"containers/{identity.parse_uid(uid)}")
    if invocation.json:
        show(found, as_json=True, columns=())
        return
    facts(_for_people(found) | {"applied": _applied(found)}, FACTS)


def _applied(found: dict[str, Any]) -> str:
    """What the node says about it, in one line."""
    applied = found["applied"]
    if applied is None:
        return "the node has not reported about it yet"
    if applied["error"]:
        return f"failed: {applied['error']}"
    return f"revision {applied['revision']} of {found['revision']}"


@container.command("set")
@click.argument("uid")
@_limits
@_waits
@takes_json
@click.pass_obj
def change(invocation: Invocation, /, uid: str, wait: bool, timeout: float, **limits: Any) -> None:
    """Change container UID: limits and keys while it runs; the rest restarts it."""
    body = _body(limits)
    if not body:
        raise click.UsageError("nothing to change; give --memory, --storage, --cpu, …")
    client = Client(invocation)
    changed = client.patch(f"containers/{identity.parse_uid(uid)}", body)
    for field, effect in sorted(changed.get("effects", {}).items()):
        remark(f"{field}: {effect}")
    _finish(invocation, client, changed, wait=wait, timeout=timeout)


@container.command()
@click.argument("uid")
@_waits
@takes_json
@click.pass_obj
def reboot(invocation: Invocation, uid: str, wait: bool, timeout: float) -> None:
    """Stop container UID and boot it again."""
    client = Client(invocation)
    changed = client.post(f"containers/{identity.parse_uid(uid)}/reboot")
    _finish(invocation, client, changed, wait=wait, timeout=timeout)


@container.command()
@click.argument("uid")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@takes_json
@click.pass_obj
def destroy(invocation: Invocation, uid: str, yes: bool) -> None:
    """Stop container UID and take it away; its home is set aside on the node."""
    if not yes and not sys.stdin.isatty():
        raise InvalidValue(
            "destroy asks for the container's name, and there is no terminal", "give --yes"
        )
    client = Client(invocation)
    found = client.get(f"containers/{identity.parse_uid(uid)}")
    if not yes:
        typed = click.prompt(f"Type the name of container {uid} to destroy it", err=True)
        if typed != found["name"]:
            raise InvalidValue(f"{typed!r} is not its name", "nothing was changed")
    _show(invocation, client.delete(f"containers/{found['uid']}"))


def _finish(
    invocation: Invocation, client: Client, changed: dict[str, Any], *, wait: bool, timeout: float
) -> None:
    if wait:
        changed = _wait(client, changed, timeout)
    _show(invocation, changed)


def _wait(client: Client, changed: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Until the node has applied the change and the container's first process runs it."""
    uid, revision, generation = changed["uid"], changed["revision"], changed["generation"]
    deadline = time.monotonic() + timeout
    remark(f"waiting for container {uid} (revision {revision}) …")
    step = _STEP_SECONDS
    error = error_before = _error_of(changed)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            told = f" ({error})" if error else ""
            raise WaitedTooLong(
                f"container {uid} is not ready after {timeout:g} s{told}; the node goes on",
                f"insula explain {uid} shows which step is missing",
            )
        found = _look(client, uid, wait=min(left, _LOOK_SECONDS), applied=revision)
        applied = found["applied"] if found else None
        if found and applied:
            error, is_applied = applied["error"], applied["revision"] >= revision
            # An error from before the change may go with it; a new one is this change's.
            if error and (is_applied or error != error_before):
                raise InsulaError(
                    f"container {uid}: {error}", f"the node tries again; insula explain {uid}"
                )
            if is_applied and applied["running_since"] and applied["generation"] >= generation:
                return found
        # Quick at first, for a boot takes some 30 ms; one that fails is not asked for so often.
        time.sleep(step)
        step = min(step * 1.25, _MAXIMUM_STEP_SECONDS)


def _error_of(container: dict[str, Any]) -> str:
    return str(container["applied"]["error"]) if container["applied"] else ""


def _look(client: Client, uid: int, *, wait: float, applied: int) -> dict[str, Any] | None:
    """The container; None when the API has too many who wait already: the change is made."""
    try:
        found: dict[str, Any] = client.get(f"containers/{uid}", wait=wait, applied=applied)
    except ApiRefused as error:
        if error.status != _BUSY:
            raise
        return None
    return found


def _show(invocation: Invocation, value: Any) -> None:
    if invocation.json:
        show(value, as_json=True, columns=())
        return
    rows = value if isinstance(value, list) else [value]
    show([_for_people(row) for row in rows], as_json=False, columns=COLUMNS)


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    used = (row["applied"] or {}).get("disk_used_bytes", -1)
    return row | {
        "memory": size(row["memory_bytes"]),
        "disk_used": size(used) if used >= 0 else "not measured yet",
        "storage": size(row["storage_bytes"]),
        "cpu": f"{row['cpu_percent']}%",
    }
