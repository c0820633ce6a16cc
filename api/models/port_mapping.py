"""A port of a node that is to lead to a port of a container."""

from django.db import models

from insula.api.models.container import Container
from insula.api.models.node import Node


class PortMapping(models.Model):
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="port_mappings")
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="port_mappings")
    proto = models.CharField(max_length=3)
    public_port = models.PositiveIntegerField()
    private_port = models.PositiveIntegerField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["node", "proto", "public_port"], name="public_port_once_a_node"
            ),
            models.UniqueConstraint(
                fields=["container", "proto", "private_port"], name="private_port_once_a_container"
            ),
        ]
