"""Every language: each page of docs/languages is typed into a container and does what it says."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import BUSY
from tests.system import examples
from tests.system.conftest import CHECKOUT, Node, until
from tests.system.readers import Readings, reading
from tests.system.visitors import Visitors

pytestmark = pytest.mark.system
PAGES = [
    path
    for path in sorted((CHECKOUT / "docs/languages").glob("*.md"))
    if examples.read(path).domains
]


ASGI = CHECKOUT / "docs/languages/asgi.md"
CONTAINER = ("--memory", "1G", "--cpu", "200%")


@pytest.fixture(scope="module")
def pages(
    request: pytest.FixtureRequest, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Readings]:
    with reading(request, node, CONTAINER, tmp_path_factory.mktemp("unpacked")) as pages:
        yield pages


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_does_what_it_says(pages: Readings, page: Path) -> None:
    pages.of(page)


def test_gunicorn_replaces_its_workers_and_no_visitor_gets_an_error(
    node: Node, pages: Readings
) -> None:
    """What docs/languages/asgi.md says of SIGHUP."""
    uid = pages.of(ASGI).uid

    def workers() -> set[str]:
        command = "pgrep -P $(pgrep -o -f 'gunicorn hello:app') | sort"
        return set(node.ssh(uid, command, check=False).stdout.split())

    def are_replaced() -> bool:
        return len(workers()) == 2 and not workers() & old

    with Visitors("workers.example.org") as visitors:
        for _ in range(3):
            old = workers()
            assert len(old) == 2
            node.ssh(uid, "pkill -HUP -o gunicorn")
            until(are_replaced, 20 * BUSY, "two other workers")
    print(f"\none visitor, three times SIGHUP: {dict(visitors.statuses)}")
    assert set(visitors.statuses) == {200}
    assert visitors.statuses[200] > 20


STRICT = """
import io
from wsgiref.validate import validator

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fault":
        raise ValueError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", ascii(path))])
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if path == "/piece":
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 100000))
    if path == "/lines":
        return [b"|".join(environ["wsgi.input"])]
    stream = environ["wsgi.input"]
    return [stream.read(3), b"-", stream.readline(4), b"-", stream.read(100), stream.read(1)]

checked = validator(app)

def application(environ, start_response):
    # the validator wants its own iterator back, not a file for the kernel to send
    bare = environ["PATH_INFO"] in ("/file", "/piece", "/lines")
    return (app if bare else checked)(environ, start_response)
"""


def test_pypy_keeps_the_contract_of_wsgi(node: Node) -> None:
    node.insula("customer", "create", "strict")
    uid = node.container("strict", "strict")
    node.insula("domain", "add", "strict.example.org", "--customer", "strict")
    node.ssh(uid, "cat > strict.py", stdin=STRICT)
    vassal = "[uwsgi]\ndomain = strict.example.org\nplugin = pypy\nthreads = 4\n"
    vassal += "pypy-wsgi-file = $(HOME)/strict.py\n"
    node.ssh(uid, "cat > vassals/strict.ini", stdin=vassal)
    node.answers("strict.example.org", 200, within=60)

    def said(path: str, *options: str) -> str:
        words = ["curl", *options, f"http://strict.example.org{path}"]
        return examples.curl(shlex.join(words))

    assert said("/", "-d", "0123456789abc") == "012-3456-789abc"
    assert said("/", "-d", "01\n3") == "01\n-3-"
    assert said("/lines", "--data-binary", "a\nb\nc") == "a\n|b\n|c"
    assert said("/file") == STRICT
    assert said("/piece") == "x" * 100_000
    # a path is bytes, whatever they mean: PEP 3333 hands them over as Latin-1
    assert "x-path: '/\\xfc\\xc3\\xbc'" in said("/%FC%C3%BC", "-i").lower()
    assert said("/fault", "-o", "/dev/null", "-w", "%{http_code}") == "500"
    assert said("/", "-d", "0123") == "012-3-"
    assert "ValueError: on purpose" in node.ssh(uid, "cat logs/emperor.log").stdout
