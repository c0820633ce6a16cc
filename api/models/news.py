"""What the operators tell their customers."""

from django.db import models


class News(models.Model):
    content = models.TextField()
    date = models.DateTimeField(auto_now_add=True)
    # Shown to everybody, not to customers alone.
    is_public = models.BooleanField(default=False)

    class Meta:
        ordering = ["-date", "-id"]
        verbose_name_plural = "news"
