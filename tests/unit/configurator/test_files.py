"""The files of a container and the accounts that sshd reads."""

from insula.configurator.files import container_files, extrausers
from insula.emperor.distros.builds import Build
from insula.emperor.distros.ground import Ground
from tests.unit.configurator.examples import NODE, container


def texts(passwd: str = "root:x:0:0::/root:/bin/sh\n", key: str | None = None) -> dict[str, str]:
    files = container_files(
        NODE,
        container(),
        stands_on=Ground(Build("default", 7), passwd, "root:x:0:\n"),
        resolv_conf="nameserver 192.0.2.1\n",
        cgroups=(),
        signing_key=key,
    )
    return {file.path.name: file.data.decode() for file in files}


def test_hosts_names_the_container_by_its_own_address() -> None:
    assert texts()["hosts"] == "127.0.0.1 localhost\n10.0.0.3 shop 30001.local\n"


def test_the_customers_line_ends_the_distros_passwd() -> None:
    assert texts()["passwd"] == (
        "root:x:0:0::/root:/bin/sh\n30001:x:30001:30001:shop:/containers/30001:/bin/bash\n"
    )


def test_a_distro_cannot_give_the_uid_another_name() -> None:
    passwd = texts("evil:x:30001:0::/:/bin/sh\n30001:x:0:0::/:/bin/sh\n")["passwd"]
    assert passwd.splitlines() == ["30001:x:30001:30001:shop:/containers/30001:/bin/bash"]


def test_the_signing_key_is_the_containers_alone() -> None:
    files = container_files(
        NODE,
        container(),
        stands_on=Ground(Build("default", 7), "", ""),
        resolv_conf="",
        cgroups=(),
        signing_key="secret",
    )
    key = next(file for file in files if file.path.name == "signing.pem")
    assert (key.mode, key.group) == (0o440, 30001)
    assert "secret" not in repr(key)


def test_accounts_of_containers_that_are_not_mentioned_stay() -> None:
    present = {"passwd": "30009:x:30009:30009:old:/containers/30009:/bin/bash\n"}
    files = {file.path.name: file for file in extrausers(NODE, (container(),), present)}
    assert files["passwd"].data.decode().splitlines() == [
        "30001:x:30001:30001:shop:/containers/30001:/bin/bash",
        "30009:x:30009:30009:old:/containers/30009:/bin/bash",
    ]
    assert files["shadow"].data == b"30001:*:19000:0:99999:7:::\n"
    assert files["shadow"].mode == 0o600


def test_a_destroyed_container_has_no_account() -> None:
    present = {"shadow": "30001:*:19000:0:99999:7:::\n"}
    files = extrausers(NODE, (container(state="destroyed"),), present)
    assert [file.data for file in files] == [b"", b"", b""]
