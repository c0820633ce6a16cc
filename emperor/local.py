"""The node's own desired state: container 30000 with the API, and its vassal file."""

import json
import time
from hashlib import sha256
from pathlib import PurePosixPath

from insula.emperor.credentials import public_key_pem
from insula.emperor.daemon.feed import read_local
from insula.emperor.daemon.files import write_atomic
from insula.emperor.distros.tree import BUILD_ID
from insula.emperor.errors import FeedError
from insula.emperor.release import DISTRO
from insula.emperor.rundir import directory
from insula.emperor.settings import Node
from insula.vassals import grammar
from insula.vassals.identity import API_UID
from insula.vassals.render import Vassal, vassal_file
from insula.vassals.spec import (
    MEBIBYTE,
    ContainerSpec,
    CustomerSpec,
    DesiredState,
    DomainSpec,
)

CUSTOMER_ID = 0
CUSTOMER_NAME = "platform"


def generation(node: Node) -> int:
    """A number that changes with what needs a restart of the API's container."""
    build = (node.paths.distros / DISTRO / BUILD_ID).read_text().strip()
    extra = (node.paths.container_d / f"{API_UID}.ini").read_bytes()
    made_of = f"{DISTRO} {build} "
    # The vassal file's grammar takes ten digits, the feed 31 bits; 0 is no generation.
    return int(sha256(made_of.encode() + extra).hexdigest()[:7], 16) + 1


def desired(node: Node, *, number: int, changed_at: float) -> DesiredState:
    """The state as ``local.json`` holds it."""
    vassal = Vassal(
        uid=API_UID,
        customer_id=CUSTOMER_ID,
        hostname="api",
        distro=DISTRO,
        generation=number,
    )
    text = vassal_file(vassal, container_ini=PurePosixPath(node.paths.container_ini))
    container = ContainerSpec(
        uid=API_UID,
        customer_id=CUSTOMER_ID,
        name="api",
        hostname="api",
        distro=DISTRO,
        generation=number,
        revision=0,
        changed_at=changed_at,
        memory_bytes=512 * MEBIBYTE,
        cpu_percent=100,
        storage_bytes=2048 * MEBIBYTE,
        pids_max=256,
        ssh_keys=(),
        vassal=text,
        state="running",
    )
    customer = CustomerSpec(CUSTOMER_ID, CUSTOMER_NAME, public_key_pem(node.paths))
    domain = DomainSpec(node.settings.api_domain, CUSTOMER_ID, "attached")
    return DesiredState("local", 0, (container,), (customer,), (domain,))


def install(node: Node) -> bool:
    """Write ``local.json`` and ``vassals/30000.ini`` when they differ; True when one did."""
    number = generation(node)
    state = desired(node, number=number, changed_at=_changed_at(node, number))
    text = state.containers[0].vassal
    grammar.check(text, uid=API_UID, container_ini=PurePosixPath(node.paths.container_ini))
    directory(node.paths.vassals, mode=0o755)
    data = json.dumps(state.to_json(), indent=1) + "\n"
    changed = write_atomic(node.paths.local_json, data.encode(), mode=0o644)
    return write_atomic(node.paths.vassals / f"{API_UID}.ini", text.encode()) or changed


def _changed_at(node: Node, number: int) -> float:
    """The time of the last change is kept, so that an unchanged state has the same bytes."""
    try:
        known = read_local(node.paths.local_json).containers[0]
    except (FeedError, IndexError):
        return round(time.time(), 3)
    return known.changed_at if known.generation == number else round(time.time(), 3)
