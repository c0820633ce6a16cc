"""Who acts: an operator of the platform, or one customer."""

from dataclasses import dataclass

from insula.api.errors import ApiError, Code
from insula.api.models import Customer


@dataclass(frozen=True, slots=True)
class Actor:
    """``customer`` is None for an operator, who may do everything."""

    name: str
    customer: Customer | None = None

    @property
    def is_operator(self) -> bool:
        return self.customer is None

    def may_see(self, customer_id: int) -> bool:
        return self.customer is None or self.customer.id == customer_id

    def must_be_operator(self) -> None:
        if not self.is_operator:
            raise ApiError(
                Code.FORBIDDEN,
                "only operators may do this",
                "use the operator's socket on the node",
            )


ROOT = Actor("operator")
NODE = Actor("node")
