"""One measurement of the last 24 hours."""

from django.db import models


class StoredSample(models.Model):
    at = models.FloatField(db_index=True)
    metric = models.CharField(max_length=128)
    subject = models.CharField(max_length=255)
    value = models.FloatField()

    class Meta:
        indexes = [models.Index(fields=["subject", "metric", "at"], name="sample_by_subject")]
