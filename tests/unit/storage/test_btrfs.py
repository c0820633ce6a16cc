"""How the quota table of btrfs is read."""

from insula.emperor.storage.btrfs import read_groups
from insula.emperor.storage.ioctl import group_of

TABLE = """\
Qgroupid    Referenced    Exclusive  Max referenced   Path
--------    ----------    ---------  --------------   ----
0/5              16384        16384            none   <toplevel>
0/256            16384        16384            none   s0
1/30001       33538048     33538048        33554432   <0 member qgroups>
1/30002          16384        16384            none   <0 member qgroups>
"""


def test_only_the_containers_groups_count() -> None:
    assert read_groups(TABLE) == {30001: (33538048, 33554432), 30002: (16384, None)}


def test_a_containers_group_is_of_level_one() -> None:
    assert (group_of(30001) >> 48, group_of(30001) & 0xFFFFFFFF) == (1, 30001)
