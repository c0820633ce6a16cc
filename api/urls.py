"""Every URL of the product."""

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.http import HttpResponseRedirect
from django.urls import path, re_path

from insula.api.customer.api import api
from insula.api.node import urls as node
from insula.api.wire import urls as wire

urlpatterns = [
    *node.urlpatterns,
    path("api/v1/", api.urls),
    *wire.urlpatterns,
    path("admin/", admin.site.urls),
    # The few files of the documentation and of the operators' pages; nothing comes from a CDN.
    re_path(r"^static/(?P<path>.*)$", serve, {"insecure": True}),
    path("", lambda request: HttpResponseRedirect("/api/v1/docs")),
]
handler404 = node.nothing_here
handler500 = node.broken
