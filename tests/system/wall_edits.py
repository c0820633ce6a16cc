"""Which words of an installed file make each wall, and what stands there while it is down."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Words of an installed file, and what stands there while the wall is down."""

    file: str  # below the place of its kind: the package, <etc>/ssh, pam
    old: str
    new: str


GATE = {
    "gate-owner": [Edit(
        "dominator/ownership.py", "        if uid not in self.customer_of:", "        if True:\n"
        "            return None\n        if uid not in self.customer_of:",
    )],
    "gate-name": [Edit(
        "dominator/gate.py", 'names.domain(packet.key, path="key")', "packet.key",
    )],
    "gate-signature": [
        Edit("dominator/gate.py", "not packet.signature or not packet.unix", "not packet.unix"),
        Edit("dominator/gate.py", "None if verifies else Reason.BAD_SIGNATURE", "None"),
    ],
    "gate-packet": [Edit(
        "dominator/packet.py", 'name not in _KNOWN or name in values or "sign" in values',
        "name not in _KNOWN",
    )],
    "gate-time": [
        Edit("dominator/gate.py", "reason = self._time(packet.unix, clock.unix)", "reason = None"),
        Edit("dominator/history.py", "if digest in known.digests:", "if False:"),
        Edit("dominator/history.py", "if unix < known.unix:", "if False:"),
    ],
    "gate-address": [Edit(
        "dominator/gate.py", "        uid, name = heard.socket_uid, socket_name(packet)\n",
        "        uid, name = heard.socket_uid, socket_name(packet)\n        if not name:\n"
        "            return packet.address\n",
    )],
}  # fmt: skip
SSHD = {
    # as the machine's root, through links, waiting for pipes, without an end
    "sshd-keys": [Edit(
        "sshd_config", "iflag=nonblock,nofollow,fullblock bs=65536 count=1 status=none\n"
        "AuthorizedKeysCommandUser %u", "status=none\nAuthorizedKeysCommandUser root",
    )],
    # everybody's keys count for everybody
    "sshd-accounts": [Edit("sshd_config", "if=/containers/%U/", "if=/containers/ATTACKER/")],
    "sshd-config": [Edit("sshd_config", "AcceptEnv LC_* COLORTERM", "AcceptEnv *")],
}  # fmt: skip
API = {
    "names": [
        Edit("vassals/names.py", "if LABEL.fullmatch(text) is None:", "if False:"),
        Edit("vassals/names.py", "if TIMEZONE.fullmatch(text) is None:", "if False:"),
    ],
    "api-filter": [Edit(
        "api/actions/actor.py", "self.customer is None or self.customer.id == customer_id", "True",
    )],
    "api-doors": [Edit(
        "api/doors.py", "_DIRECTORIES.get(os.path.basename(os.path.dirname(path)))",
        "_DIRECTORIES['api-operator']",
    ), Edit("api/doors.py", "if uid not in _PEERS[door]:", "if False:")],
}  # fmt: skip
# ``insula logs`` and ``insula enter`` go into the container by these.
ENTER = {
    "own-root": [
        Edit("emperor/kernel/namespaces.py", "ALL = CLONE_NEWNS | ", "ALL = "),
        Edit("emperor/cli/enter.py", 'f"/containers/{uid}"', 'f"HOMES/{uid}/home"'),
    ],
    "own-uid": [Edit("emperor/cli/enter.py", "privileges.become(uid)", "pass")],
    "beneath": [Edit("emperor/kernel/beneath/guard.py", "if not _guarded:", "if False:")],
    # any process counts that is the first of some pid namespace; the last one found is taken
    "doorway": [
        Edit("emperor/kernel/namespaces.py", 'len(numbers) != 2 or numbers[1] != "1"',
             'numbers[-1] != "1"'),
        Edit("emperor/kernel/namespaces.py", "len(found) > 1 or None in found.values()", "False"),
        Edit("emperor/kernel/namespaces.py", "next(iter(found))", "list(found)[-1]"),
    ],
}  # fmt: skip
PAM = {
    "own-root": [Edit("pam_insula.c", "(CLONE_NEWNS | ", "(")],
    "own-network": [Edit("pam_insula.c", " | CLONE_NEWNET", "")],
    "doorway": [Edit("pam_insula.c", "same ? READY : BOOTING", "same ? READY : READY")],
}
