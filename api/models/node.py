"""What a node told about itself: its distros and how far each container is applied."""

from django.db import models

from insula.api.models.container import Container
from insula.api.models.customer import Customer


class Node(models.Model):
    name = models.CharField(max_length=64, unique=True)
    revision = models.BigIntegerField(default=-1)
    reported_at = models.DateTimeField(null=True)
    address = models.GenericIPAddressField(null=True)
    # A customer may have a node of its own and make containers there as it likes.
    owner = models.ForeignKey(
        Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="nodes"
    )
    # What containers may be promised in all; empty: as much as anybody asks for.
    memory_bytes = models.PositiveBigIntegerField(null=True)
    storage_bytes = models.PositiveBigIntegerField(null=True)


class Distro(models.Model):
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="distros")
    name = models.CharField(max_length=64)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["node", "name"], name="distro_once_a_node"),
        ]


class AppliedState(models.Model):
    container = models.OneToOneField(
        Container, on_delete=models.CASCADE, primary_key=True, related_name="applied"
    )
    revision = models.PositiveBigIntegerField()
    at = models.FloatField()
    generation = models.PositiveBigIntegerField()
    running_since = models.FloatField()
    disk_used_bytes = models.BigIntegerField()
    error = models.TextField(blank=True)
