"""A customer's user: a login name and a password, for the ancestor's wire format."""

from django.db import models

from insula.api.models.customer import Customer


class User(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="users")
    name = models.CharField(max_length=64, unique=True)
    # Argon2, see hashers.py.
    password = models.CharField(max_length=255)
    is_active = models.BooleanField(default=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name
