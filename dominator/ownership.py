"""Who may announce what, as the desired state says it."""

from hashlib import sha256

from insula.dominator.keys import KeyRing
from insula.dominator.reasons import Reason
from insula.dominator.table import Route
from insula.vassals import names
from insula.vassals.spec import DesiredState


class Ownership:
    """The running containers, the attached domains and the customers' keys of one desired state."""

    def __init__(self, state: DesiredState) -> None:
        self.customer_of = {
            item.uid: item.customer_id for item in state.containers if item.state == "running"
        }
        self.generation_of = {item.uid: item.generation for item in state.containers}
        self.domains = {
            item.name: item.customer_id for item in state.domains if item.state == "attached"
        }
        self.detached = tuple(item.name for item in state.domains if item.state == "detached")
        self.keys = KeyRing({item.id: item.public_key_pem for item in state.customers})
        self.key_id = {
            item.id: sha256(item.public_key_pem.encode()).hexdigest() for item in state.customers
        }

    def owner_of(self, domain: str) -> int | None:
        """The customer of the most specific attached name that covers the domain."""
        for name in (domain, *names.wildcards_above(domain)):
            if name in self.domains:
                return self.domains[name]
        return None

    def allows(self, route: Route) -> bool:
        """True while the route's container, customer, key and domain are still the same."""
        return (
            self.customer_of.get(route.uid) == route.customer_id
            and self.key_id.get(route.customer_id, "") == route.key_id
            and self.refusal(route.uid, route.domain) is None
        )

    def refusal(self, uid: int, domain: str) -> Reason | None:
        """Why the container may not announce the domain; None when it may."""
        if uid not in self.customer_of:
            return Reason.UNKNOWN_CONTAINER
        owner = self.owner_of(domain)
        if owner is None:
            return Reason.UNATTACHED_DOMAIN
        return None if owner == self.customer_of[uid] else Reason.FOREIGN_DOMAIN
