"""A link: one container wishes to reach another; the other side may be anybody's."""

from django.db import models

from insula.api.models.container import Container


class Link(models.Model):
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="links")
    target = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="linked_by")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["container", "target"], name="link_once"),
        ]
