"""A container: its id is never used again, and everything on a node is named after it."""

import uuid

from django.conf import settings
from django.db import models

from insula.api.models.customer import Customer
from insula.api.models.tag import Tag
from insula.vassals import identity, spec


class Container(models.Model):
    # SQLite's AUTOINCREMENT (Django's default there) never gives out an id twice.
    id = models.BigAutoField(primary_key=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="containers")
    name = models.CharField(max_length=32)
    hostname = models.CharField(max_length=32)
    distro = models.CharField(max_length=64)
    generation = models.PositiveBigIntegerField(default=1)
    revision = models.PositiveBigIntegerField(default=0)
    changed_at = models.FloatField(default=0)
    memory_bytes = models.PositiveBigIntegerField()
    storage_bytes = models.PositiveBigIntegerField()
    cpu_percent = models.PositiveIntegerField()
    pids_max = models.PositiveIntegerField()
    ssh_keys = models.JSONField(default=list)
    timezone = models.CharField(max_length=64, default=spec.DEFAULT_TIMEZONE)
    locale = models.CharField(max_length=64, default=spec.DEFAULT_LOCALE)
    state = models.CharField(max_length=16, default="running")
    # A free text that need not be unique; empty: the name.
    title = models.CharField(max_length=255, blank=True, default="")
    note = models.TextField(blank=True, default="")
    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    secret_uuid = models.UUIDField(null=True, editable=False)
    nofollow = models.BooleanField(default=False)
    # Whether custom distros may be stored in its home, and which one of another's it is to have.
    custom_distros_storage = models.BooleanField(default=False)
    custom_distro = models.ForeignKey(
        "api.CustomDistro", on_delete=models.PROTECT, null=True, related_name="users"
    )
    tags = models.ManyToManyField(Tag, related_name="containers")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(state="running"), name="running_name_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.uid} {self.name}"

    @property
    def uid(self) -> int:
        return identity.uid_of(self.id)

    @property
    def domain(self) -> str:
        """The domain that it has from birth."""
        return f"{self.name}.{settings.BASE_DOMAIN}"

    @property
    def address(self) -> str:
        return str(identity.address_of(self.uid, settings.NETWORK))
