"""Each command's request to the API, and what it prints of the answer."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import ANN, SHOP_DOMAIN, FakeApi, Insula, applied, container

KEY = "ssh-ed25519 AAAAC3Nz me@laptop"
TOKEN = {"name": "cli", "token": "insula_pat_x", "expires": None}
LISTED = {"id": 3, "name": "ann's", "created": "", "expires": None, "last_used": None}

# words, the request, its body, the answer
COMMANDS: list[tuple[str, str, object, Any]] = [
    ("customer create ann", "POST customers", {"name": "ann", "email": ""}, ANN),
    (
        "customer create ann --email a@b.org",
        "POST customers",
        {"name": "ann", "email": "a@b.org"},
        ANN,
    ),
    ("customer list", "GET customers", None, [ANN]),
    ("customer show ann", "GET customers/ann", None, ANN),
    ("customer token ann", "POST customers/ann/tokens", {"name": "cli"}, TOKEN),
    ("customer token ann --label ci", "POST customers/ann/tokens", {"name": "ci"}, TOKEN),
    ("customer tokens ann", "GET customers/ann/tokens", None, [LISTED]),
    ("customer revoke ann 3", "DELETE customers/ann/tokens/3", None, LISTED),
    ("container create --name shop", "POST containers", {"name": "shop"}, container()),
    (
        "container create --customer ann --name shop --memory 512M --storage 2G --cpu 50%"
        " --pids 99 --distro noble",
        "POST containers",
        {
            "customer": "ann",
            "name": "shop",
            "memory_bytes": 512 << 20,
            "storage_bytes": 2 << 30,
            "cpu_percent": 50,
            "pids_max": 99,
            "distro": "noble",
        },
        container(),
    ),
    ("container list", "GET containers", None, [container()]),
    ("container list --customer ann", "GET containers?customer=ann", None, [container()]),
    ("container list --all", "GET containers?state=all", None, [container(state="destroyed")]),
    ("container show 30002", "GET containers/30002", None, container(applied=applied())),
    ("container set 30002 --cpu 2", "PATCH containers/30002", {"cpu_percent": 200}, container()),
    ("container reboot 30002", "POST containers/30002/reboot", None, container(generation=2)),
    (
        "domain add shop.example.org --customer ann",
        "POST domains",
        {"name": "shop.example.org", "customer": "ann"},
        SHOP_DOMAIN,
    ),
    ("domain add .example.org", "POST domains", {"name": ".example.org"}, SHOP_DOMAIN),
    ("domain list", "GET domains", None, [SHOP_DOMAIN]),
    ("domain list --customer ann", "GET domains?customer=ann", None, [SHOP_DOMAIN]),
    ("domain remove shop.example.org", "DELETE domains/shop.example.org", None, SHOP_DOMAIN),
    ("domain remove Shop.Example.Org.", "DELETE domains/shop.example.org", None, SHOP_DOMAIN),
]
_SHOWN = {"customer token": "insula_pat_x", "customer": "ann", "container": "30002"}


@pytest.mark.parametrize(("words", "line", "body", "answer"), COMMANDS, ids=lambda item: str(item))
def test_a_command_sends_its_one_request_and_prints_the_answer(
    insula: Insula, api: FakeApi, words: str, line: str, body: object, answer: Any
) -> None:
    api.will_answer(answer)
    done = insula(*words.split(), "--json")
    method, _, path = line.partition(" ")
    assert api.lines == [f"{method} /api/v1/{path}"]
    assert api.bodies == ([] if body is None else [body])
    assert (done.code, done.json, done.err) == (0, answer, "")


@pytest.mark.parametrize(("words", "answer"), [(item[0], item[3]) for item in COMMANDS])
def test_without_json_a_person_can_read_it(
    insula: Insula, api: FakeApi, words: str, answer: Any
) -> None:
    api.will_answer(answer)
    done = insula(*words.split())
    noun, verb = words.split()[:2]
    shown = _SHOWN.get(f"{noun} {verb}") or _SHOWN.get(noun, "shop.example.org")
    assert done.code == 0
    assert shown in done.out
    assert "{" not in done.out


def test_json_is_taken_before_the_subcommand_too(insula: Insula, api: FakeApi) -> None:
    api.will_answer([container()])
    assert insula("--json", "container", "list").json == [container()]


def test_a_colon_joins_noun_and_verb(insula: Insula, api: FakeApi) -> None:
    api.will_answer(container())
    assert insula("container:create", "--name", "shop").code == 0
    assert api.bodies == [{"name": "shop"}]


@pytest.mark.parametrize("word", ["container:nope", "nope:create", "version:x", ":", "container:"])
def test_an_unknown_colon_word_is_a_usage_error(insula: Insula, api: FakeApi, word: str) -> None:
    done = insula(word)
    assert (done.code, done.out, api.lines) == (2, "", [])
    assert done.err.splitlines()[-2].startswith(f"error: no such command '{word}'")


def test_the_operators_socket_needs_no_token(insula: Insula, api: FakeApi) -> None:
    api.will_answer([])
    insula("container", "list")
    assert "authorization" not in api.requests[0].headers
    assert api.options["trust_env"] is False


def test_an_empty_list_is_said_on_stderr_and_empty_as_json(insula: Insula, api: FakeApi) -> None:
    api.will_answer([])
    done = insula("domain", "list")
    assert (done.out, done.err) == ("", "none\n")
    assert insula("domain", "list", "--json").json == []


def test_a_new_token_alone_goes_to_stdout(insula: Insula, api: FakeApi) -> None:
    api.will_answer(TOKEN)
    done = insula("customer", "token", "ann")
    assert done.out == "insula_pat_x\n"
    assert done.err == "Keep it now: it is not shown again.\n"


def test_an_operators_password_is_made_and_shown_once(insula: Insula, api: FakeApi) -> None:
    api.will_answer({"name": "jo"})
    done = insula("operator", "create", "jo", "--json")
    assert api.lines == ["POST /api/v1/operators"]
    assert done.json == {"name": "jo", "password": api.bodies[0]["password"]}
    assert len(done.json["password"]) >= 12


def test_a_password_of_ones_own_comes_from_a_file_and_is_not_shown(
    insula: Insula, api: FakeApi, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    path.write_text("correct horse battery\nsecond line\n")
    api.will_answer({"name": "jo"})
    done = insula("operator", "create", "jo", "--password-file", str(path))
    assert api.bodies == [{"name": "jo", "password": "correct horse battery"}]
    assert "correct" not in done.out + done.err


def test_a_tokens_end_is_sent_with_its_time_zone(insula: Insula, api: FakeApi) -> None:
    api.will_answer(TOKEN)
    insula("customer", "token", "ann", "--expires", "2027-01-01")
    assert api.bodies[0]["expires"].startswith("2027-01-01T00:00:00+")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("customer show ../containers", "NAME: '../containers' is not a name"),
        ("customer token a/b", "NAME: 'a/b' is not a name"),
        ("domain remove ..", "NAME: '..' is not a domain"),
        ("domain remove a/b.org", "NAME: 'a/b.org' is not a domain"),
        ("container show 30002/reboot", "'30002/reboot' is not a container's uid"),
        ("container reboot 030002", "'030002' is not a container's uid"),
        ("container destroy 1 --yes", "'1' is not a container's uid"),
    ],
)
def test_what_is_no_name_never_becomes_part_of_an_address(
    insula: Insula, api: FakeApi, words: str, says: str
) -> None:
    done = insula(*words.split())
    assert (done.code, done.out, api.lines) == (2, "", [])
    assert done.err.splitlines()[0] == f"error: {says}"


def test_set_without_a_change_is_a_usage_error(insula: Insula, api: FakeApi) -> None:
    done = insula("container", "set", "30002")
    assert (done.code, api.lines) == (2, [])
    assert "nothing to change" in done.err


def test_set_says_on_stderr_what_each_change_takes(insula: Insula, api: FakeApi) -> None:
    api.will_answer(container() | {"effects": {"memory_bytes": "live", "distro": "restart"}})
    done = insula("container", "set", "30002", "--memory", "1G", "--distro", "noble", "--json")
    assert done.err == "distro: restart\nmemory_bytes: live\n"
    assert done.json["uid"] == 30002


@pytest.mark.parametrize("option", ["--memory=0", "--memory=31M", "--storage=1M", "--pids=0"])
def test_a_limit_that_is_too_small_is_refused_here(
    insula: Insula, api: FakeApi, option: str
) -> None:
    done = insula("container", "create", "--name", "shop", option)
    assert (done.code, api.lines) == (2, [])
    assert f"error: invalid value for '{option.partition('=')[0]}'" in done.err


def test_every_key_of_every_file_is_sent(insula: Insula, api: FakeApi, tmp_path: Path) -> None:
    one, two = tmp_path / "one.pub", tmp_path / "two.pub"
    one.write_text(f"# laptop\n\n{KEY}\n")
    two.write_text("ssh-rsa BBBB\r\nssh-rsa CCCC a b c\n")
    api.will_answer(container())
    insula("container", "create", "--name", "shop", "--ssh-key", str(one), "--ssh-key", str(two))
    assert api.bodies[0]["ssh_keys"] == [KEY, "ssh-rsa BBBB", "ssh-rsa CCCC a b c"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no public key"),
        ("# only a comment\n", "holds no public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n", "is not a public key line"),
        ('command="id" ssh-rsa AAAA\n', "is not a public key line"),
    ],
)
def test_a_file_without_a_public_key_is_refused_and_not_shown(
    insula: Insula, api: FakeApi, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "id"
    path.write_text(text)
    done = insula("container", "create", "--name", "shop", "--ssh-key", str(path))
    assert (done.code, api.lines) == (2, [])
    assert done.err.splitlines()[0] == f"error: {path}: {says}"
    assert "secret" not in done.err


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (None, "applied    the node has not reported about it yet"),
        (applied(revision=6), "applied    revision 6 of 7"),
        (applied(error="disk full"), "applied    failed: disk full"),
    ],
)
def test_show_tells_what_the_node_has_made_of_it(
    insula: Insula, api: FakeApi, state: object, line: str
) -> None:
    api.will_answer(container(applied=state))
    assert line in insula("container", "show", "30002").out.splitlines()


def test_what_is_not_measured_is_not_shown_as_a_number(insula: Insula, api: FakeApi) -> None:
    api.will_answer(container(applied=applied(disk_used_bytes=-1)))
    assert "disk used  not measured yet" in insula("container", "show", "30002").out
