"""What the control plane remembers: one noun a file. Written by api/actions alone."""

from insula.api.models.alarm import Alarm
from insula.api.models.audit import AuditEntry
from insula.api.models.container import Container
from insula.api.models.custom_distro import CustomDistro
from insula.api.models.customer import Customer
from insula.api.models.domain import Domain
from insula.api.models.link import Link
from insula.api.models.loopbox import Loopbox
from insula.api.models.news import News
from insula.api.models.node import AppliedState, Distro, Node
from insula.api.models.notification import Notification
from insula.api.models.port_mapping import PortMapping
from insula.api.models.revision import Revision
from insula.api.models.sample import StoredSample
from insula.api.models.tag import Tag
from insula.api.models.token import Token
from insula.api.models.user import User

__all__ = [
    "PortMapping",
    "Loopbox",
    "Link",
    "CustomDistro",
    "Alarm",
    "AppliedState",
    "AuditEntry",
    "Container",
    "Customer",
    "Distro",
    "Domain",
    "News",
    "Node",
    "Notification",
    "Revision",
    "StoredSample",
    "Tag",
    "Token",
    "User",
]
