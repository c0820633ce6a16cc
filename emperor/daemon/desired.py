"""Which desired state counts, in pure code: what is known and an answer of the API in, one out."""

from collections import Counter
from dataclasses import replace

from insula.emperor.errors import FeedError
from insula.vassals.errors import InvalidValue
from insula.vassals.spec import DesiredState


def accepted(known: DesiredState | None, answer: object) -> DesiredState | None:
    """The state to go on with after an answer of the API; None when it says nothing new.

    What a newer feed leaves out stays as it was: only ``destroyed`` and ``detached`` take away.
    Raises FeedError for a feed that goes backwards, comes from another database or does not
    validate, so a broken API changes nothing.
    """
    if isinstance(answer, dict) and answer.get("unchanged") is True:
        return None
    try:
        state = DesiredState.from_json(answer)
    except InvalidValue as error:
        raise FeedError(f"the feed is not valid: {error.message}", error.hint) from error
    _refuse_doubles(state)
    if known is None:
        return state
    _refuse_strange(state, known)
    return None if state.revision == known.revision else keeping(state, known)


def _refuse_doubles(state: DesiredState) -> None:
    """Two words about one object would be carried out in turns."""
    for kind, names in (
        ("container", [item.uid for item in state.containers]),
        ("customer", [item.id for item in state.customers]),
        ("domain", [item.name for item in state.domains]),
    ):
        doubles = [name for name, count in Counter(names).items() if count > 1]
        if doubles:
            raise FeedError(
                f"the feed names {kind} {doubles[0]} twice",
                "the API is broken: everything stays as it is until its answer is right again",
            )


def _refuse_strange(new: DesiredState, known: DesiredState) -> None:
    if new.installation != known.installation:
        raise FeedError(
            f"the feed comes from installation {new.installation}, "
            f"this node belongs to {known.installation}",
            "restore the API's database, or remove the feed caches to adopt the new one",
        )
    if new.revision < known.revision:
        raise FeedError(
            f"the feed goes back from revision {known.revision} to {new.revision}",
            "the API's database is older than this node's state: restore the newer one",
        )


def merged(local: DesiredState, feed: DesiredState | None) -> DesiredState:
    """The node's own objects and the feed's; a feed never speaks about what is local."""
    if feed is None:
        return local
    uids = {item.uid for item in local.containers}
    customers = {item.id for item in local.customers}
    domains = {item.name for item in local.domains}
    return DesiredState(
        installation=feed.installation,
        revision=feed.revision,
        containers=local.containers
        + tuple(c for c in feed.containers if c.uid not in uids and c.customer_id not in customers),
        customers=local.customers + tuple(c for c in feed.customers if c.id not in customers),
        domains=local.domains
        + tuple(
            d for d in feed.domains if d.name not in domains and d.customer_id not in customers
        ),
    )


def keeping(new: DesiredState, known: DesiredState) -> DesiredState:
    """The new state and what it leaves out of the known one: absence removes nothing."""
    uids = {item.uid for item in new.containers}
    customers = {item.id for item in new.customers}
    domains = {item.name for item in new.domains}
    return replace(
        new,
        containers=new.containers + tuple(c for c in known.containers if c.uid not in uids),
        customers=new.customers + tuple(c for c in known.customers if c.id not in customers),
        domains=new.domains + tuple(d for d in known.domains if d.name not in domains),
    )
