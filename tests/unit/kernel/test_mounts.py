"""How the mount table is read."""

from pathlib import Path

from insula.emperor.kernel import mounts


def test_a_mount_point_with_a_space_is_read_back(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 0:1 / / rw - ext4 /dev/vda rw\n"
        "23 22 0:2 / /srv/my\\040pool rw,noatime shared:3 - btrfs /dev/loop0 rw\n"
    )
    assert mounts.points(table) == {Path("/"): "ext4", Path("/srv/my pool"): "btrfs"}
