"""An alarm: something that happened in a container, said by its customer's apps or by a node."""

from django.db import models

from insula.api.models.container import Container


class Alarm(models.Model):
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="alarms")
    # 0 system, 1 user, 2 exception, 3 traceback, 4 log.
    level = models.PositiveSmallIntegerField()
    color = models.CharField(max_length=7)
    kind = models.CharField(max_length=255, null=True)
    vassal = models.CharField(max_length=255, null=True)
    filename = models.CharField(max_length=255, null=True)
    func = models.CharField(max_length=255, null=True)
    line = models.PositiveBigIntegerField(null=True)
    unix = models.PositiveBigIntegerField()
    msg = models.TextField()

    class Meta:
        ordering = ["-unix", "-id"]
        indexes = [models.Index(fields=["container", "-unix"], name="alarm_by_container")]
