"""emperor/inside/vassal: declares the shortcuts by the vassal's name, refuses a wrong http-app."""

import subprocess
from pathlib import Path

import pytest

# It runs a shell, which no unit test may; it needs no root.
pytestmark = pytest.mark.kernel
INSIDE = Path(__file__).parents[2] / "emperor/inside"


def run(tmp_path: Path, vassal: str, name: str = "shop.ini") -> subprocess.CompletedProcess[str]:
    """Run the wrapper as the Emperor does; ``uwsgi`` prints the words that it was given."""
    uwsgi = tmp_path / "uwsgi"
    uwsgi.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    uwsgi.chmod(0o755)
    script = (INSIDE / "vassal").read_text()
    for there, here in (("/usr/bin/uwsgi", uwsgi), ("/run/insula", INSIDE)):
        assert there in script
        script = script.replace(there, str(here))
    (tmp_path / name).write_text(vassal)
    return subprocess.run(
        ["/bin/sh", "-c", script, "vassal", "--ini", name],
        cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def test_each_shortcut_is_declared_with_the_vassals_name(tmp_path: Path) -> None:
    done = run(tmp_path, "[uwsgi]\nhttp-app = a.test 3000\n")
    words = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert words[0::2][:-1] == ["--declare-option"] * 2
    assert words[-2:] == ["--ini", "shop.ini"]
    declared = {word.partition("=")[0]: word for word in words[1:-2:2]}
    assert set(declared) == {"domain", "http-app"}
    for text in declared.values():
        assert "socket=/run/sockets/shop.sock" in text and "%(" not in text


@pytest.mark.parametrize(
    "line",
    [
        "http-app = a.test 3000",
        "http-app=a.test 65535",
        "  http-app   =   a.test    1024  ",
        "http-app = a.test 3000\nhttp-app = b.test 3000",
        "; http-app = a.test",
        "#http-app = a.test 1",
        "http-app = $(DOMAIN) $(PORT)",
        "env = NOTE=http-app = x",
        "wsgi-file = http-app=.py",
        "domain = a.test",
    ],
)
def test_what_is_right_or_not_an_http_app_goes_on(tmp_path: Path, line: str) -> None:
    done = run(tmp_path, f"[uwsgi]\n{line}\n")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("http-app =", "write http-app = DOMAIN PORT"),
        ("http-app = a.test", "write http-app = DOMAIN PORT"),
        ("http-app = 3000 a.test x", "write http-app = DOMAIN PORT"),
        ("http-app = a.test abc", "abc is not a port"),
        ("http-app = a.test 0", "0 is not a port"),
        ("http-app = a.test 03000", "03000 is not a port"),
        ("http-app = a.test 80", "no app may listen on port 80"),
        ("http-app = a.test 65536", "65536 is not a port"),
        ("http-app = a.test 999999999999999999999", "is not a port"),
        ("http-app = a.test -1", "-1 is not a port"),
        ("http-app = a.test *", "* is not a port"),
        ("http-app = a.test 3000\nhttp-app = b.test 3001", "make a second file"),
    ],
)
def test_a_wrong_http_app_is_refused_and_named(tmp_path: Path, line: str, said: str) -> None:
    done = run(tmp_path, f"[uwsgi]\n{line}")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("shop.ini: ") and said in done.stderr


@pytest.mark.parametrize(
    ("lines", "remapped"),
    [
        ("plugin = php", "14:0"),
        ("plugins=php,router_rewrite, router_redirect", "14:0"),
        ("  plugin  =  lua", "6:0"),
        ("plugin = lua51", "6:0"),
        ("plugin = router_static\nplugin = cgi\nplugin = cgi", "9:0"),
        ("need-plugin = php", "14:0"),
        # somebody else may answer
        ("plugin = python3", None),
        ("plugin = php,python3", None),
        ("plugin = notfound\nplugin = cgi", None),
        ("plugin = php\nplugin = cgi", None),
        ("plugin = php\nplugin = $(MORE)", None),
        ("plugin = $(HOME)/php_plugin.so", None),
        # the file says it itself, before or after
        ("plugin = php\nremap-modifier = 14:0", None),
        ("remap-modifier = 14:5\nplugin = php", None),
        ("; plugin = php", None),
        ("env = plugin = php", None),
        ("plugin-dir = php", None),
        ("plugin =", None),
        ("http-app = a.test 3000", None),
    ],
)
def test_a_language_that_registers_no_app_gets_the_routers_requests(
    tmp_path: Path, lines: str, remapped: str | None
) -> None:
    done = run(tmp_path, f"[uwsgi]\n{lines}\n")
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.splitlines()
    found = words[words.index("--remap-modifier") + 1] if "--remap-modifier" in words else None
    assert found == remapped


def test_other_files_are_left_to_uwsgi(tmp_path: Path) -> None:
    assert run(tmp_path, "uwsgi:\n  http-app: a.test\n", name="shop.yaml").returncode == 0
