"""Which system calls a customer's process may make: the one definition for boot, ssh and enter.

A call is in exactly one of three tables: ALLOWED works, REFUSED answers EPERM, CHECKED depends on
its arguments. Every other call, clone3 and what kernels of the future bring among them, answers
ENOSYS: programs know that answer from older kernels and take another way.

Nobody is killed. The filter is one wall of several: it keeps the kernel's seldom-used parts out of
reach. Who may trace or signal whom is decided by uid, pid namespace and yama.
"""

import errno
from collections.abc import Callable

from insula.emperor.seccomp.tree import ALLOW, ARGUMENT, Tree, answer, choose, has_bits, is_one_of

ALLOWED = {
    "files": """
        read write open close stat fstat lstat lseek pread64 pwrite64 readv writev preadv
        pwritev preadv2 pwritev2 access faccessat faccessat2 openat openat2 creat newfstatat
        statx rename renameat renameat2 mkdir mkdirat rmdir link linkat unlink unlinkat symlink
        symlinkat readlink readlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown
        fchownat umask utime utimes utimensat futimesat mknod mknodat truncate ftruncate
        fallocate getdents getdents64 getcwd chdir fchdir statfs fstatfs fsync fdatasync sync
        syncfs sync_file_range readahead fadvise64 flock dup dup2 dup3 close_range
        copy_file_range sendfile splice tee vmsplice setxattr lsetxattr fsetxattr getxattr
        lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr
        fremovexattr setxattrat getxattrat listxattrat removexattrat inotify_init inotify_init1
        inotify_add_watch inotify_rm_watch memfd_create io_setup io_destroy io_getevents
        io_submit io_cancel io_pgetevents""",
    "memory": """
        mmap mprotect munmap brk mremap msync mincore madvise process_madvise mlock mlock2
        munlock mlockall munlockall remap_file_pages mseal pkey_mprotect pkey_alloc pkey_free
        map_shadow_stack shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd
        msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
        mbind set_mempolicy get_mempolicy move_pages membarrier""",
    "processes": """
        fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open
        pidfd_send_signal pidfd_getfd process_mrelease getpid getppid gettid getpgid setpgid
        getpgrp getsid setsid prctl arch_prctl set_tid_address set_robust_list get_robust_list
        set_thread_area get_thread_area rseq restart_syscall futex futex_waitv futex_wake
        futex_wait futex_requeue sched_yield sched_setparam sched_getparam sched_setscheduler
        sched_getscheduler sched_setattr sched_getattr sched_get_priority_max
        sched_get_priority_min sched_rr_get_interval sched_setaffinity sched_getaffinity
        getpriority setpriority ioprio_set ioprio_get getcpu getrlimit setrlimit prlimit64
        getrusage times sysinfo uname getrandom""",
    "debuggers and sandboxes of one's own processes; the uretprobe calls are the kernel's own": """
        ptrace process_vm_readv process_vm_writev kcmp seccomp landlock_create_ruleset
        landlock_add_rule landlock_restrict_self uretprobe uprobe""",
    "signals and clocks": """
        rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo
        rt_tgsigqueueinfo rt_sigsuspend sigaltstack signalfd signalfd4 pause alarm getitimer
        setitimer nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time
        adjtimex clock_adjtime timer_create timer_settime timer_gettime timer_getoverrun
        timer_delete timerfd_create timerfd_settime timerfd_gettime""",
    "waiting and sockets (opening one is below)": """
        poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
        epoll_pwait2 eventfd eventfd2 pipe pipe2 connect accept accept4 bind listen sendto
        recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown getsockname getpeername getsockopt""",
    "who one is; without capabilities nobody can become somebody else": """
        getuid setuid getgid setgid geteuid getegid setreuid setregid getgroups setgroups
        setresuid getresuid setresgid getresgid setfsuid setfsgid capget capset""",
    "what 32-bit programs call instead": """
        waitpid nice sigaction sigreturn sigprocmask sigpending sigsuspend sgetmask ssetmask
        signal readdir _llseek _newselect ugetrlimit mmap2 truncate64 ftruncate64 stat64
        lstat64 fstat64 fstatat64 statfs64 fstatfs64 fadvise64_64 sendfile64 ipc
        lchown32 getuid32 getgid32 geteuid32 getegid32 setreuid32 setregid32 getgroups32
        setgroups32 fchown32 setresuid32 getresuid32 setresgid32 getresgid32 chown32 setuid32
        setgid32 setfsuid32 setfsgid32 oldstat oldfstat oldlstat olduname oldolduname
        clock_gettime64 clock_adjtime64 clock_getres_time64 clock_nanosleep_time64
        timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64
        pselect6_time64 ppoll_time64 io_pgetevents_time64 recvmmsg_time64 mq_timedsend_time64
        mq_timedreceive_time64 semtimedop_time64 rt_sigtimedwait_time64 futex_time64
        sched_rr_get_interval_time64""",
}

REFUSED = {
    "mounts, roots and other namespaces: the platform's alone": """
        mount umount umount2 pivot_root chroot setns fsopen fsconfig fsmount fspick open_tree
        open_tree_attr move_mount mount_setattr""",
    "files by handle reach past mounts, fanotify past the home": """
        name_to_handle_at open_by_handle_at fanotify_init fanotify_mark""",
    "the kernel's richest sources of holes, which no app needs": """
        bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
        modify_ldt vm86 vm86old lookup_dcookie migrate_pages""",
    "keyrings know nothing of containers": "keyctl add_key request_key",
    "the machine: modules, clock, names, swap, quota, accounting, its log, ports": """
        init_module finit_module delete_module create_module kexec_load kexec_file_load reboot
        swapon swapoff settimeofday stime clock_settime clock_settime64 sethostname
        setdomainname quotactl quotactl_fd acct syslog iopl ioperm vhangup uselib ustat sysfs
        nfsservctl _sysctl""",
}  # fmt: skip

# clone(2): of mounts, cgroup, names, ipc, users, pids, network. The time namespace's flag counts
# for unshare alone, in clone it is part of the signal's number.
_NAMESPACES = 0x7E020000
_TIME_NAMESPACE = 0x80

_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM, _TYPE_BITS = 1, 2, 0xF
# IP, ICMP, TCP, UDP, ICMPv6; others make the kernel load modules
_PROTOCOLS = (0, 1, 6, 17, 58)
# Routes and addresses for getifaddrs(3); audit for sshd's monitor, which ends when it may not try.
# Not kernel events (15): all network namespaces hear those of the host.
_NETLINK_PROTOCOLS = (0, 9)

# ioctl_tty(2): type into a terminal for somebody else, and load a line discipline
_TERMINAL_IOCTLS = (0x5412, 0x541C, 0x5423)
# btrfs: a subvolume of a customer's own counts for nobody before Linux 6.7. SNAP_CREATE,
# SUBVOL_CREATE and the second form of each.
_SUBVOLUME_IOCTLS = (0x50009401, 0x5000940E, 0x50009417, 0x50009418)

# fcntl(2): a lease on a file of one's own, and since Linux 6.19 on a directory, lets root wait for
# 45 s that opens it.
_LEASES = (1024, 1040)

# setsockopt(2), SOL_SOCKET: a filter of a socket's own, classic or eBPF, also for SO_REUSEPORT. Its
# compiled form counts for no container, and the machine has room for so many (bpf_jit_limit): when
# that is used up, no filter of system calls can be put on, so nobody boots or logs in.
_SOCKET_LEVEL, _SOCKET_FILTERS = 1, (26, 50, 51, 52)

# personality(2): a question, Linux, and its harmless bits: 32 bit, old version number, addresses
# not randomized (gdb and setarch -R). Others make memory executable or page 0 usable.
_QUESTION = 0xFFFFFFFF
_HARMLESS_PERSONALITY = 0x0008 | 0x20000 | 0x40000

# linux/net.h: what socketcall(2) is asked for, by its first argument
_SOCKETCALL_SOCKET, _SOCKETCALL_SOCKETPAIR, _SOCKETCALL_SETSOCKOPT = 1, 8, 14

_EPERM = answer(errno.EPERM)


def _socket() -> Tree:
    internet = is_one_of(
        ARGUMENT[2], _PROTOCOLS,
        is_one_of(
            ARGUMENT[1], (_STREAM, _DATAGRAM), ALLOW, answer(errno.EPERM), within=_TYPE_BITS
        ),
        # raw sockets are refused as such, whatever their protocol
        is_one_of(
            ARGUMENT[1], (_STREAM, _DATAGRAM), answer(errno.EPROTONOSUPPORT), _EPERM,
            within=_TYPE_BITS,
        ),
    )  # fmt: skip
    netlink = is_one_of(
        ARGUMENT[2], _NETLINK_PROTOCOLS, ALLOW, answer(errno.EPROTONOSUPPORT)
    )  # fmt: skip
    packet = 17
    return choose(
        ARGUMENT[0],
        {_UNIX: ALLOW, _INET: internet, _INET6: internet, _NETLINK: netlink, packet: _EPERM},
        # as a kernel that was built without the family
        answer(errno.EAFNOSUPPORT),
    )


# The kernel reads 32 bits of all arguments that are looked at here, and so does the filter: bits
# above them open no way around.
CHECKED: dict[str, Callable[[], Tree]] = {
    "clone": lambda: has_bits(ARGUMENT[0], _NAMESPACES, _EPERM, ALLOW),
    "unshare": lambda: has_bits(ARGUMENT[0], _NAMESPACES | _TIME_NAMESPACE, _EPERM, ALLOW),
    "socket": _socket,
    "socketpair": lambda: is_one_of(
        ARGUMENT[0], (_UNIX,), ALLOW, answer(errno.EAFNOSUPPORT)
    ),
    "setsockopt": lambda: is_one_of(
        ARGUMENT[1], (_SOCKET_LEVEL,), is_one_of(ARGUMENT[2], _SOCKET_FILTERS, _EPERM, ALLOW), ALLOW
    ),
    # Its arguments lie in memory, where a filter cannot look: what opens or sets a socket is
    # refused. Such programs (Debian's i386 C library, Go's 386) have no network in a 64-bit distro.
    "socketcall": lambda: is_one_of(
        ARGUMENT[0], (_SOCKETCALL_SOCKET, _SOCKETCALL_SOCKETPAIR, _SOCKETCALL_SETSOCKOPT),
        _EPERM, ALLOW,
    ),
    "ioctl": lambda: is_one_of(
        ARGUMENT[1], _TERMINAL_IOCTLS + _SUBVOLUME_IOCTLS, _EPERM, ALLOW
    ),
    "fcntl": lambda: is_one_of(ARGUMENT[1], _LEASES, _EPERM, ALLOW),
    "fcntl64": lambda: is_one_of(ARGUMENT[1], _LEASES, _EPERM, ALLOW),
    "personality": lambda: is_one_of(
        ARGUMENT[0], (_QUESTION,), ALLOW,
        has_bits(ARGUMENT[0], 0xFFFFFFFF ^ _HARMLESS_PERSONALITY, _EPERM, ALLOW),
    ),
}  # fmt: skip

# What a container on a 32-bit distro may besides: Debian's i386 has no other way to a socket. There
# the missing capabilities alone refuse raw and packet sockets, and odd families are open.
ALLOWED_32BIT = ("socketcall",)


def verdict(name: str, *, is_32bit: bool = False) -> Tree:
    """What the filter does about a call, by its name; ``is_32bit`` is that of 32-bit distros."""
    if is_32bit and name in ALLOWED_32BIT:
        return ALLOW
    if name in CHECKED:
        return CHECKED[name]()
    if any(name in names.split() for names in ALLOWED.values()):
        return ALLOW
    if any(name in names.split() for names in REFUSED.values()):
        return _EPERM
    return answer(errno.ENOSYS)
