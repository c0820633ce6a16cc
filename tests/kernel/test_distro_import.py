"""Imports of strangers' archives on the real kernel: what is hostile stays inside or is refused."""

import json
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from insula.emperor.distros import builds, imaging, importing, store
from insula.emperor.distros.importing import Imported
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError, InvalidValue
from tests.kernel.archives import SMALLEST, Change, archive, member
from tests.kernel.test_distro import node as node  # the fixture
from tests.patience import BUSY

pytestmark = pytest.mark.kernel
_XATTR = "SCHILY.xattr.security.capability"


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory of the machine at which hostile archives aim."""
    with tempfile.TemporaryDirectory(prefix="insula-test-outside-") as name:
        (Path(name) / "secret").write_text("the machine's own")
        yield Path(name)


def import_(node: Node, path: Path | str, **options: object) -> Imported:
    return importing.import_(node, "one", str(path), lambda _: None, **options)  # type: ignore[arg-type]


def tree(node: Node) -> Path:
    return node.paths.distros / "one"


def refused(node: Node, path: Path, why: str, **options: object) -> None:
    """The import fails for that reason, and nothing of it is left."""
    with pytest.raises(InsulaError, match=why):
        import_(node, path, **options)
    assert store.listed(node) == []
    assert [item.name for item in node.paths.distros.iterdir()] == []


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz", "zst"])
def test_a_tree_of_any_usual_packing_becomes_a_distro(
    node: Node, tmp_path: Path, compression: str
) -> None:
    packed = archive(tmp_path / "tree.tar", member("word", b"hello"))
    if compression:
        program = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd"}[compression]
        with (tmp_path / "packed").open("wb") as target:
            subprocess.run([program, "-c", packed], stdout=target, check=True)
        packed = tmp_path / "packed"
    made = import_(node, packed)
    assert made.warnings == ()
    assert (tree(node) / "word").read_text() == "hello"
    assert all((tree(node) / place).is_dir() for place in ("containers", ".old_root", "var/tmp"))
    assert (tree(node) / "etc/localtime").is_file()


def test_everything_is_roots_and_nothing_is_armed(node: Node, tmp_path: Path) -> None:
    def capable(tar: tarfile.TarFile) -> None:
        capability = struct.pack("<5I", 0x02000001, 1 << 21, 0, 0, 0).decode("latin-1")
        info = tarfile.TarInfo("usr/bin/ping")
        info.mode, info.uid, info.pax_headers = 0o755, 30001, {_XATTR: capability}
        tar.addfile(info)

    import_(
        node,
        archive(
            tmp_path / "a.tar",
            member("usr/bin/su", b"x", mode=0o6755, uid=30001, gid=30001, uname="customer"),
            member("srv", type=tarfile.DIRTYPE, mode=0o7777, uid=2**31 - 5),
            capable,
        ),
    )
    su, srv = (tree(node) / "usr/bin/su").stat(), (tree(node) / "srv").stat()
    assert (su.st_uid, su.st_gid, stat.S_IMODE(su.st_mode)) == (0, 0, 0o755)
    assert (srv.st_uid, stat.S_IMODE(srv.st_mode)) == (0, 0o1777)
    assert os.listxattr(tree(node) / "usr/bin/ping") == []


def test_devices_and_pipes_are_left_out_and_counted(node: Node, tmp_path: Path) -> None:
    made = import_(
        node,
        archive(
            tmp_path / "a.tar",
            member("disk", type=tarfile.BLKTYPE, devmajor=8),
            member("dev/mem", type=tarfile.CHRTYPE, devmajor=1, devminor=1),
            member("pipe", type=tarfile.FIFOTYPE),
        ),
    )
    assert made.warnings == ("left out: 2 devices, 1 pipes",)
    kinds = [path.lstat().st_mode for path in tree(node).rglob("*")]
    assert not any(stat.S_ISBLK(m) or stat.S_ISCHR(m) or stat.S_ISFIFO(m) for m in kinds)


def test_an_absolute_name_lands_inside(node: Node, tmp_path: Path, outside: Path) -> None:
    import_(node, archive(tmp_path / "a.tar", member(f"{outside}/secret", b"changed")))
    assert (outside / "secret").read_text() == "the machine's own"
    assert (tree(node) / str(outside)[1:] / "secret").read_text() == "changed"


OUT = {
    "dots": (member("../../../../tmp/x", b"x"), "leads out"),
    "dots-inside": (member("etc/../../x", b"x"), "leads out"),
    "hard-link-out": (
        member("shadow", type=tarfile.LNKTYPE, linkname="../../../etc/shadow"),
        "leads out",
    ),
    "hard-link-absolute": (
        member("shadow", type=tarfile.LNKTYPE, linkname="/etc/gshadow-"),
        "not there",
    ),
    "hard-link-to-directory": (member("e", type=tarfile.LNKTYPE, linkname="etc"), "no file"),
    "whiteout": (member("etc/.wh.passwd", b""), "whiteout"),
    "deep": (member("d/" * 200 + "x", b"x"), "too deep"),
    "long": (member("n" * 300, b"x"), "too long"),
    "directory-and-file": (member("etc", b"x"), "something else"),
}


@pytest.mark.parametrize("name", OUT)
def test_what_leads_out_or_makes_no_sense_is_refused(node: Node, tmp_path: Path, name: str) -> None:
    change, why = OUT[name]
    refused(node, archive(tmp_path / "a.tar", change), why)


def test_a_file_through_a_link_is_refused(node: Node, tmp_path: Path, outside: Path) -> None:
    for target in (str(outside), "../" * 12 + str(outside)[1:]):
        link = member("way", type=tarfile.SYMTYPE, linkname=target)
        refused(node, archive(tmp_path / "a.tar", link, member("way/secret", b"x")), "goes through")
        hard = member("mine", type=tarfile.LNKTYPE, linkname="way/secret")
        refused(node, archive(tmp_path / "b.tar", link, hard), "goes through")
    assert (outside / "secret").read_text() == "the machine's own"


@pytest.mark.parametrize(
    "place", ["etc", "run", "tmp", "var", "var/tmp", "opt", "usr/local", ".old_root", "etc/hosts",
              "etc/localtime", "etc/insula-distro", "etc/apt", "etc/machine-id"]
)  # fmt: skip
def test_a_link_where_root_works_leads_nowhere(
    node: Node, tmp_path: Path, outside: Path, place: str
) -> None:
    """The tree is finished by root: with a link in the place of a directory or file of its own."""
    before = sorted(path.name for path in outside.iterdir())
    files = {k: v for k, v in SMALLEST.items() if not k.startswith(f"{place}/")}
    link = member(place, type=tarfile.SYMTYPE, linkname=str(outside))
    import_(node, archive(tmp_path / "a.tar", link, files=files))
    assert sorted(path.name for path in outside.iterdir()) == before
    assert (outside / "secret").read_text() == "the machine's own"
    passwd = tree(node) / "etc/passwd"
    assert passwd.is_file() and not passwd.is_symlink() and passwd.read_text().startswith("root:")


def test_accounts_that_are_links_do_not_show_the_machines(node: Node, tmp_path: Path) -> None:
    files = {k: v for k, v in SMALLEST.items() if k != "etc/passwd"}
    link = member("etc/passwd", type=tarfile.SYMTYPE, linkname="/etc/shadow")
    import_(node, archive(tmp_path / "a.tar", link, files=files))
    assert (tree(node) / "etc/passwd").read_text() == "root:x:0:0:root:/root:/bin/sh\n"


def test_an_archive_that_is_larger_than_allowed_is_refused(node: Node, tmp_path: Path) -> None:
    refused(node, archive(tmp_path / "a.tar", member("big", bytes(3 << 20))), "more than 1 MiB",
            maximum_bytes=1 << 20)  # fmt: skip


def test_a_hole_counts_in_full(node: Node, tmp_path: Path) -> None:
    hole = tmp_path / "hole"
    with hole.open("wb") as file:
        file.truncate(1 << 42)
    packed = tmp_path / "a.tar"
    subprocess.run(["tar", "-cSf", packed, "--format=posix", "-C", tmp_path, "hole"], check=True)
    refused(node, packed, "holes counted in full")


def test_a_hole_that_fits_stays_one(node: Node, tmp_path: Path) -> None:
    hole = tmp_path / "hole"
    with hole.open("wb") as file:
        file.truncate(64 << 20)
    packed = archive(tmp_path / "a.tar")
    subprocess.run(["tar", "-rSf", packed, "--format=posix", "-C", tmp_path, "hole"], check=True)
    import_(node, packed)
    found = (tree(node) / "hole").stat()
    assert found.st_size == 64 << 20 and found.st_blocks * 512 < 1 << 20


def test_more_entries_than_any_tree_has_are_refused(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAXIMUM_ENTRIES", 20)
    many: list[Change] = [member(f"srv/{i}") for i in range(30)]
    refused(node, archive(tmp_path / "a.tar", *many), "more than 20 entries")


def test_a_header_of_gigabytes_is_refused(node: Node, tmp_path: Path) -> None:
    """A pax header is read whole: its size is the archive's own word."""
    packed = tmp_path / "a.tar"
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 6 << 30
    with packed.open("wb") as file:
        file.write(info.tobuf())
        file.truncate(7 << 30)  # a hole: all of it is there to be read
    refused(node, packed, "header|more than")


@pytest.mark.parametrize("cut", [700, 1500, 2049])
def test_an_archive_that_is_cut_off_is_refused(node: Node, tmp_path: Path, cut: int) -> None:
    packed = archive(tmp_path / "a.tar", member("big", os.urandom(5000)))
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size - 10240 + cut])
    with pytest.raises(InsulaError):
        import_(node, packed)
    assert store.listed(node) == []


def test_what_is_no_archive_is_refused_before_anything_is_made(node: Node, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    refused(node, tmp_path / "text", "neither a tar")
    refused(node, tmp_path, "not a regular file")
    refused(node, tmp_path / "missing", "No such file")
    os.mkfifo(tmp_path / "pipe")
    refused(node, tmp_path / "pipe", "not a regular file")


def test_a_tree_without_a_shell_is_no_distro(node: Node, tmp_path: Path) -> None:
    files = {k: v for k, v in SMALLEST.items() if k != "bin/sh"}
    refused(node, archive(tmp_path / "a.tar", files=files), "no /bin/sh")


def test_a_tree_without_uwsgi_needs_a_word(node: Node, tmp_path: Path) -> None:
    files = {k: v for k, v in SMALLEST.items() if k != "usr/bin/uwsgi"}
    packed = archive(tmp_path / "a.tar", files=files)
    refused(node, packed, "no /usr/bin/uwsgi")
    made = import_(node, packed, without_uwsgi=True)
    assert made.warnings == (
        "it has no /usr/bin/uwsgi: no vassal can run: sites and workers do not start",
    )


def test_programs_of_another_machine_are_refused(node: Node, tmp_path: Path) -> None:
    files = SMALLEST | {"bin/sh": b"\x7fELF\x02" + bytes(13) + b"\xb7\x00" + bytes(44)}
    refused(node, archive(tmp_path / "a.tar", files=files), "cannot execute programs of arm64")


def image(tmp_path: Path, kind: str, files: dict[str, bytes]) -> Path:
    """An archive of an image with one layer, by umoci and skopeo, out of a small tree."""
    layout, bundle = tmp_path / "image", tmp_path / "bundle"
    commands: list[list[str | Path]] = [
        ["umoci", "init", "--layout", layout],
        ["umoci", "new", "--image", f"{layout}:it"],
        ["umoci", "unpack", "--image", f"{layout}:it", bundle],
    ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    for name, data in files.items():
        path = bundle / "rootfs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755)
    os.mknod(bundle / "rootfs/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
    (bundle / "rootfs/hidden").write_bytes(b"h")
    (bundle / "rootfs/hidden").chmod(0)
    os.chown(bundle / "rootfs/hidden", 30001, 30001)
    subprocess.run(["umoci", "repack", "--image", f"{layout}:it", bundle], check=True,
                   capture_output=True)  # fmt: skip
    # A second layer takes a file away: whiteouts must have done their work in what comes out.
    (bundle / "rootfs/word").unlink(missing_ok=True)
    subprocess.run(["umoci", "repack", "--refresh-bundle", "--image", f"{layout}:it", bundle],
                   check=True, capture_output=True)  # fmt: skip
    target = tmp_path / f"{kind}.tar"
    subprocess.run(
        ["skopeo", "copy", "--insecure-policy", f"oci:{layout}:it", f"{kind}:{target}:it:latest"],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_images_archive_becomes_a_distro(node: Node, tmp_path: Path, kind: str) -> None:
    made = import_(node, image(tmp_path, kind, SMALLEST | {"word": b"gone"}))
    assert store.listed(node) == ["one"]
    assert not (tree(node) / "word").exists()
    # Without rights umoci makes an empty file in a device's place.
    assert not (tree(node) / "disk").exists() or stat.S_ISREG((tree(node) / "disk").lstat().st_mode)
    hidden = (tree(node) / "hidden").stat()
    assert (hidden.st_uid, stat.S_IMODE(hidden.st_mode)) == (0, 0)
    assert (tree(node) / "etc/passwd").read_bytes() == SMALLEST["etc/passwd"]
    assert all("disk" not in warning for warning in made.warnings)
    left = [path.name for path in node.paths.lib.iterdir() if path.name.startswith("insula-image")]
    assert left == [] and "insula-image" not in Path("/proc/mounts").read_text()


def test_an_image_with_a_spoilt_layer_is_refused(node: Node, tmp_path: Path) -> None:
    packed = image(tmp_path, "oci-archive", SMALLEST)
    members = {}
    with tarfile.open(packed) as tar:
        for item in tar.getmembers():
            source = tar.extractfile(item)
            members[item.name] = source.read() if source else None
    largest = max((len(data or b""), name) for name, data in members.items())[1]
    data = members[largest] or b""
    members[largest] = data[:50] + bytes([data[50] ^ 1]) + data[51:]
    spoilt: list[Change] = [member(name, data) for name, data in members.items() if data]
    packed = archive(tmp_path / "spoilt.tar", *spoilt, files={})
    refused(node, packed, "the image is not taken|not unpacked|not taken")


@pytest.mark.parametrize("name", ["bundle", "bundle/rootfs"])
def test_root_packs_nothing_of_the_machine_for_an_image(
    tmp_path: Path, outside: Path, capfdbinary: pytest.CaptureFixture[bytes], name: str
) -> None:
    """What took the image apart had no right, but what it left behind is what root packs."""
    (outside / "rootfs").mkdir()
    (outside / "rootfs/secret").write_text("the machine's own")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(outside)
    assert imaging._pack(tmp_path, "bundle/rootfs") != 0
    said = capfdbinary.readouterr()
    assert said.out == b"" and b"is no directory" in said.err


def test_an_image_without_the_tools_names_them(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = {"oci-layout": b"{}", "index.json": json.dumps({}).encode()}
    monkeypatch.setattr(imaging, "_PATH", str(tmp_path))
    with pytest.raises(PreparationError, match="skopeo and umoci") as caught:
        import_(node, archive(tmp_path / "a.tar", files=index))
    assert caught.value.hint == "apt-get install skopeo umoci"
    assert store.listed(node) == []


def _unpacking(node: Node) -> list[int]:
    """The processes that work on this node's archives."""
    words, found = str(node.paths.root).encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if b"insula.emperor.distros.unpacking" in line and words in line:
            found.append(int(path.name))
    return found


def test_a_killed_import_takes_its_processes_along(node: Node, tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.tar", member("big", bytes(400 << 20)))
    code = (
        "import sys; from pathlib import Path; from insula.emperor.distros import importing\n"
        "from insula.emperor.settings import Node, NodeSettings, Paths\n"
        "node = Node(Paths(Path(sys.argv[1])), NodeSettings())\n"
        "importing.import_(node, 'one', sys.argv[2], print)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, node.paths.root, packed])
    until = time.monotonic() + 30 * BUSY
    while not _unpacking(node) and process.poll() is None:
        assert time.monotonic() < until
    process.kill()
    process.wait()
    while _unpacking(node):
        assert time.monotonic() < until
        time.sleep(0.05)
    import_(node, archive(tmp_path / "b.tar"))
    assert store.listed(node) == ["one"] and not list(node.paths.distros.glob("*.tmp"))


def test_a_killed_imports_tree_is_gone_after_the_next_one(node: Node, tmp_path: Path) -> None:
    left = node.paths.distros / ".one.tmp"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    import_(node, archive(tmp_path / "a.tar"))
    assert not left.exists() and store.listed(node) == ["one"]


def test_a_second_import_renews_the_distro(node: Node, tmp_path: Path) -> None:
    import_(node, archive(tmp_path / "a.tar", member("word", b"first")))
    import_(node, archive(tmp_path / "b.tar", member("word", b"second")))
    assert (tree(node) / "word").read_text() == "second"
    names = sorted(path.name for path in node.paths.distros.iterdir())
    assert len(names) == 3 and names[2] == "one"  # the build, its facts, its name


@pytest.mark.parametrize("name", ["insula-api", ".x", "a/b"])
def test_a_name_that_no_distro_may_have_is_refused(node: Node, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidValue):
        importing.import_(node, name, str(archive(tmp_path / "a.tar")), lambda _: None)


def test_a_distro_of_any_name_keeps_its_build_when_the_next_one_is_made(
    node: Node, tmp_path: Path
) -> None:
    """Leftovers of killed commands are swept by their names, which a distro may resemble."""
    for name in ("debian.old-1", "a.tmp", "b.link", "last"):
        importing.import_(node, name, str(archive(tmp_path / "a.tar")), lambda _: None)
    assert store.listed(node) == ["a.tmp", "b.link", "debian.old-1", "last"]
    for name in store.listed(node):
        build = builds.current(node.paths, name)
        assert build is not None and (build.tree(node.paths) / "bin/sh").is_file()
        assert builds.facts_of(node.paths, build).origin == "imported"
