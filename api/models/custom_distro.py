"""A root file system of a customer's own, stored in one container and used by its others."""

import uuid

from django.db import models

from insula.api.models.container import Container


class CustomDistro(models.Model):
    container = models.ForeignKey(
        Container, on_delete=models.PROTECT, related_name="stored_distros"
    )
    name = models.CharField(max_length=255)
    path = models.CharField(max_length=64)
    note = models.TextField(blank=True, default="")
    uuid = models.UUIDField(default=uuid.uuid4, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["container", "name"], name="custom_distro_name_once_a_container"
            ),
            models.UniqueConstraint(
                fields=["container", "path"], name="custom_distro_path_once_a_container"
            ),
        ]
