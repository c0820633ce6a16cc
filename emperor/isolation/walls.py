"""The walls between customers, and the files that put them up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wall:
    """One thing that stands in an attacker's way, and where that is enforced."""

    name: str
    statement: str
    enforced_in: tuple[str, ...]  # files of the source tree


_BOOT = "emperor/container.ini"
_DOORS = ("pam/rights.c", "emperor/cli/enter.py", "emperor/kernel/privileges.py")

WALLS = {
    wall.name: wall
    for wall in (
        # ---- what is in sight
        Wall("own-root", "a mount namespace and a root of its own", (_BOOT,)),
        Wall("read-only-root", "the distro is mounted read-only", (_BOOT,)),
        Wall("sealed-distro", "a distro's tree is a read-only subvolume",
             ("emperor/storage/btrfs.py", "emperor/storage/ioctl.py")),
        Wall("read-only-files", "what the platform puts inside is mounted read-only", (_BOOT,)),
        Wall("no-set-uid", "no program of a distro is set-uid", ("emperor/distros/tree.py",)),
        Wall("nosuid", "set-uid files count nowhere", (_BOOT,)),
        Wall("devices", "six harmless devices, and nodev elsewhere", (_BOOT, "emperor/rundir.py")),
        Wall("proc-masks", "/proc tells nothing of the machine", (_BOOT,)),
        Wall("sysctls", "/proc/sys is read-only", (_BOOT,)),
        Wall("empty-sys", "/sys is empty", (_BOOT,)),
        Wall("own-pids", "a pid namespace with a /proc of its own", (_BOOT,)),
        Wall("hidepid", "/proc hides processes of others", (_BOOT,)),
        Wall("own-ipc", "an IPC namespace", (_BOOT,)),
        Wall("own-network", "a network namespace", (_BOOT, "emperor/kernel/network.py")),
        Wall("own-cgroups", "a cgroup namespace", (_BOOT,)),
        Wall("own-names", "a UTS namespace", (_BOOT,)),
        # ---- what a process may do
        Wall("own-uid", "a uid and gid of its own", (_BOOT, *_DOORS)),
        Wall("no-capabilities", "no capability, none to gain", (_BOOT, *_DOORS)),
        Wall("no-cores", "a crash starts no handler of the machine", (_BOOT, *_DOORS)),
        Wall("no-new-privileges", "no program that is run gains a right", (_BOOT, *_DOORS)),
        Wall("system-calls", "a list of allowed system calls", ("emperor/seccomp/policy.py",)),
        Wall("descriptors", "no descriptor of the machine is inherited", ("pam/pam_insula.c",)),
        # ---- how much it may take
        Wall("memory-limit", "the cgroup's memory limit", ("emperor/kernel/cgroup.py",)),
        Wall("pids-limit", "the cgroup's limit of processes", ("emperor/kernel/cgroup.py",)),
        Wall("cpu-limit", "the cgroup's share of the processors", ("emperor/kernel/cgroup.py",)),
        Wall("lxcfs-limit", "lxcfs has limits of its own", ("emperor/kernel/lxcfs_group.py",)),
        Wall("disk-limit", "one limit over home, /tmp and sockets", ("emperor/storage/btrfs.py",)),
        Wall("shared-tables", "the kernel's tables are larger than what limits let one fill",
             ("emperor/kernel/tables.py",)),
        Wall("terminals", "at most 128 terminals", (_BOOT,)),
        # ---- the network
        Wall("firewall", "nothing to the host or between containers",
             ("emperor/kernel/firewall.py",)),
        Wall("own-address", "no packet with an address of others", ("emperor/kernel/network.py",)),
        Wall("connection-limit", "so many connections to the outside for each container",
             ("emperor/kernel/firewall.py",)),
        Wall("no-ipv6", "containers have no IPv6", ("emperor/kernel/network.py",)),
        # ---- the domains
        Wall("gate-owner", "a socket for each container, and only its customer's domains",
             ("dominator/inbox.py", "dominator/ownership.py")),
        Wall("gate-signature", "the customer's signature",
             ("dominator/gate.py", "dominator/keys.py")),
        Wall("gate-time", "an announcement is fresh and used once",
             ("dominator/gate.py", "dominator/history.py")),
        Wall("gate-address", "only sockets of the announcer's own", ("dominator/gate.py",)),
        Wall("gate-name", "only names that a domain can have",
             ("vassals/names.py", "dominator/gate.py")),
        Wall("gate-packet", "nothing is said twice, nothing behind the signature",
             ("dominator/packet.py",)),
        Wall("no-links", "router and gate follow no link", ("emperor/service.py",)),
        # ---- the doors and root's own hands
        Wall("names", "no customer text leaves its field",
             ("vassals/names.py", "vassals/spec.py")),
        Wall("grammar", "a node takes nine lines of a vassal file and no other",
             ("vassals/grammar.py",)),
        Wall("own-log", "what a container prints goes to a log of its own", (_BOOT,)),
        Wall("beneath", "root follows no link below a home",
             ("emperor/kernel/beneath/opening.py",)),
        Wall("api-filter", "every query is the customer's own",
             ("api/actions/actor.py", "api/customer/auth.py")),
        Wall("sshd-config", "no environment comes along", ("emperor/units/sshd_config",)),
        Wall("sshd-keys", "keys read as the customer, 64 KiB at most",
             ("emperor/units/sshd_config",)),
        Wall("sshd-accounts", "a key counts for one account, accounts are containers",
             ("emperor/units/sshd_config", "configurator/files.py")),
        Wall("api-doors", "operators and nodes have sockets of their own", ("api/doors.py",)),
        Wall("doorway", "the first process is found through the kernel",
             ("emperor/kernel/namespaces.py", "pam/pam_insula.c")),
    )
}  # fmt: skip
