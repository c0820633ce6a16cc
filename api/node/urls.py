"""The node door's URLs; its process loads no others."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from insula.api.errors import ApiError, Code
from insula.api.node import views
from insula.api.problem import refusal


def nothing_here(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return refusal(request, ApiError(Code.NOT_FOUND, "there is nothing at this address"))


def broken(request: HttpRequest) -> HttpResponse:
    return refusal(request, ApiError(Code.INTERNAL, "the API failed", "its log says why"))


urlpatterns = [
    path("api/v1/node/feed", views.feed),
    path("api/v1/node/report", views.report),
    path("api/v1/node/samples", views.samples),
    path("api/v1/node/signing-keys", views.signing_keys),
]
handler404 = nothing_here
handler500 = broken
