"""Services: each page of docs/services is typed into a container; its databases lose nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import CHECKOUT, Node, until
from tests.system.readers import Readings, reading

pytestmark = pytest.mark.system
PAGES = CHECKOUT / "docs/services"


@dataclass(frozen=True, slots=True)
class Database:
    """How to write a word into a database of a page, to read all words, and to know its server."""

    page: str
    server: str
    write: str
    read: str


DATABASES = (
    Database(
        "postgresql", "/postgres",
        "psql -q -h /run/user shop -c \"insert into orders (item) values ('{word}')\"",
        "psql -qAt -h /run/user shop -c 'select item from orders'",
    ),
    Database(
        "mariadb", "mariadbd",
        "mariadb shop -e \"insert into orders (item) values ('{word}')\"",
        "mariadb -BN shop -e 'select item from orders'",
    ),
    Database(
        "redis", "redis-server",
        "redis-cli -s /run/user/redis.sock set {word} {word}",
        "redis-cli -s /run/user/redis.sock keys '*'",
    ),
)  # fmt: skip
OTHERS = [PAGES / f"{name}.md" for name in ("cron", "spooler", "workers")]
CONTAINER = ("--memory", "512M", "--cpu", "200%")


@pytest.fixture(scope="module")
def pages(
    request: pytest.FixtureRequest, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Readings]:
    with reading(request, node, CONTAINER, tmp_path_factory.mktemp("unpacked")) as pages:
        yield pages


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(pages: Readings, page: Path) -> None:
    pages.of(page)


@pytest.mark.parametrize(
    ("page", "database"), [(PAGES / f"{item.page}.md", item) for item in DATABASES],
    ids=[item.page for item in DATABASES],
)  # fmt: skip
def test_a_database_loses_nothing(
    node: Node, pages: Readings, page: Path, database: Database
) -> None:
    uid = pages.of(page).uid
    print(f"\n{database.page} idle: {memory(node, uid)}")

    def reload() -> None:
        node.ssh(uid, f"touch -d '2 seconds' vassals/{database.page}.ini")

    def reboot() -> None:
        node.insula("container", "reboot", str(uid))

    def kill() -> None:
        first = processes.first_process(node, uid)
        assert first is not None
        processes.kill(first)

    expected = {"item"} if database.page == "redis" else {"chair"}
    for word, strike in (("reload", reload), ("reboot", reboot), ("killed", kill)):
        old = server(node, uid, database)
        node.ssh(uid, database.write.format(word=word))
        expected.add(word)
        strike()
        seconds = comes_back(node, uid, database, old, expected)
        print(f"{database.page} {word}: data back after {seconds:.1f} s")


def comes_back(
    node: Node, uid: int, database: Database, old: int | None, expected: set[str]
) -> float:
    """Wait for another server than the old one, with exactly these words; the seconds it took."""

    def is_another() -> bool:
        now = server(node, uid, database)
        return now is not None and now != old

    def has_all() -> bool:
        return words(node, uid, database) == expected

    seconds = until(is_another, 30 * BUSY, f"another {database.page}")
    return seconds + until(has_all, 30 * BUSY, f"{database.page} has {expected}")


def server(node: Node, uid: int, database: Database) -> int | None:
    """The database's own process: the topmost whose command names it."""
    found = [
        pid for pid in processes.processes(node, uid)
        if database.server in processes.command(pid).split(" ")[0] and processes.is_alive(pid)
    ]  # fmt: skip
    return min(found) if found else None


def words(node: Node, uid: int, database: Database) -> set[str]:
    done = node.ssh(uid, database.read, check=False, timeout=60)
    return set(done.stdout.split()) if done.returncode == 0 else set()


def memory(node: Node, uid: int) -> str:
    """What the container's processes hold, without the files that the kernel may forget."""
    try:
        text = processes.cgroup_file(node, uid, "memory.stat").read_text()
    except StopIteration:
        return "no memory controller"
    numbers = dict(line.split() for line in text.splitlines())
    held = int(numbers.get("anon", numbers.get("rss", 0))) + int(numbers.get("shmem", 0))
    return f"{held / 2**20:.0f} MiB"
