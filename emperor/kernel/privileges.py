"""Letting go of root's rights, for good: what runs afterwards cannot gain one."""

import errno
import os
import resource
from collections.abc import Sequence

from insula.emperor.errors import KernelError
from insula.emperor.kernel import libc

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
KEYCTL_JOIN_SESSION_KEYRING = 1
_KEYCTL = 250 if os.uname().machine == "x86_64" else 219


def _prctl(option: int, value: int, *, about: str) -> int:
    return libc.call("prctl", option, value, 0, 0, 0, about=about)


def empty_bounding_set() -> None:
    """Take every capability out of the bounding set. Raises KernelError."""
    capability = 0
    while _is_known(capability):
        _prctl(PR_CAPBSET_DROP, capability, about=f"dropping capability {capability}")
        capability += 1


def _is_known(capability: int) -> bool:
    # Only the kernel knows its last capability: beyond it the call fails with EINVAL.
    try:
        _prctl(PR_CAPBSET_READ, capability, about="reading the bounding set")
    except KernelError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EINVAL:
            return False
        raise
    return True


def end_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when its parent ends. Set-uid forgets it."""
    _prctl(PR_SET_PDEATHSIG, signal_number, about="tying the process to its parent")


def leave_keyring() -> None:
    """Have an empty session keyring (keyrings(7)). Raises KernelError.

    The one of whoever started us is inherited like a descriptor: its keys could be read.
    """
    try:
        libc.call("syscall", _KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, None, about="new keyring")
    except KernelError as error:
        # A kernel that was built without keyrings has none to leave.
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.ENOSYS:
            raise


def forgo_cores() -> None:
    """Have no core written by a crash, and no handler of the machine started.

    Such a handler runs as root outside, whatever the limit, unless it is one byte (core(5)). A hard
    limit of nothing cannot be raised without CAP_SYS_RESOURCE, so it stays.
    """
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def become(uid: int, *, gid: int | None = None, groups: Sequence[int] = ()) -> None:
    """Turn into ``uid`` with no capability and no way to gain one.

    Its groups are ``gid``, the same number as the uid unless said otherwise, and ``groups``.
    """
    leave_keyring()
    forgo_cores()
    empty_bounding_set()
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, about="clearing ambient capabilities")
    group = uid if gid is None else gid
    os.setgroups(groups)
    os.setresgid(group, group, group)
    # Leaving uid 0 for good also empties the permitted and effective sets (capabilities(7)).
    os.setresuid(uid, uid, uid)
    _prctl(PR_SET_NO_NEW_PRIVS, 1, about="refusing new privileges")
