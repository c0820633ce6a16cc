"""Records what a node tells: how far it has applied the feed, and its measurements."""

import math
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from insula.api.models import AppliedState, Container, Distro, Node, StoredSample
from insula.vassals import identity
from insula.vassals.report import NodeReport, Sample

SAMPLE_LIFE_SECONDS = 24 * 3600
NODE_NAME = "local"


def record_report(report: NodeReport, *, now: float) -> None:
    """Keep the newest report; a container that the database does not know is skipped."""
    with transaction.atomic():
        node, _ = Node.objects.update_or_create(
            name=NODE_NAME, defaults={"revision": report.revision, "reported_at": timezone.now()}
        )
        known = {row.name: row for row in node.distros.all()}
        for name in set(report.distros) - set(known):
            Distro.objects.create(node=node, name=name)
        Distro.objects.filter(node=node, name__in=set(known) - set(report.distros)).delete()
        ids = set(Container.objects.values_list("id", flat=True))
        rows = [
            AppliedState(
                container_id=item.uid - identity.UID_BASE,
                revision=item.applied_revision,
                at=now,
                generation=item.generation,
                running_since=item.running_since,
                disk_used_bytes=item.disk_used_bytes,
                error=item.error,
            )
            for item in {item.uid: item for item in report.containers}.values()
            if item.uid - identity.UID_BASE in ids
        ]
        AppliedState.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["container"],
            update_fields=[
                "revision", "at", "generation", "running_since", "disk_used_bytes", "error",
            ],
        )  # fmt: skip


def record_samples(samples: Sequence[Sample], *, now: float) -> None:
    """Keep the measurements of the last 24 hours; older ones go."""
    oldest = now - SAMPLE_LIFE_SECONDS
    with transaction.atomic():
        StoredSample.objects.filter(at__lt=oldest).delete()
        # A clock that runs ahead must not make rows that are never pruned.
        StoredSample.objects.bulk_create(
            StoredSample(at=item.at, metric=item.metric, subject=item.subject, value=item.value)
            for item in samples
            if oldest <= item.at <= now + 60 and math.isfinite(item.value)
        )
