"""A Bearer token: only its hash is kept, so a stolen database opens nothing."""

from django.db import models

from insula.api.models.customer import Customer


class Token(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="tokens")
    name = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64, unique=True)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(null=True)
    last_used = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
