"""Root walks no path that a customer can write: what does, is in one package, and listed.

Each rule finds places in the source; each place that may stay has its reason here. A rule that
finds nothing in a planted line would be no rule, so each is given one.
"""

import ast
import functools
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from insula.emperor.kernel.beneath import actions

ROOT = Path(__file__).parents[2]
FOLDERS = ("collector", "configurator", "dominator", "emperor")
# The package itself; what runs inside containers as their uid; what plays a customer on purpose (it
# is a command of root's, so the guard of beneath is on it).
ELSEWHERE = ("emperor/kernel/beneath/", "emperor/distros/plugins/", "emperor/isolation/")

# What of ``Paths`` leads to directories in which a customer (or the API's container) can write.
GROUND = {"containers", "removed", "apps", "api_backups", "api_operator", "api_node"}
WORDS = re.compile(r"(^|/)(home|sockets|\.ssh)(/|$)|pool/containers")
TERMINALS = re.compile(r"/dev/(pts|tty|console)|\b[uw]tmp\b")
TOOLS = {
    *("rmtree", "copytree", "move", "walk", "fwalk", "chown", "lchown", "hardlink_to", "link"),
    *("rglob", "removexattr", "setxattr"),
}
TOOL_MODULES = {"shutil", "os"}
BY_DESCRIPTOR = {"dir_fd", "src_dir_fd", "dst_dir_fd"}
CONNECTS = {"connect", "connect_ex", "sendto"}

# The function (or the whole file) and why it may.
ALLOWED: dict[str, dict[str, str]] = {
    "ground": {
        "configurator/__main__.py:_main": "the API's socket, handed to beneath.connect",
        "configurator/__main__.py:_key_store": "the API's socket, handed to beneath.connect",
        "configurator/daemon.py:send_report": "the API's socket, handed to beneath.connect",
        "collector/__main__.py:Daemon._send": "the API's socket, handed to beneath.connect",
        "dominator/daemon.py:Daemon.__init__": "the API's socket; a text to compare addresses with",
        "dominator/daemon.py:Daemon._is_own_socket": "as the dominator, in a view without links",
        "emperor/apidata.py:make_place": "makes the directory itself",
        "emperor/apidata.py:backups": "lists names, opens nothing",
        "emperor/apidata.py:_chosen": "a text for the operator",
        "emperor/demo.py:_call": "the API's socket, handed to beneath.connect",
        "emperor/distros/grounding.py:tell": "the API's socket, handed to beneath.connect",
        "emperor/distros/watching.py:announced": "a text to compare addresses with",
        "emperor/distros/watching.py:last_lines": "held",
        "emperor/doctor.py:pool": "is the pool mounted?",
        "emperor/removed.py:listed": "root's own names",
        "emperor/removed.py:purge": "a name that was listed, deleted by Held.remove",
        "emperor/rundir.py:directories": "makes the directories themselves",
        "emperor/service.py:_show_apps": "binds the directory itself, for the router",
        "emperor/sshd.py:build_root": "binds the directory itself; sshd's helper reads as the uid",
        "emperor/sshd.py:start": "is it there?",
        "emperor/status.py:api_release": "the API's socket, handed to beneath.connect",
        "emperor/storage/btrfs.py:BtrfsStorage.create_container": "root's own names",
        "emperor/storage/btrfs.py:BtrfsStorage.has_container": "root's own names",
        "emperor/storage/btrfs.py:BtrfsStorage.set_aside": "root's own names",
        "emperor/storage/directory.py:DirectoryStorage.create_container": "root's own names",
        "emperor/storage/directory.py:DirectoryStorage.has_container": "root's own names",
        "emperor/storage/directory.py:DirectoryStorage.set_aside": "root's own names",
        "emperor/storage/directory.py:DirectoryStorage.used_bytes": "root's own names",
        "emperor/storage/layout.py:aside": "root's own names",
        "emperor/storage/layout.py:prepare_pool": "makes the directories themselves",
        "emperor/storage/layout.py:unfinished": "root's own names",
        "emperor/wait.py:_reason": "the API's socket, handed to beneath.connect",
    },
    "words": {
        "dominator/daemon.py:Daemon._is_own_socket": "as the dominator, in a view without links",
        "dominator/gate.py:<module>": "a path inside, as apps say it",
        "dominator/gate.py:Gate._address": "a text for the router, which has the same view",
        "dominator/gate.py:Gate._notify": "a text for the dominator's answer in the same view",
        "emperor/distros/watching.py:last_lines": "below a held descriptor",
        "emperor/storage/layout.py:fill": "below a held descriptor",
        "emperor/uwsgi/insula/uwsgiplugin.py": "the name of a source file",
    },
    # Nothing is written to the terminals of sessions, or to lists of them.
    "terminals": {},
    "alias": {},
    "tools": {
        "emperor/distros/imaging.py": "a stranger's image, in mounts that nobody else sees",
        "emperor/distros/tree.py": "a distro that is just made and that nobody else can write",
        "emperor/distros/unpacking.py": "behind a changed root",
        "emperor/kernel/cgroup.py": "the kernel's own tree; containers see it read-only or not",
        "emperor/release.py": "<lib>/api, which the API's container sees read-only",
        "emperor/rundir.py:directory": "a name in a directory of root's",
        "emperor/up.py:_remove_old_environments": "<lib>/venvs, root's",
        "emperor/uwsgi_build.py": "the product's own sources, root's",
    },
    "descriptor": {
        "emperor/distros/imaging.py": "a stranger's image, in mounts that nobody else sees",
        "emperor/distros/unpacking.py": "behind a changed root",
    },
    "connect": {
        "collector/sources/router.py:ask": "as the collector",
        "configurator/wake.py:wake": "a socket of the Emperor's in root's directory",
        "dominator/daemon.py:Daemon._do": "as the dominator, in a view without links",
        "dominator/router.py:Router.send": "as the dominator",
    },
}


def sources() -> dict[str, str]:
    """Every source of the node that root or a service of the platform may run."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not name.startswith(ELSEWHERE) and "__pycache__" not in path.parts:
                found[name] = path.read_text()
    return found


class Finder(ast.NodeVisitor):
    """Notes what each rule finds in one module, by the function in which it stands."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inside: list[str] = []
        self.found: dict[str, set[str]] = {rule: set() for rule in ALLOWED}

    def note(self, rule: str) -> None:
        self.found[rule].add(f"{self.name}:{'.'.join(self.inside) or '<module>'}")

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.inside.append(node.name)
        for child in ast.iter_child_nodes(node):
            self.visit(child)
        self.inside.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _definition

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring does nothing
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in GROUND and is_paths(node.value):
            self.note("ground")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and WORDS.search(node.value):
            self.note("words")
        if isinstance(node.value, str) and TERMINALS.search(node.value):
            self.note("terminals")

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation is not None and node.arg != "paths":
            if ast.unparse(node.annotation).strip("\"'") == "Paths":
                self.note("alias")

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._check_names(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._check_names(node.target, node.value)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._check_names(node.target, node.value)
        self.generic_visit(node)

    def _check_names(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._check_names(one, other)
        elif is_paths(value) and ast.unparse(target).rpartition(".")[2] != "paths":
            self.note("alias")

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        if isinstance(called, ast.Attribute):
            self._check_method(called)
        elif isinstance(called, ast.Name):
            if called.id in ("rmtree", "copytree"):
                self.note("tools")
            if called.id in ("getattr", "vars") and node.args and is_paths(node.args[0]):
                self.note("alias")
        if any(word.arg in BY_DESCRIPTOR for word in node.keywords):
            self.note("descriptor")
        self.generic_visit(node)

    def _check_method(self, called: ast.Attribute) -> None:
        of = called.value.id if isinstance(called.value, ast.Name) else ""
        if called.attr in TOOLS and (of in TOOL_MODULES or called.attr in ("rglob", "hardlink_to")):
            self.note("tools")
        if called.attr in CONNECTS and of != "beneath":
            self.note("connect")


def is_paths(node: ast.expr) -> bool:
    """True for an expression that is a ``Paths`` by its name or its making."""
    if isinstance(node, ast.Name):
        return node.id == "paths"
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "Paths"
    return isinstance(node, ast.Attribute) and node.attr == "paths"


def findings(texts: dict[str, str]) -> dict[str, set[str]]:
    """What each rule finds."""
    found: dict[str, set[str]] = {rule: set() for rule in ALLOWED}
    for name, text in texts.items():
        finder = Finder(name)
        finder.visit(ast.parse(text))
        for rule, places in finder.found.items():
            found[rule] |= places
    return found


@functools.cache
def of_the_product() -> dict[str, set[str]]:
    return findings(sources())


def differences(rule: str, found: Iterable[str] | None = None) -> list[str]:
    """What is not listed, and what is listed and gone."""
    places = set(of_the_product()[rule] if found is None else found)
    allowed = set(ALLOWED[rule])
    files = {place.partition(":")[0] for place in places}
    new = {place for place in places if not {place, place.partition(":")[0]} & allowed}
    gone = {entry for entry in allowed if entry not in places | files}
    return [f"new: {place}" for place in sorted(new)] + [f"gone: {place}" for place in sorted(gone)]


def test_only_listed_code_reaches_for_customers_ground() -> None:
    """``Paths`` gives out no path below a home; what is left leads to names of root's own."""
    assert differences("ground") == []


@pytest.mark.parametrize("rule", [rule for rule in ALLOWED if rule != "ground"])
def test_only_listed_code_has_the_means(rule: str) -> None:
    assert differences(rule) == []


PLANTED = {
    "a home by its name": ("ground", "def look(node): return (node.paths.containers / '1').stat()"),
    "a method of a class": ("ground", "class A:\n def f(self): return self.paths.removed"),
    "Paths made on the spot": ("ground", "def f(root): return Paths(root).apps"),
    "the API's directory": ("ground", "def f(paths): open(paths.api_operator)"),
    "another name for it": ("alias", "def f(node):\n where = node.paths\n where.containers"),
    "another name in a pair": ("alias", "def f(node): a, b = 1, node.paths"),
    "a name in passing": ("alias", "def f(node):\n if (where := node.paths): pass"),
    "an argument of another name": ("alias", "def f(where: Paths): pass"),
    "by a text": ("alias", "def f(paths): return getattr(paths, 'cont' + 'ainers')"),
    "a piece of a path": ("words", "def f(top, uid): return open(f'{top}/{uid}/home/logs')"),
    "a whole path": ("words", "def f(): return open('/var/lib/insula/pool/containers/30001')"),
    "a line to a terminal": ("terminals", "def f(n): open(f'/dev/pts/{n}', 'w').write('x')"),
    "a way to delete": ("tools", "import shutil\ndef f(place): shutil.rmtree(place)"),
    "imported by name": ("tools", "from shutil import rmtree\ndef f(place): rmtree(place)"),
    "a way to give away": ("tools", "import os\ndef f(place): os.chown(place, 1, 1)"),
    "a walk": ("tools", "import os\ndef f(place): list(os.walk(place))"),
    "a descriptor of its own": ("descriptor", "def f(fd): os.open('logs', 0, dir_fd=fd)"),
    "a socket by its path": ("connect", "def f(s, path): s.connect(str(path))"),
}


@pytest.mark.parametrize(("rule", "line"), PLANTED.values(), ids=PLANTED)
def test_a_planted_line_is_found(rule: str, line: str) -> None:
    found = findings({"configurator/hands.py": "x = 1\n" + line})[rule]
    assert [item for item in differences(rule, found) if item.startswith("new: configurator/hands")]


@pytest.mark.parametrize("name", ["home", "tmp", "sockets"])
def test_paths_gives_out_none_below_a_home(name: str) -> None:
    from insula.emperor.settings import Paths

    assert not hasattr(Paths(Path("/")), name)
    given = [value for value in _all_paths(Paths(Path("/n"))) if "/containers/" in f"{value}/"]
    assert [str(value) for value in given] == ["/n/var/lib/insula/pool/containers"]


def _all_paths(paths: object) -> Iterator[Path]:
    for name in dir(type(paths)):
        value = None if name.startswith("_") else getattr(paths, name)
        if callable(value):
            value = value(30001) if name != "trace" else value("boot", 30001)
        if isinstance(value, Path):
            yield value


def calls_in(path: str, function: str) -> list[str]:
    """The names of what a function calls, in the order of the lines."""
    tree = ast.parse((ROOT / path).read_text())
    found = [
        item
        for item in ast.walk(tree)
        if isinstance(item, ast.FunctionDef) and item.name == function
    ]
    assert len(found) == 1, f"{path} has no {function}"
    calls = [item for item in ast.walk(found[0]) if isinstance(item, ast.Call)]
    calls.sort(key=lambda item: (item.lineno, item.col_offset))
    return [ast.unparse(item.func) for item in calls]


def test_a_command_becomes_the_container_before_it_goes_home() -> None:
    order = ["privileges.become", "syscalls.apply_filter", "os.chdir", "os.execvpe"]
    calls = calls_in("emperor/cli/enter.py", "_become_command")
    assert [name for name in calls if name in order] == order
    assert calls_in("emperor/cli/logs.py", "logs")[-3:] == [
        "run_inside", "identity.parse_uid", "tail",
    ]  # fmt: skip
    assert "subprocess.run" in calls_in("emperor/apidata.py", "_run_inside")
    assert '"enter", str(API_UID)' in (ROOT / "emperor/apidata.py").read_text()


# ---- the table
@pytest.mark.parametrize("action", actions.ACTIONS, ids=lambda action: action.what)
def test_an_action_names_code_and_tests_that_are_there(action: actions.Action) -> None:
    place, colon, rest = action.where.partition(": ")
    if colon:
        assert rest in (ROOT / place).read_text(), action.where
    else:
        module, _, names = action.where.partition(":")
        found: object = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
        assert callable(found)
    assert action.shown_by
    for test in action.shown_by:
        file, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), test


def test_the_page_is_the_table() -> None:
    """python -m insula.emperor.kernel.beneath.actions > docs/customer-paths.md"""
    assert (ROOT / "docs/customer-paths.md").read_text() == actions.page()
