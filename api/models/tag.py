"""A tag: a customer's own word for some of its containers, domains and loopboxes."""

from django.db import models

from insula.api.models.customer import Customer


class Tag(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="tags")
    name = models.CharField(max_length=255)
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["customer", "name"], name="tag_once_a_customer"),
        ]

    def __str__(self) -> str:
        return self.name
