"""The API as a Django app: its models, its migrations and its operators' pages."""

from pathlib import Path

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "insula.api"
    label = "api"
    # An editable installation may show the package at two places; Django wants one.
    path = str(Path(__file__).parent)
    verbose_name = "Insula"
    default_auto_field = "django.db.models.BigAutoField"
