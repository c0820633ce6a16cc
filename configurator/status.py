"""What the configurator tells the others: the report for the API, disk usage for the collector."""

import json
from collections.abc import Mapping

from insula.configurator import boots
from insula.configurator.actual import Kernel, installed_distros
from insula.emperor.daemon.files import write_atomic
from insula.emperor.kernel import process
from insula.emperor.settings import Node
from insula.vassals.report import ContainerReport, NodeReport
from insula.vassals.spec import ContainerSpec


def started_at(kernel: Kernel, spec: ContainerSpec) -> float:
    """The start of the container's first process in seconds of the boot, 0 when none lives."""
    pid = kernel.cgroups.first_process(spec.customer_id, spec.uid)
    return 0.0 if pid is None else process.started_at(pid)


def _of_this_boot(kernel: Kernel, spec: ContainerSpec, written_at: float) -> float:
    if spec.state != "running":
        return 0.0
    started = started_at(kernel, spec)
    # An instance from before the change still ends: it is not what somebody waits for.
    is_new = started > 0.0 and started >= written_at - boots.START_SLACK_SECONDS
    return process.unix_of(started) if is_new else 0.0


def node_report(
    node: Node,
    kernel: Kernel,
    *,
    revision: int,
    specs: tuple[ContainerSpec, ...],
    applied: Mapping[int, ContainerSpec],
    errors: Mapping[int, str],
    used_bytes: Mapping[int, int],
    booting: Mapping[int, float],
) -> NodeReport:
    """How every container of the desired state stands; ``booting``: since when each should boot."""
    reports = tuple(
        ContainerReport(
            uid=spec.uid,
            applied_revision=applied[spec.uid].revision if spec.uid in applied else 0,
            generation=applied[spec.uid].generation if spec.uid in applied else 0,
            running_since=_of_this_boot(kernel, spec, booting.get(spec.uid, 0.0)),
            disk_used_bytes=used_bytes.get(spec.uid, -1),
            error=errors.get(spec.uid, "")[:4096],
        )
        for spec in specs
    )
    return NodeReport(revision=revision, distros=installed_distros(node), containers=reports)


def write_usage(node: Node, used_bytes: Mapping[int, int], limit_bytes: Mapping[int, int]) -> bool:
    """Write usage.json for the collector, which has no right to read quotas itself."""
    text = json.dumps(
        {
            str(uid): {"used_bytes": used, "limit_bytes": limit_bytes.get(uid, -1)}
            for uid, used in sorted(used_bytes.items())
        }
    )
    return write_atomic(node.paths.usage_json, text.encode(), mode=0o644)
