"""A customer: owns containers and domains, and has the key that signs their announcements."""

import uuid

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=32, unique=True)
    # Several addresses are joined by commas.
    email = models.CharField(max_length=255, blank=True, default="")
    vat = models.CharField(max_length=255, null=True, blank=True)
    company = models.CharField(max_length=255, null=True, blank=True)
    # What a TXT record must say to prove a domain.
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    public_key_pem = models.TextField()
    # `<version>:<base64>`, see actions/encryption.py; opened for a node alone.
    private_key_encrypted = models.TextField()
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name
