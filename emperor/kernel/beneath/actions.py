"""Every place where root, or a service of the platform, meets what a customer can write.

``where`` names the code; tests/unit/test_customer_paths.py checks that it is there, that nothing
else walks such a path, and that docs/customer-paths.md is written from this table.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that is done on or beside a customer's ground.

    ``shown_by`` are tests, ``file::test``, below tests/.
    """

    what: str
    who: str
    path: str
    where: str  # "module:function", or "file: words that stand in it"
    how: str
    attack: str
    shown_by: tuple[str, ...]


_RACES = "kernel/test_beneath.py::"
_STATIC = "unit/test_customer_paths.py::"
_REMOVAL = "kernel/test_removing.py::"
_BOOT = "unit/test_boot_paths.py::"
_LOGS = "system/test_customer_logs.py::"

ACTIONS = (
    Action(
        "make a home", "configurator, root", "containers/.<uid>/{home,tmp,sockets}",
        "insula.emperor.storage.layout:fill",
        "before the rename that shows it; below a held descriptor, owner and mode set on what was"
        " opened",
        "a new directory becomes a link between its mkdir and its chown",
        (_RACES + "test_root_makes_and_gives_away_only_what_is_in_the_home",),
    ),
    Action(
        "set a destroyed home aside", "configurator, root",
        "containers/<uid>, removed/<uid>-<time>",
        "insula.emperor.storage.btrfs:BtrfsStorage.set_aside",
        "a rename of names that are root's own, after every process of the container is dead",
        "the home is a link by then: it cannot be, its name lies in root's directory",
        (_REMOVAL + "test_what_is_set_aside_is_purged_under_the_hands_of_a_process_that_lived_on",),
    ),
    Action(
        "delete what was set aside", "insula node removed --purge, root", "removed/<uid>-<time>",
        "insula.emperor.kernel.beneath.removing:remove_tree",
        "directory by directory through descriptors; each becomes root's own as it is entered; no"
        " link is followed, no mount crossed, any depth; a btrfs subvolume goes whole",
        "a directory becomes a link while root goes down to it; a process that lived on fills it"
        " again; nesting beyond recursion, paths and descriptors",
        (
            _REMOVAL + "test_a_tree_is_deleted_whoever_swaps_names_in_it",
            _REMOVAL + "test_whoever_still_holds_a_directory_cannot_fill_it_for_ever",
            _REMOVAL + "test_a_tree_may_be_deeper_than_descriptors_paths_and_recursion",
            _REMOVAL + "test_what_is_mounted_in_a_tree_ends_its_deletion",
            _REMOVAL + "test_a_full_home_can_be_purged",
        ),
    ),
    Action(
        "take a destroyed container's places away", "configurator, root",
        "run/{keys,subscribe,roots}/<uid>, files/<uid>",
        "insula.configurator.hands:NodeHands.do",
        "the same deletion: a home that is still mounted below one of them ends it",
        "the gate, taken over, swaps names in run/subscribe/<uid>, which is its own",
        (_REMOVAL + "test_a_removed_directory_of_the_gates_is_removed_whatever_is_in_it",),
    ),
    Action(
        "delete a whole node", "insula node down --purge, root", "<lib>, <run>, <etc>",
        "insula.emperor.down:purge",
        "refused while anything is mounted there; then the same deletion",
        "a home that is mounted again meanwhile",
        (_REMOVAL + "test_what_is_mounted_in_a_tree_ends_its_deletion",),
    ),
    Action(
        "read the end of a container's log", "insula distro upgrade, root",
        "containers/<uid>/home/logs/emperor.log",
        "insula.emperor.distros.watching:last_lines",
        "one openat2 below a held descriptor, never waiting; a regular file of the uid's own with"
        " one name; 4096 bytes, made printable",
        "the log, or ~/logs, becomes a link, a pipe, a device, another name of root's file, a file"
        " of a terabyte, a file with a lease on it",
        (
            _RACES + "test_root_reads_only_the_customers_own_plain_file",
            _RACES + "test_root_reads_through_no_directory_that_became_a_link",
            _RACES + "test_a_lease_does_not_let_root_wait",
        ),
    ),
    Action(
        "read disk usage and limits", "configurator, root", "the pool's quota tree",
        "insula.emperor.storage.ioctl:groups",
        "from the kernel by number (ioctl), not from a program that prints names",
        "a subvolume whose name is a line of that table",
        (_RACES + "test_figures_come_from_the_kernel_and_not_from_names",),
    ),
    Action(
        "look at a container's files", "configurator, root",
        "run/keys/<uid>/signing.pem and others that are bound into it",
        "insula.configurator.actual:read_bytes",
        "all are root's own in root's directories, mounted read-only; never waiting; the filter"
        " refuses leases",
        "a lease (fcntl) on a file of one's own: root waits 45 s at each look",
        (_RACES + "test_a_lease_on_the_signing_key_does_not_stop_the_configurator",),
    ),
    Action(
        "ask the API", "configurator and commands, root; dominator, collector",
        "run/api-operator/api.sock, run/api-node/api.sock",
        "insula.emperor.daemon.http:UnixConnection.connect",
        "the name is opened without following it, must be a socket, and is connected to by that"
        " descriptor; 64 MiB and a time-out bound the answer",
        "the API's container, taken over, puts a link to another program's socket there",
        (_RACES + "test_root_connects_to_no_socket_that_a_link_leads_to",),
    ),
    Action(
        "ask the router for its figures", "insula distro upgrade, root",
        "run/router-stats/stats.sock",
        "insula.emperor.statistics:_listed",
        "the same connection; the directory is the router's",
        "the router, taken over, puts a link to another program's socket there",
        (_RACES + "test_root_connects_to_no_socket_that_a_link_leads_to",),
    ),
    Action(
        "read the gate's trace", "insula explain, root", "run/trace/dominator/<uid>.jsonl",
        "insula.emperor.daemon.trace:read",
        "below a held descriptor, never waiting, a regular file with one name, 4 MiB; lines that"
        " are no events are left out, details made printable",
        "the gate, taken over, lays a link, a pipe or a huge file there",
        (_RACES + "test_an_operator_reads_no_other_file_as_a_trace",),
    ),
    Action(
        "give a sign of life", "configurator, root; dominator, collector",
        "run/beats/<pid>-<start>",
        "insula.emperor.daemon.beat:Beat.__call__",
        "opened without following a link or waiting, in a sticky directory",
        "another daemon, taken over, makes a pipe of that name first",
        (_RACES + "test_a_pipe_in_its_beats_place_holds_no_daemon",),
    ),
    Action(
        "list the copies of the API's database", "insula node restore, root", "<lib>/api-backups",
        "insula.emperor.apidata:backups",
        "names only, of a fixed form; no file in it is opened",
        "the API's container, taken over, lays a link there",
        (_STATIC + "test_only_listed_code_reaches_for_customers_ground",),
    ),
    Action(
        "put a copy in place", "insula node restore, as the API's uid", "the API's home",
        "insula.emperor.apidata:_run_inside",
        "inside the API's container, as its uid, by `insula enter`",
        "the database is a link to root's file",
        (_STATIC + "test_a_command_becomes_the_container_before_it_goes_home",),
    ),
    Action(
        "show a container's log", "insula logs, as the uid", "~/logs/emperor.log",
        "insula.emperor.cli.logs:tail",
        "the distro's own tail, inside, as the uid, with no way back to the operator's terminal",
        "the log is a link to root's file, a device, a pipe",
        ("kernel/test_enter.py::test_the_log_is_read_with_the_containers_own_rights",),
    ),
    Action(
        "run a command inside", "insula enter, as the uid", "~",
        "insula.emperor.cli.enter:_become_command",
        "the uid, no capability and the filter come before the chdir; terminals are devpts names,"
        " which no customer can change",
        "the home, the shell or the terminal is a link",
        (_STATIC + "test_a_command_becomes_the_container_before_it_goes_home",),
    ),
    Action(
        "boot: mount the home, /tmp and the sockets", "containers Emperor, root",
        "containers/<uid>/{home,tmp,sockets}",
        "emperor/container.ini: mount:none @lib@/pool/containers/%(container)/home",
        "source and target are names in root's directories; nothing that root does later in the"
        " boot has a path through one of them",
        "a name in the home is a link where root mounts next: root mounts nothing there",
        (_BOOT + "test_no_hook_of_the_boot_goes_through_what_a_customer_can_write",),
    ),
    Action(
        "boot: open the log, go home, read the vassals", "a container's first process, as the uid",
        "~/logs/emperor.log, ~, ~/vassals",
        "emperor/uwsgi/insula/home.c: int insula_hook_log(char *path)",
        "by hooks that refuse to run as root, and by what uWSGI does after its change of uid; until"
        " then lines go to the node's own log; what is missing or spoilt keeps no container from"
        " its boot",
        "the log is a link to a file of root's, a pipe, a directory; ~/vassals is gone or closed",
        (
            _BOOT + "test_customers_paths_stand_in_options_that_count_after_the_change_of_uid",
            _LOGS + "test_what_is_written_to_a_log_is_written_as_its_customer",
            _LOGS + "test_a_spoilt_home_keeps_no_container_from_its_boot",
        ),
    ),
    Action(
        "watch ~/vassals", "a container's first process, as the uid", "~/vassals",
        "emperor/uwsgi/insula/insula.c: static void watch_init(",
        "a monitor starts with the sub-Emperor, after the change of uid",
        "~/vassals is a link",
        (_BOOT + "test_customers_paths_stand_in_options_that_count_after_the_change_of_uid",),
    ),
    Action(
        "look at a process for the log", "Emperors, root", "/proc/<pid>/cmdline",
        "emperor/uwsgi/insula/care.c: static void name_of(",
        "120 bytes, printable ones alone",
        "a command line that steers the reader's terminal, or has no end",
        (_BOOT + "test_the_c_code_opens_nothing_new",),
    ),
    Action(
        "read a customer's own ssh keys", "sshd's helper, as the uid", "~/.ssh/authorized_keys",
        "emperor/units/sshd_config: AuthorizedKeysCommandUser %u",
        "64 KiB by dd as the uid, never waiting",
        "a link, a pipe, a file with a hole of gigabytes",
        (
            "kernel/test_pam.py::"
            "test_of_the_customers_own_list_only_the_beginning_of_a_plain_file_is_read",
        ),
    ),
    Action(
        "a session's monitor", "sshd, root with six capabilities", "/dev/pts/<n>, /run/utmp",
        "pam/pam_insula.c: static bool enter(",
        "inside the container's mounts, where /dev, /run and /etc are root's own and read-only or"
        " not the customer's to write; no right to pass over file permissions",
        "the terminal or utmp is a link",
        ("system/test_walls.py::test_w_shows_nobody_of_the_machine_or_of_the_neighbours",),
    ),
    Action(
        "cover files of /proc in a running container", "lxcfs's starter, root", "/proc/<file>",
        "insula.emperor.kernel.covers:_put_all",
        "in the container's mount namespace, where / and /proc cannot be changed by it; an unmount"
        " follows no link",
        "/proc is another thing by then: mounts are refused to customers",
        ("system/test_walls.py::test_what_is_the_platforms_is_not_permitted",),
    ),
    Action(
        "connect to an app", "router, its own uid", "run/apps/<uid>/sockets/<name>",
        "insula.emperor.service:_show_apps",
        "a view of the homes that follows no link (nosymfollow), below a name that the gate has"
        " checked",
        "an app's socket becomes a link to a neighbour's",
        ("kernel/test_gate.py::test_an_address_that_became_a_link_is_not_followed",),
    ),
    Action(
        "look at an announced socket, answer an app", "dominator, its own uid",
        "run/apps/<uid>/sockets/<name>",
        "insula.dominator.daemon:Daemon._is_own_socket",
        "lstat and sendto in that view, without any right of root's",
        "the answer's address is a link to another program's socket",
        ("kernel/test_gate.py::test_an_address_that_became_a_link_is_not_followed",),
    ),
    Action(
        "anything else, by a path", "configurator and commands, root",
        "whatever leads through a directory above",
        "insula.emperor.kernel.beneath.guard:refuse_paths",
        "the program refuses to open, list or change it, or to hand it to another program",
        "an operator types a path below a home: insula distro import x ~30001/image.tar",
        (_RACES + "test_a_program_of_roots_refuses_every_path_into_a_home",),
    ),
)  # fmt: skip


def page() -> str:
    """docs/customer-paths.md."""
    rows = [
        f"| {item.what} | {item.who} | `{item.path}` | {item.how} | {item.attack} | "
        f"`{item.where.partition(': ')[0]}` |"
        for item in ACTIONS
    ]
    return _HEAD + "\n".join(rows) + "\n"


_HEAD = """\
# What root does where a customer can write

A customer can write in its home, `/tmp` and `/run/sockets`, and may make any name there a link, a
pipe or another name of a file at any moment. So root goes no way through them by name:
`emperor/kernel/beneath/` holds a directory by a descriptor and reaches what is below by openat2(2),
without links, `..` and mounts, and it is the only code that does: a test
(`tests/unit/test_customer_paths.py`) finds any other, and the configurator and the commands refuse
such a path when they meet one at run time. The directories of the API's container, of the router
and of the gate are treated in the same way: whoever takes one of them over is a customer like any
other to root.

Written from `emperor/kernel/beneath/actions.py`
(`python -m insula.emperor.kernel.beneath.actions > docs/customer-paths.md`).

| what | who | where | how | the attack | code |
|---|---|---|---|---|---|
"""

if __name__ == "__main__":
    print(page(), end="")
