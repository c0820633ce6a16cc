"""The node's errors.

InsulaError
├── SettingsError      node.toml is missing, unreadable or holds something unknown
├── PreparationError   the machine lacks something that a node needs
├── KernelError        a kernel call failed; the message names the object it was for
├── StorageError       a storage driver could not do what was asked
└── FeedError          the API did not answer, or not with a feed
"""

from insula.vassals.errors import InsulaError


class SettingsError(InsulaError):
    """node.toml is missing, unreadable or holds something unknown."""


class PreparationError(InsulaError):
    """The machine lacks something that a node needs; the hint is the remedy."""

    exit_code = 5


class KernelError(InsulaError):
    """A kernel call failed."""


class StorageError(InsulaError):
    """A storage driver could not do what was asked."""


class FeedError(InsulaError):
    """The API did not answer, or its answer is not a feed."""
