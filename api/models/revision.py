"""The growing number that orders every change; one row."""

from django.db import models


class Revision(models.Model):
    number = models.PositiveBigIntegerField(default=0)

    @classmethod
    def current(cls) -> int:
        """The number of the last committed change, 0 before the first."""
        return cls.objects.filter(pk=1).values_list("number", flat=True).first() or 0
