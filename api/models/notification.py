"""Whom a container's alarms are to reach, and the key that raises them."""

from django.db import models

from insula.api.models.container import Container


class Notification(models.Model):
    """A container without a row has the defaults."""

    container = models.OneToOneField(
        Container, on_delete=models.CASCADE, primary_key=True, related_name="notification"
    )
    jid = models.CharField(max_length=255, blank=True, default="")
    # `<version>:<base64>`, see actions/encryption.py; never shown again.
    jid_secret_encrypted = models.TextField(blank=True, default="")
    jid_destinations = models.CharField(max_length=255, blank=True, default="")
    pushover_user = models.CharField(max_length=255, blank=True, default="")
    pushover_token = models.CharField(max_length=255, blank=True, default="")
    pushover_sound = models.CharField(max_length=255, blank=True, default="")
    pushbullet_token = models.CharField(max_length=255, blank=True, default="")
    slack_webhook = models.CharField(max_length=255, blank=True, default="")
    alarm_freq = models.PositiveIntegerField(default=60)
    quota_threshold = models.PositiveIntegerField(default=90)
    # Of the key that raises alarms of this container and does nothing else; empty: there is none.
    alarm_key_sha256 = models.CharField(max_length=64, blank=True, default="")
