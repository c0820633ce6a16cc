"""A domain: who may announce it. A detached one stays, so that nodes hear that it is detached."""

import uuid

from django.db import models

from insula.api.models.container import Container
from insula.api.models.customer import Customer
from insula.api.models.tag import Tag


class Domain(models.Model):
    name = models.CharField(max_length=255, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="domains")
    # The container whose base-domain name this is; empty for a domain that was attached.
    container = models.ForeignKey(
        Container, on_delete=models.PROTECT, null=True, blank=True, related_name="base_domains"
    )
    state = models.CharField(max_length=16, default="attached")
    revision = models.PositiveBigIntegerField(default=0)
    # A new owner gets a new uuid, and neither note nor tags.
    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    note = models.TextField(blank=True, default="")
    tags = models.ManyToManyField(Tag, related_name="domains")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
