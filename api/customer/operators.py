"""Operators: the people who may use the operators' pages at /admin/."""

from django.http import HttpRequest
from ninja import Router, Status

from insula.api.actions.operators import create_operator
from insula.api.customer.auth import actor_of
from insula.api.customer.schemas import NewOperator, OperatorOut

router = Router(tags=["operators"])


@router.post("/operators", response={201: OperatorOut})
def make_operator(request: HttpRequest, body: NewOperator) -> Status[OperatorOut]:
    """An account for /admin/, or a new password for it; operators only."""
    made = create_operator(actor_of(request), name=body.name, password=body.password)
    return Status(201, OperatorOut(name=made.get_username()))
