"""Every URL of the ancestor's wire format; a final slash may always be left out or added."""

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, re_path

from insula.api.errors import not_found
from insula.api.problem import wire_refusal
from insula.api.wire import (
    alarms,
    containers,
    custom_distros,
    domains,
    loopboxes,
    me,
    metrics,
    port_mappings,
    tags,
)
from insula.api.wire.endpoint import Access, View, endpoint

_UID = r"(?P<uid>[0-9]{1,9})"
_NUMBER = r"(?P<number>[0-9]{1,18})"
_METRIC = r"(?P<metric>[a-z.]{1,64})"


def nothing_here(request: HttpRequest) -> HttpResponse:
    return wire_refusal(not_found("such address"))


def _route(form: str, view: View) -> URLPattern:
    return re_path(rf"^api/{form}/?$", view)


urlpatterns = [
    _route("me", me.me),
    _route("news", endpoint(get=me.list_news, access=Access.ANYBODY)),
    _route("distros", me.distros),
    _route("(?:me/)?containers", containers.containers),
    _route(f"containers/{_UID}", containers.container),
    _route(f"containers/{_UID}/domains", metrics.domains_of_container),
    _route(f"regenerate_secret_uuid/{_UID}", containers.secret_uuid),
    _route("tags", tags.tags),
    _route(f"tags/{_NUMBER}", tags.tag),
    _route("domains", domains.domains),
    _route(f"domains/{_NUMBER}", domains.domain),
    _route(f"domains/{_NUMBER}/containers", metrics.containers_of_domain),
    _route("loopboxes", loopboxes.loopboxes),
    _route(f"loopboxes/{_NUMBER}", loopboxes.loopbox),
    _route("alarms", alarms.alarms),
    _route(f"alarms/{_NUMBER}", alarms.alarm),
    _route(f"alarms/(?:raise|trigger)/{_UID}", alarms.raised),
    _route(f"alarm_key/{_UID}", alarms.alarm_key),
    _route("custom_distros", custom_distros.all_of_mine),
    _route(f"custom_distros/{_UID}", custom_distros.of_container),
    _route(f"custom_distro/{_NUMBER}", custom_distros.custom_distro),
    _route("portmappings/(?P<address>[0-9A-Fa-f.:]{1,45})", port_mappings.port_mappings),
    _route(rf"metrics/container\.{_METRIC}/{_UID}", metrics.of_container),
    _route(rf"metrics/domain\.{_METRIC}/{_NUMBER}", metrics.of_domain),
    re_path(r"^api/(?!v1/)", nothing_here),
]
