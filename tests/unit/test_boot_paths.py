"""What the C code and the hooks of a boot, which root runs, name to the kernel: nothing new.

A rule that finds nothing in a planted line would be no rule, so each is given some.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# ---- C: what is opened, made, mounted, and why nobody can put a link there
C_CALLS = re.compile(
    r"\b(open|openat|fopen|stat|lstat|fstatat|mkdir|mkdirat|mknod|chmod|fchmodat|chown|lchown|fchownat"
    r"|mount|umount2?|unlink|unlinkat|rename|renameat|link|symlink|readlink|access|chdir|chroot"
    r"|opendir|truncate|inotify_add_watch|connect|bind)\("
)
C_ALLOWED = {
    "emperor/uwsgi/insula/care.c:look_at": "/proc",
    "emperor/uwsgi/insula/care.c:name_of": "/proc; what is read is bounded and made printable",
    "emperor/uwsgi/insula/care.c:end_silent": "a number's name in a held directory, no link",
    "emperor/uwsgi/insula/care.c:look_below": "/proc",
    "emperor/uwsgi/insula/care.c:search_below": "/proc",
    "emperor/uwsgi/insula/care.c:care_init": "root's own directory",
    "emperor/uwsgi/insula/insula.c:hook_netns": "of container.ini, see the test of its hooks",
    "emperor/uwsgi/insula/insula.c:hook_remount": "of container.ini, see the test of its hooks",
    "emperor/uwsgi/insula/insula.c:hook_mkdirs": "of container.ini, see the test of its hooks",
    "emperor/uwsgi/insula/insula.c:hook_trace": "of container.ini, see the test of its hooks",
    "emperor/uwsgi/insula/insula.c:watch_init": "as the container's uid",
    "emperor/uwsgi/insula/mask.c:mask_one": "of container.ini, see the test of its hooks",
    "emperor/uwsgi/insula/mask.c:cover_one": "of container.ini, see the test of its hooks",
    "emperor/uwsgi/insula/home.c:insula_hook_folder": "as the container's uid, or not at all",
    "emperor/uwsgi/insula/home.c:insula_hook_log": "as the container's uid, or not at all",
    "emperor/uwsgi/insula/seccomp.c:read_filter": "root's own plain file",
    "pam/pam_insula.c:open_own": "root's own plain file, no link, no waiting",
    "pam/pam_insula.c:personality_of": "/proc",
    "pam/pam_insula.c:open_procs": "the kernel's own tree, from root's own list",
    "pam/pam_insula.c:state_of": "/proc",
    "pam/pam_insula.c:enter": "/ of the container, which is the distro's",
    "pam/rights.c:insula_read_filter": "root's own plain file",
}


def c_findings(name: str, text: str) -> set[str]:
    """The functions of a C file that name a path to the kernel."""
    found, function = set(), "?"
    without = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
    for line in without.splitlines():
        head = re.match(r"(?:[a-zA-Z_][\w ]*[ *])(\w+)\(", line)
        if head and not line.rstrip().endswith(";"):
            function = head[1]
        elif C_CALLS.search(re.sub(r'"[^"]*"', '""', line)):
            found.add(f"{name}:{function}")
    return found


def test_the_c_code_opens_nothing_new() -> None:
    files = [*(ROOT / "emperor/uwsgi/insula").glob("*.c"), *(ROOT / "pam").glob("*.c")]
    assert len(files) >= 6
    found = {
        place
        for path in files
        for place in c_findings(str(path.relative_to(ROOT)), path.read_text())
    }
    assert found == set(C_ALLOWED)


def test_a_planted_call_in_c_is_found() -> None:
    text = "static int f(void)\n{\n/* open( */ return 0;\n}\nint g(char *p) {\n\tchown(p, 1, 1);\n}"
    assert c_findings("x.c", text) == {"x.c:g"}


# ---- the boot: hooks in container.ini, which root runs
HOOK = re.compile(r"^hook-(asap|as-root|as-user|emperor-start) = ([a-z0-9-]+):(.*)$")
OPTION = re.compile(r"^([a-z0-9-]+) = (.*)$")
INSIDE = "@run@/roots/%(container)"
# Where a customer (or, in 30000, the API) can write once it is mounted.
WRITABLE = [
    f"{INSIDE}/{place}"
    for place in (
        *("containers/%(container)", "usr/local", "tmp", "var/tmp", "dev/shm", "run/sockets"),
        *("run/lock", "run/user", "run/api-operator", "run/api-node", "run/backups"),
    )
]
SOURCES_THAT_ARE_THEIRS = {
    f"@lib@/pool/containers/%(container)/{name}" for name in ("home", "tmp", "sockets")
} | {"@run@/api-operator", "@run@/api-node", "@lib@/api-backups"}


def boot_lines() -> list[str]:
    texts = [ROOT / "emperor/container.ini", *(ROOT / "emperor/container.d").glob("*.ini")]
    return [line for path in texts for line in path.read_text().splitlines()]


def goes_through(path: str, places: Iterable[str]) -> bool:
    return any(path.startswith(f"{place}/") for place in places)


def hook_faults(lines: Iterable[str]) -> list[str]:
    """Hooks that go through a customer's directory, or have a path after the switch of the root."""
    faults = []
    for line in lines:
        found = HOOK.match(line)
        if found is None:
            continue
        moment, _, words = found.groups()
        if moment in ("as-user", "emperor-start"):
            continue  # these are the customer's by then
        paths = [word for word in re.split(r"[ ,=]", words) if "/" in word]
        for path in paths:
            if moment != "asap" and path != "/.old_root":
                faults.append(line)
            elif moment == "asap" and not path.startswith(("@run@/", "@lib@/", "@etc@/", "/")):
                faults.append(line)
            elif ".." in path or goes_through(path, [*WRITABLE, *SOURCES_THAT_ARE_THEIRS]):
                faults.append(line)
            elif goes_through(path, ["@lib@/pool/containers"]) and (
                path not in SOURCES_THAT_ARE_THEIRS
            ):
                faults.append(line)
    return faults


def test_no_hook_of_the_boot_goes_through_what_a_customer_can_write() -> None:
    lines = boot_lines()
    assert sum(HOOK.match(line) is not None for line in lines) > 50
    # Each of those places is there: else the list would be of another container.ini.
    text = "\n".join(lines)
    assert [place for place in WRITABLE if place not in text] == []
    assert hook_faults(lines) == []


@pytest.mark.parametrize(
    "line",
    [
        f"hook-asap = mkdirs:0755 {INSIDE}/run/sockets/new",
        f"hook-asap = mount:none @run@/x {INSIDE}/usr/local/bin bind",
        "hook-asap = mount:none @lib@/pool/containers/%(container)/home/x @run@/y bind",
        "hook-asap = mount:none @lib@/pool/containers/30000/other @run@/y bind",
        "hook-asap = write:@run@/api-node/x 0",
        "hook-as-root = chmod:/containers/30001/logs 0755",
    ],
)
def test_a_planted_hook_is_found(line: str) -> None:
    assert hook_faults([line]) == [line]


# uWSGI carries these out after its change of uid (core/uwsgi.c: uwsgi_as_root comes before chdir,
# and the Emperor starts later still).
AFTER_THE_CHANGE = {"chdir", "emperor", "env"}
MOVES_THE_CHANGE = {
    *("master-as-root", "chown-socket", "drop-after-init", "drop-after-apps", "early-emperor"),
}


def option_faults(lines: Iterable[str]) -> list[str]:
    """Options in which root would open a customer's path, or be root for longer."""
    faults = []
    for line in lines:
        found = OPTION.match(line)
        if found is None or found[1].startswith("hook-"):
            continue
        name, value = found.groups()
        is_theirs = re.search(r"(^|[ =:])/(containers|usr/local|tmp|var/tmp|run|dev/shm)/", value)
        if name in MOVES_THE_CHANGE or (is_theirs and name not in AFTER_THE_CHANGE):
            faults.append(line)
    return faults


def test_customers_paths_stand_in_options_that_count_after_the_change_of_uid() -> None:
    lines = boot_lines()
    assert "uid = %(container)" in lines
    faults = option_faults(lines)
    # The wrapper is run by the sub-Emperor, for each of the customer's vassals.
    assert faults == ["emperor-wrapper = /run/insula/vassal"]


@pytest.mark.parametrize(
    "line",
    [
        "logto = /containers/%(container)/logs/emperor.log",
        "pidfile = /tmp/emperor.pid",
        "chown-socket = 30001",
        "logger = file:/containers/30001/x",
        "early-emperor = true",
    ],
)
def test_a_planted_option_is_found(line: str) -> None:
    assert option_faults([line]) == [line]
