"""The distros that a container may have."""

from django.http import HttpRequest
from ninja import Router

from insula.api.customer.schemas import DistroOut
from insula.api.models import Distro

router = Router(tags=["platform"])


@router.get("/distros", response=list[DistroOut])
def list_distros(request: HttpRequest) -> list[DistroOut]:
    """The names that the node reported."""
    names = Distro.objects.values_list("name", flat=True).distinct().order_by("name")
    return [DistroOut(name=name) for name in names]
