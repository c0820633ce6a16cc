"""A loopbox: an image file in a container's home, to be mounted there."""

from django.db import models

from insula.api.models.container import Container
from insula.api.models.tag import Tag


class Loopbox(models.Model):
    container = models.ForeignKey(Container, on_delete=models.PROTECT, related_name="loopboxes")
    filename = models.CharField(max_length=64)
    mountpoint = models.CharField(max_length=255)
    ro = models.BooleanField(default=False)
    tags = models.ManyToManyField(Tag, related_name="loopboxes")

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "loopboxes"
        constraints = [
            models.UniqueConstraint(
                fields=["container", "filename"], name="loopbox_file_once_a_container"
            ),
            models.UniqueConstraint(
                fields=["container", "mountpoint"], name="loopbox_mountpoint_once_a_container"
            ),
        ]
