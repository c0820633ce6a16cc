"""The operators' pages as a Django app of its own, so that its files are found."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "insula.api.web"
    label = "web"
