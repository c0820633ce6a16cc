"""Whose a quota group is."""

from insula.emperor.storage.ioctl import group_of, uid_of


def test_only_the_containers_groups_count() -> None:
    assert [uid_of(group) for group in (5, 256, group_of(30001), 2 << 48 | 30001)] == [
        None, None, 30001, None,
    ]  # fmt: skip


def test_a_containers_group_is_of_level_one() -> None:
    assert (group_of(30001) >> 48, group_of(30001) & 0xFFFFFFFF) == (1, 30001)
