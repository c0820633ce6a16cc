"""What the control plane remembers: one noun a file. Written by api/actions alone."""

from insula.api.models.audit import AuditEntry
from insula.api.models.container import Container
from insula.api.models.customer import Customer
from insula.api.models.domain import Domain
from insula.api.models.node import AppliedState, Distro, Node
from insula.api.models.revision import Revision
from insula.api.models.sample import StoredSample
from insula.api.models.token import Token

__all__ = [
    "AppliedState",
    "AuditEntry",
    "Container",
    "Customer",
    "Distro",
    "Domain",
    "Node",
    "Revision",
    "StoredSample",
    "Token",
]
