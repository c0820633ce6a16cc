"""Pages that can be executed: what docs/ tells the reader to type is typed, what it shows comes.

```sh       typed over ssh into a container, block by block, each in a shell of its own
```console  ``$ curl …`` is run outside, against the router; below it stands the answer, in which
            ``...`` stands for anything. The first one of a block is repeated until it fits.

``<!-- unpacked: DEB:PATH as NAME -->`` puts a part of a Debian package (the path may hold ``*``)
where the reader has unpacked a download. The domains in the page's vassal files are attached first.
"""

import re
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.patience import BUSY
from tests.system import indexes
from tests.system.conftest import HTTP_PORT, HTTPS_PORT, Node

_FENCE = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DOMAIN = re.compile(r"^(?:domain|http-app) *= *([A-Za-z0-9.*-]+)", re.MULTILINE)
_UNPACKED = re.compile(r"^<!-- unpacked: (\S+):(\S+) as (\S+) -->$", re.MULTILINE)
_TYPED_SECONDS = 60 * BUSY
_ANSWER_SECONDS = 15 * BUSY


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page, and where it starts."""

    page: Path
    line: int
    kind: str
    text: str

    def failed(self, why: str, output: str) -> AssertionError:
        return AssertionError(f"{self.page}:{self.line}: {why}\n{self.text}\n--- got\n{output}")


@dataclass(frozen=True, slots=True)
class Page:
    """What a page asks for and shows."""

    path: Path
    blocks: tuple[Block, ...]
    domains: tuple[str, ...]
    # (Debian package, path in it, name below the home)
    unpacked: tuple[tuple[str, str, str], ...]


def read(path: Path) -> Page:
    """The blocks, domains and downloads of a page, in its order."""
    text = path.read_text()
    blocks = [
        Block(path, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in _FENCE.finditer(text)
    ]
    typed = "\n".join(block.text for block in blocks if block.kind == "sh")
    domains = tuple(dict.fromkeys(_DOMAIN.findall(typed)))
    unpacked = [(found[1], found[2], found[3]) for found in _UNPACKED.finditer(text)]
    return Page(path, tuple(blocks), domains, tuple(unpacked))


def play(page: Page, node: Node, uid: int, customer: str, work: Path) -> None:
    """Execute a page in a customer's container. Raises AssertionError at the first difference.

    ``work`` is an empty directory for what it downloads.
    """
    for domain in page.domains:
        node.insula("domain", "add", domain, "--customer", customer)
    bring(page, node, uid, work)
    environment = indexes.words(node, uid)
    for block in page.blocks:
        if block.kind == "sh":
            type_in(block, node, uid, environment)
        else:
            visit(block, node, uid)


def type_in(block: Block, node: Node, uid: int, environment: str = "") -> str:
    """Run a ``sh`` block in the container, as typed; return what it printed."""
    prelude = f"export {environment}\n" if environment else ""
    done = node.ssh(
        uid, "bash -euo pipefail -s", stdin=prelude + block.text, check=False,
        timeout=_TYPED_SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        raise block.failed(f"exit status {done.returncode}", done.stdout + done.stderr)
    return done.stdout


def visit(block: Block, node: Node, uid: int) -> None:
    """Run the curls of a ``console`` block and compare; the first may need some tries."""
    parts = re.split(r"^\$ (.+)\n", block.text, flags=re.MULTILINE)
    if parts[0] or len(parts) < 3:
        raise block.failed("a console block starts with `$ curl …`", "")
    for number, (command, shown) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
        if not shown.replace("...", "").strip():
            raise block.failed(f"{command} shows nothing that could be told from an error", "")
        deadline = time.monotonic() + (_ANSWER_SECONDS if number == 0 else 0)
        while not fits(shown, output := curl(command)):
            if time.monotonic() > deadline:
                raise block.failed(f"{command} said something else", output + _logs(node, uid))
            time.sleep(0.2)


def fits(shown: str, output: str) -> bool:
    """Whether an output is what a page shows; ``...`` stands for anything, also for many lines."""
    pattern = re.escape(_trimmed(shown)).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, _trimmed(output), re.DOTALL) is not None


def curl(command: str) -> str:
    """Run a page's curl against the tests' node instead of the real domain."""
    words = shlex.split(command)
    assert words[0] == "curl", f"only curl runs outside, not {command}"
    there = ["--connect-to", f":443:127.0.0.1:{HTTPS_PORT}", "--insecure"]
    there += ["--connect-to", f":80:127.0.0.1:{HTTP_PORT}"]
    # -sS last: a page may write a bare `curl`, as people do
    argv = [*words, *there, "--max-time", "20", "-sS"]
    done = subprocess.run(argv, capture_output=True, timeout=60)
    return (done.stdout + done.stderr).decode(errors="replace")


def bring(page: Page, node: Node, uid: int, work: Path) -> None:
    """Put the parts of Debian packages into a container's home, as if they were unpacked there."""
    if not page.unpacked:
        return
    packages = list(dict.fromkeys(package for package, _, _ in page.unpacked))
    subprocess.run(
        ["apt-get", "--quiet", "download", *packages], cwd=work, check=True,
        timeout=60 * BUSY, capture_output=True,
    )  # fmt: skip
    home = work / "home"
    for package, inside, name in page.unpacked:
        tree = work / package
        if not tree.exists():
            deb = next(work.glob(f"{package}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", deb, tree], check=True, timeout=60 * BUSY)
        source = min(tree.glob(inside))
        (home / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", f"{source}/.", home / name], check=True, timeout=60)
    with subprocess.Popen(["tar", "-C", home, "-cz", "."], stdout=subprocess.PIPE) as tar:
        # the home's own mode and time stay
        unpack = [
            *node.ssh_words(),
            f"{uid}@127.0.0.1",
            "tar -xz --no-same-owner --no-overwrite-dir",
        ]
        subprocess.run(unpack, stdin=tar.stdout, check=True, timeout=60 * BUSY)
    assert tar.returncode == 0


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _logs(node: Node, uid: int) -> str:
    return node.ssh(uid, "echo '--- logs'; tail -n 40 logs/*.log", check=False).stdout
