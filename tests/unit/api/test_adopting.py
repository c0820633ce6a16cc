"""After a restore the database is at least as new as the node, and no number is given out twice."""

import pytest

from insula.api.actions.actor import ROOT
from insula.api.actions.adopting import adopt
from insula.api.actions.containers import Wanted, create_container
from insula.api.actions.customers import create_customer, key_pair, signing_keys
from insula.api.actions.domains import attach_domain, detach_domain
from insula.api.models import Container, Customer, Domain, Revision
from insula.api.node.snapshot import desired_state
from insula.vassals.spec import DesiredState

pytestmark = pytest.mark.django_db(transaction=True)


def wipe() -> None:
    for model in (Domain, Container, Customer, Revision):
        model.objects.all().delete()


def test_an_empty_database_is_filled_from_the_node() -> None:
    customer = create_customer(ROOT, name="one")
    first = create_container(ROOT, customer, name="web", wanted=Wanted(pids_max=99))
    attach_domain(ROOT, customer, "a.example.org")
    state = desired_state()
    wipe()
    found = adopt(ROOT, state)
    assert (found.customers, found.containers) == (["one"], [first.uid])
    assert found.revision > state.revision
    after = desired_state()
    # The private key was in the database alone: a new pair, which the node hears of.
    assert found.new_keys == ["one"]
    assert after.customers[0].public_key_pem != state.customers[0].public_key_pem
    assert list(signing_keys()) == [str(customer.id)]
    # Its apps read the new one when they start.
    assert found.rebooted == [first.uid]
    (again,) = after.containers
    assert (again.generation, again.revision) == (first.generation + 1, found.revision)
    assert (again.pids_max, after.domains) == (99, state.domains)


def test_numbers_that_a_node_knows_are_not_given_out_again() -> None:
    customer = create_customer(ROOT, name="one")
    before = create_container(ROOT, customer, name="web", wanted=Wanted())
    state = desired_state()
    wipe()
    adopt(ROOT, state)
    assert create_container(ROOT, Customer.objects.get(), name="new", wanted=Wanted()).uid > (
        before.uid
    )
    assert create_customer(ROOT, name="two").id > customer.id


def test_what_is_as_new_as_the_node_stays_as_it_is() -> None:
    customer = create_customer(ROOT, name="one")
    create_container(ROOT, customer, name="web", wanted=Wanted())
    found = adopt(ROOT, desired_state())
    assert (found.customers, found.containers, found.domains, found.new_keys) == ([], [], [], [])


def test_a_change_that_the_node_has_not_heard_of_stays() -> None:
    one, two = (create_customer(ROOT, name=name) for name in ("one", "two"))
    for name in ("moved.example.org", "gone.example.org"):
        attach_domain(ROOT, one, name)
    older = desired_state()
    for name in ("moved.example.org", "gone.example.org"):
        detach_domain(ROOT, name)
    attach_domain(ROOT, two, "moved.example.org")
    before = desired_state().domains
    assert adopt(ROOT, older).domains == []
    assert desired_state().domains == before


def test_a_newer_word_of_the_node_about_a_domain_counts() -> None:
    one, two = (create_customer(ROOT, name=name) for name in ("one", "two"))
    attach_domain(ROOT, one, "moved.example.org")
    detach_domain(ROOT, "moved.example.org")
    row = attach_domain(ROOT, two, "moved.example.org")
    newer = desired_state()
    # as an older copy has it
    row.customer, row.revision = one, 1
    row.save()
    assert adopt(ROOT, newer).domains == ["moved.example.org"]
    assert Domain.objects.get().customer == two


def test_a_key_that_does_not_open_is_made_anew(settings: object) -> None:
    customer = create_customer(ROOT, name="one")
    create_container(ROOT, customer, name="web", wanted=Wanted())
    settings.KEY_ENCRYPTION_KEYS = ["22" * 32]  # type: ignore[attr-defined]  # the old one is lost
    assert adopt(ROOT, None).new_keys == ["one"]
    assert list(signing_keys()) == [str(customer.id)]


def lost(customer: Customer) -> tuple[DesiredState, dict[int, str]]:
    """What the node has when the database is gone: its last state and the keys of its apps."""
    state = desired_state()
    private = {int(number): pem for number, pem in signing_keys().items()}
    assert list(private) == [customer.id]
    wipe()
    return state, private


def test_a_private_key_is_taken_over_from_the_node() -> None:
    customer = create_customer(ROOT, name="one")
    create_container(ROOT, customer, name="web", wanted=Wanted())
    state, private = lost(customer)
    found = adopt(ROOT, state, private)
    assert (found.kept_keys, found.new_keys, found.rebooted) == (["one"], [], [])
    after = desired_state()
    # Nothing that a node would act on has changed.
    assert (after.containers, after.customers) == (state.containers, state.customers)
    assert signing_keys() == {str(customer.id): private[customer.id]}
    assert private[customer.id] not in Customer.objects.get().private_key_encrypted


@pytest.mark.parametrize("pem", ["", "no key", "another's", "-----BEGIN PRIVATE KEY-----\nx\n"])
def test_a_private_key_that_fits_no_public_one_is_not_taken(pem: str) -> None:
    customer = create_customer(ROOT, name="one")
    uid = create_container(ROOT, customer, name="web", wanted=Wanted()).uid
    state, _ = lost(customer)
    found = adopt(ROOT, state, {customer.id: key_pair()[0] if pem == "another's" else pem})
    assert (found.kept_keys, found.new_keys, found.rebooted) == ([], ["one"], [uid])


def test_a_key_that_was_renewed_after_the_copy_is_the_nodes() -> None:
    customer = create_customer(ROOT, name="one")
    create_container(ROOT, customer, name="web", wanted=Wanted())
    old = customer.public_key_pem, customer.private_key_encrypted
    private, customer.public_key_pem = key_pair()
    customer.save()
    newer = desired_state()
    # as an older copy has it
    customer.public_key_pem, customer.private_key_encrypted = old
    customer.save()
    found = adopt(ROOT, newer, {customer.id: private})
    assert (found.kept_keys, found.rebooted) == (["one"], [])
    assert desired_state().customers == newer.customers
    assert signing_keys() == {str(customer.id): private}


def test_a_lost_key_encryption_key_reboots_nobody(settings: object) -> None:
    customer = create_customer(ROOT, name="one")
    create_container(ROOT, customer, name="web", wanted=Wanted())
    private = {int(number): pem for number, pem in signing_keys().items()}
    settings.KEY_ENCRYPTION_KEYS = ["22" * 32]  # type: ignore[attr-defined]  # the old one is lost
    found = adopt(ROOT, desired_state(), private)
    assert (found.kept_keys, found.new_keys, found.rebooted) == (["one"], [], [])
    assert signing_keys() == {str(customer.id): private[customer.id]}
