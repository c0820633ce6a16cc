"""What operators see and do in Django's admin: everything is read here, and written by actions."""

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from insula.api.actions import containers, domains
from insula.api.actions.actor import Actor
from insula.api.models import AuditEntry, Container, Customer, Domain


def _actor(request: HttpRequest) -> Actor:
    return Actor(f"operator {request.user.get_username()}"[:64])


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # Django's class takes none at run time
    """A table without forms that write."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Customer)
class CustomerAdmin(ReadOnly):
    list_display = ["id", "name", "email", "created"]
    exclude = ["private_key_encrypted"]


@admin.register(Container)
class ContainerAdmin(ReadOnly):
    list_display = ["uid", "name", "customer", "distro", "generation", "revision", "state"]
    list_filter = ["state", "distro"]
    actions = ["reboot"]

    @admin.action(description="Reboot", permissions=["view"])
    def reboot(self, request: HttpRequest, rows: QuerySet[Container]) -> None:
        for row in rows.filter(state="running"):
            containers.reboot_container(_actor(request), row.uid)


@admin.register(Domain)
class DomainAdmin(ReadOnly):
    list_display = ["name", "customer", "state"]
    list_filter = ["state"]
    actions = ["detach"]

    @admin.action(description="Detach", permissions=["view"])
    def detach(self, request: HttpRequest, rows: QuerySet[Domain]) -> None:
        for row in rows.filter(state="attached", container=None):
            domains.detach_domain(_actor(request), row.name)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    list_display = ["at", "who", "action", "subject", "detail"]
