"""Starts the platform's own sshd on a small root of its own, beside the machine's sshd.

The root holds the machine's programs, the containers' accounts and keys, and our PAM stack; so the
machine's sshd, nsswitch.conf and PAM stay as they are, and its own accounts cannot log in here.
"""

import argparse
import os
import pwd
import shutil
import signal
import sys
from importlib.resources import files
from pathlib import Path

from insula.emperor import settings
from insula.emperor.command import run
from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import PreparationError
from insula.emperor.kernel import libc, mounts, namespaces, privileges
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError

SSHD = Path("/usr/sbin/sshd")
# Split off in OpenSSH 9.8, the release that also brought penalties.
SSHD_SESSION = Path("/usr/lib/openssh/sshd-session")
NSS = "libnss_extrausers.so.2"
HOST_KEYS = ("ed25519", "ecdsa")
# A client takes its own first choice among these. The post-quantum sntrup761x25519 would be most
# clients' and costs a login 56 ms of 140; docs/ssh.md says how to add it.
KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
MODULE_NAME = "pam_insula.so"
# glibc reads nsswitch.conf again when it looks different, except when "/" is another one by then;
# but it takes that care only for a database that has a line (nss/nss_database.c). So initgroups
# needs one: without it, sshd's monitor would load name service modules out of the container.
NSSWITCH = """\
# The platform's sshd knows the containers' accounts and the two of its own, nothing else.
passwd:     files extrausers
group:      files extrausers
initgroups: files extrausers
shadow:     files extrausers
gshadow:    files
hosts:      files
"""
_PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_COPIED = ("ld.so.cache", "localtime", "ssl/openssl.cnf")
_MS_REC = 0x4000


def install(node: Node, *, module: Path | None = None) -> bool:
    """Write sshd's files below ``<etc>/ssh``, the host keys once, and the module into ``<lib>``.

    ``module`` is the built pam_insula.so; by default the checkout's. Returns True when something
    changed, which a running sshd takes up at its next start. Raises PreparationError.
    """
    source = module or Path(__file__).resolve().parent.parent / "pam" / MODULE_NAME
    if not source.is_file():
        raise PreparationError(f"{source} is not built", "run: make -C pam")
    _check_machine()
    ssh = node.paths.ssh
    for directory in (ssh, ssh / "authorized_keys"):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for kind in HOST_KEYS:
        _host_key(ssh / f"ssh_host_{kind}_key", kind)
    return any(
        [
            write_atomic(ssh / "sshd_config", sshd_config(node).encode()),
            write_atomic(ssh / "pam", _unit("pam-insula").encode()),
            write_atomic(ssh / "nsswitch.conf", NSSWITCH.encode()),
            write_atomic(node.paths.lib / MODULE_NAME, source.read_bytes()),
        ]
    )


def sshd_config(node: Node, *, session: Path = SSHD_SESSION) -> str:
    """The shipped sshd_config with this node's port, in the words of the machine's OpenSSH."""
    text = _unit("sshd_config").replace("@ssh_port@", str(node.settings.ssh_port))
    # An older sshd refuses a file with a word that it does not know.
    penalties = "PerSourcePenalties no" if session.exists() else "# not in this OpenSSH"
    return text.replace("@kex@", ",".join(KEX)).replace("@penalties@", penalties)


def _unit(name: str) -> str:
    return (files("insula.emperor") / "units" / name).read_text()


def _check_machine() -> None:
    if not SSHD.exists():
        raise PreparationError(f"{SSHD} is missing", "apt-get install openssh-server")
    if not any(path.exists() for path in _nss_places()):
        raise PreparationError(f"{NSS} is missing", "apt-get install libnss-extrausers")


def _nss_places() -> list[Path]:
    triplet = f"{os.uname().machine}-linux-gnu"
    return [Path("/usr/lib") / NSS, Path("/usr/lib") / triplet / NSS, Path("/lib") / triplet / NSS]


def _host_key(path: Path, kind: str) -> None:
    if path.exists():
        return
    # Made beside and renamed: a crash leaves no half key that sshd would then refuse.
    unfinished = path.with_name(f".{path.name}")
    for leftover in (unfinished, unfinished.with_name(f"{unfinished.name}.pub")):
        leftover.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "insula", "-f", str(unfinished)])
    os.rename(f"{unfinished}.pub", f"{path}.pub")
    os.rename(unfinished, path)


def accounts() -> dict[str, str]:
    """passwd and group of the small root: root, and the account of sshd's unprivileged part."""
    try:
        sshd = pwd.getpwnam("sshd")
    except KeyError as error:
        raise PreparationError(
            "the account sshd is missing", "apt-get install openssh-server"
        ) from error
    nologin = "/usr/sbin/nologin"
    return {
        "passwd": f"root:x:0:0:root:/:{nologin}\n"
        f"sshd:x:{sshd.pw_uid}:{sshd.pw_gid}::/run/sshd:{nologin}\n",
        "group": f"root:x:0:\ntty:x:5:\nsshd:x:{sshd.pw_gid}:\n",
    }


def build_root(node: Node, top: Path) -> None:
    """Build sshd's root on the directory ``top``, in a mount namespace that is ours already."""
    paths = node.paths
    libc.call(
        "mount", b"tmpfs", os.fsencode(top), b"tmpfs", 0, b"size=2m,mode=755", about="sshd's root"
    )
    for name in _PROGRAMS:
        place = Path("/") / name
        if place.is_symlink():
            (top / name).symlink_to(os.readlink(place))
        elif place.is_dir():
            _bind(place, top / name)
    for source, target in (
        (Path("/proc"), "proc"),
        (Path("/dev"), "dev"),
        (Path("/sys/fs/cgroup"), "sys/fs/cgroup"),
        (paths.ssh, "etc/ssh"),
        (paths.extrausers, "var/lib/extrausers"),
        (paths.containers, "containers"),
        (paths.run / "cgroups", "run/insula/cgroups"),
        (paths.container_files(0).parent, "var/lib/insula/files"),
    ):
        _bind(source, top / target)
    # where /dev/log points on a machine with systemd
    if Path("/run/systemd/journal").is_dir():
        _bind(Path("/run/systemd/journal"), top / "run/systemd/journal")
    _write_etc(paths.ssh, top / "etc")
    (top / "run/sshd").mkdir(mode=0o755)
    (top / "insula").mkdir(mode=0o755)
    shutil.copyfile(paths.lib / MODULE_NAME, top / "insula" / MODULE_NAME)
    # Copies: sessions and the module that puts one on them are always of one version.
    for program in (paths.seccomp, paths.seccomp_32bit):
        shutil.copyfile(program, top / "insula" / program.name)


def _bind(source: Path, target: Path) -> None:
    target.mkdir(mode=0o755, parents=True)
    # With what is mounted below: cgroup v1 has one mount a controller.
    libc.call(
        "mount", os.fsencode(source), os.fsencode(target), None, mounts.MS_BIND | _MS_REC, None,
        about=f"binding {source} into sshd's root",
    )  # fmt: skip


def _write_etc(ssh: Path, etc: Path) -> None:
    for name, text in accounts().items():
        (etc / name).write_text(text)
    (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    shutil.copyfile(ssh / "nsswitch.conf", etc / "nsswitch.conf")
    (etc / "pam.d").mkdir(mode=0o755)
    shutil.copyfile(ssh / "pam", etc / "pam.d/sshd")
    denied = "".join(f"{kind} required pam_deny.so\n" for kind in ("auth", "account", "session"))
    (etc / "pam.d/other").write_text(denied)
    for name in _COPIED:
        if (Path("/etc") / name).is_file():
            (etc / name).parent.mkdir(mode=0o755, exist_ok=True)
            shutil.copyfile(Path("/etc") / name, etc / name)


def start(node: Node) -> None:
    """Become sshd. Raises InsulaError; does not return otherwise."""
    paths = node.paths
    for needed in (
        paths.ssh / "sshd_config",
        paths.containers,
        paths.lib / MODULE_NAME,
        paths.seccomp,
        paths.seccomp_32bit,
    ):
        if not needed.exists():
            raise PreparationError(f"{needed} is missing", "run: insula node up")
    # The configurator fills these; sshd may be first.
    for directory in (paths.run / "cgroups", paths.extrausers, paths.container_files(0).parent):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in ("passwd", "group", "shadow"):
        if not (paths.extrausers / name).exists():
            (paths.extrausers / name).touch(mode=0o600 if name == "shadow" else 0o644)
    top = paths.run / "sshd"
    top.mkdir(mode=0o755, exist_ok=True)
    # An sshd that outlived its Emperor would keep the port from the next one.
    privileges.end_with_parent(signal.SIGTERM)
    os.umask(0o022)
    # sshd protects its listener itself, and hands to each session what it started with.
    Path("/proc/self/oom_score_adj").write_text("0")
    namespaces.private_mounts()
    build_root(node, top)
    namespaces.switch_root(top)
    # sshd insists on an absolute path: it executes itself again for each connection.
    os.execve(
        SSHD, [str(SSHD), "-D", "-e", "-f", "/etc/ssh/sshd_config"], {"PATH": "/usr/bin:/bin"}
    )


def main() -> int:
    """The attached daemon's entry point."""
    parser = argparse.ArgumentParser(prog="insula-sshd", description=__doc__)
    parser.add_argument("--root", type=Path, default=settings.root_from_environment())
    try:
        start(settings.load(parser.parse_args().root.resolve()))
    except InsulaError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"({error.hint})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
