"""Why the gate refuses an announcement: stable codes, each with a sentence and a remedy."""

from enum import Enum


class Reason(Enum):
    """The value is the code that apps, logs and traces show; never change one."""

    MALFORMED = "malformed"
    WRONG_CREDENTIALS = "wrong-credentials"
    UNKNOWN_CONTAINER = "unknown-container"
    INVALID_DOMAIN = "invalid-domain"
    UNATTACHED_DOMAIN = "unattached-domain"
    FOREIGN_DOMAIN = "foreign-domain"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad-signature"
    STALE = "stale"
    FUTURE = "future"
    REPLAYED = "replayed"
    FOREIGN_ADDRESS = "foreign-address"
    TOO_MANY = "too-many"

    @property
    def sentence(self) -> str:
        return _TEXTS[self][0]

    @property
    def remedy(self) -> str:
        return _TEXTS[self][1]


_TEXTS = {
    Reason.MALFORMED: (
        "The packet is cut, too long or not an announcement.",
        "Announce with uWSGI's subscribe2; a packet has at most 4096 bytes.",
    ),
    Reason.WRONG_CREDENTIALS: (
        "The packet was not sent by this container's own user.",
        "Announce from an app that runs as the container's user.",
    ),
    Reason.UNKNOWN_CONTAINER: (
        "The container is not one that should run on this node.",
        "Look at its state with `insula container show`.",
    ),
    Reason.INVALID_DOMAIN: (
        "The key is not a domain.",
        "Use a name such as shop.example.org, or .example.org for all names below it.",
    ),
    Reason.UNATTACHED_DOMAIN: (
        "Nobody has attached this domain.",
        "Attach it first: `insula domain add NAME`.",
    ),
    Reason.FOREIGN_DOMAIN: (
        "The domain belongs to another customer.",
        "Announce a domain of your own, or ask its owner to release it.",
    ),
    Reason.UNSIGNED: (
        "The packet carries no signature.",
        "Add sign=SHA256:/run/keys/signing.pem to subscribe2.",
    ),
    Reason.BAD_SIGNATURE: (
        "The signature does not verify with the customer's key.",
        "Sign with SHA256 and /run/keys/signing.pem; restart the app after a change of the key.",
    ),
    Reason.STALE: (
        "The packet's time is too old, or before the gate's start.",
        "Wait for the app's next announcement; if it stays, compare the clocks.",
    ),
    Reason.FUTURE: (
        "The packet's time lies in the future.",
        "Use the container's own clock.",
    ),
    Reason.REPLAYED: (
        "This packet, or a later one for the same domain and address, was seen already.",
        "Wait for the app's next announcement.",
    ),
    Reason.FOREIGN_ADDRESS: (
        "The address is not a socket of this container.",
        "Use a socket directly below /run/sockets, or the container's own address and port.",
    ),
    Reason.TOO_MANY: (
        "The container announces too often.",
        "Keep uWSGI's subscribe-freq at 10 seconds.",
    ),
}
