"""A customer: owns containers and domains, and has the key that signs their announcements."""

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=32, unique=True)
    email = models.EmailField(blank=True, default="")
    public_key_pem = models.TextField()
    # `<version>:<base64>`, see actions/encryption.py; opened for a node alone.
    private_key_encrypted = models.TextField()
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name
