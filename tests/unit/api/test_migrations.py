"""What a release does to the rows of the one before."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

BEFORE, AFTER = "0002_timezone_and_locale", "0003_wire_format"


@pytest.fixture
def database(transactional_db: None) -> Iterator[None]:
    yield
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_each_row_gets_a_uuid_of_its_own_and_no_number_comes_again(database: None) -> None:
    old = MigrationExecutor(connection)
    apps = old.migrate([("api", BEFORE)]).apps
    made = [
        apps.get_model("api", "Customer").objects.create(name=name, public_key_pem="")
        for name in ("a", "b")
    ]
    for number in range(1, 4):
        apps.get_model("api", "Container").objects.create(
            id=number, customer=made[0], name=f"c{number}", hostname="c", distro="default",
            memory_bytes=1, storage_bytes=1, cpu_percent=1, pids_max=1, state="destroyed",
        )  # fmt: skip
    new = MigrationExecutor(connection)
    apps = new.migrate([("api", AFTER)]).apps
    for name, count in (("Customer", 2), ("Container", 3)):
        rows = apps.get_model("api", name).objects.all()
        assert len({row.uuid for row in rows}) == count
    model = apps.get_model("api", "Container")
    row = model.objects.create(
        customer_id=made[0].pk, name="next", hostname="c", distro="default", memory_bytes=1,
        storage_bytes=1, cpu_percent=1, pids_max=1,
    )  # fmt: skip
    assert row.pk == 4
