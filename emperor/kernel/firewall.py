"""The node's firewall: one nft table whose text depends on the node's settings alone.

No rule names a container: its own are told by the prefix of their links, so a new container is
closed to the others from its first packet and the table never grows.
"""

import shutil
import subprocess
from ipaddress import IPv4Address, IPv4Network

from insula.emperor.errors import KernelError

# Where clouds tell a machine its secrets: most of them, Azure, Alibaba, Oracle. Some have their
# resolver at the same address.
_METADATA = "{ 169.254.0.0/16, 168.63.129.16, 100.100.100.200, 192.0.0.192 }"
# What a container may send before anything else is done with it: new connections and datagrams a
# second. The kernel handles packets before processes, those with real-time priority too: a flood of
# beginnings held both processors of a machine for 30 ms at a time (docs/benchmarks.md).
BEGINNINGS, DATAGRAMS = 500, 10_000
_OVER = "{{ iif limit rate over {rate}/second burst {burst} packets }}"
_TABLE = """\
table inet {table}
delete table inet {table}
table inet {table} {{
	set beginnings {{
		type iface_index
		size 65535
		flags dynamic,timeout
		timeout 1m
	}}
	set datagrams {{
		type iface_index
		size 65535
		flags dynamic,timeout
		timeout 1m
	}}
	chain floods {{
		type filter hook prerouting priority raw - 10; policy accept;
		iifname "{prefix}*" tcp flags & (syn | ack) == syn update @beginnings {beginnings} drop
		iifname "{prefix}*" meta l4proto != tcp update @datagrams {datagrams} drop
	}}
	chain prerouting {{
		type filter hook prerouting priority raw; policy accept;
		iifname "{prefix}*" meta nfproto ipv6 drop comment "containers have no IPv6"
		iifname "{prefix}*" fib saddr . iif oif missing drop comment "only its own address"
		iifname "{prefix}*" ip daddr {metadata} udp dport 53 accept comment "but its resolver"
		iifname "{prefix}*" ip daddr {metadata} tcp dport 53 accept
		iifname "{prefix}*" ip daddr {metadata} drop comment "no metadata service of a cloud"
	}}
	chain input {{
		type filter hook input priority filter; policy accept;
		iifname "{prefix}*" ct state established,related accept
		iifname "{prefix}*" ip daddr {gateway} icmp type echo-request accept
		iifname "{prefix}*" drop comment "a container opens nothing on the host"
	}}
	chain forward {{
		type filter hook forward priority filter; policy accept;
		iifname "{prefix}*" oifname "{prefix}*" drop comment "nor on another container"
		iifname "{prefix}*" ct state invalid drop
		oifname "{prefix}*" ct state established,related accept
		oifname "{prefix}*" drop comment "the outside only answers"
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr {network} oifname != "{prefix}*" fib saddr type != local masquerade
	}}
}}
"""

# After the firewall, so that it counts what gets through alone.
_CONNECTIONS_TABLE = """\
table inet {name} {{
	set connections {{
		type ipv4_addr
		size 65535
		flags dynamic
	}}
	chain forward {{
		type filter hook forward priority filter + 10; policy accept;
		iifname "{prefix}*" ct state new add @connections {{ ip saddr ct count over {most} }} drop
	}}
}}
"""
# Most machines follow 262144; an app that crawls has some hundreds.
CONNECTIONS = 4096


def ruleset(*, table: str, prefix: str, network: IPv4Network, gateway: IPv4Address) -> str:
    """The whole table as ``nft -f`` reads it; loading it replaces the one that is there at once."""
    return _TABLE.format(
        table=table, prefix=prefix, network=network, gateway=gateway, metadata=_METADATA,
        beginnings=_OVER.format(rate=BEGINNINGS, burst=2 * BEGINNINGS),
        datagrams=_OVER.format(rate=DATAGRAMS, burst=DATAGRAMS),
    )  # fmt: skip


def limit_connections(*, table: str, prefix: str, most: int = CONNECTIONS) -> bool:
    """Let no container hold more than ``most`` connections to the outside; False: it cannot count.

    The machine follows them all in one table, with its visitors' own, and turns new ones away when
    that is full. A table that is there is kept: a new one would count from nothing.
    """
    name = connections_table(table)
    if is_loaded(name):
        return True
    try:
        load(_CONNECTIONS_TABLE.format(name=name, prefix=prefix, most=most))
    except KernelError:
        return False
    return True


def connections_table(table: str) -> str:
    """The name of the table that counts, beside the firewall's own."""
    return f"{table}_connections"


def load(text: str) -> None:
    """Give a text to nft, which takes all of it or nothing. Raises KernelError."""
    _nft(["-f", "-"], text)


def is_loaded(table: str) -> bool:
    """True when the kernel has a table of this name."""
    return f"table inet {table}\n" in _nft(["list", "tables", "inet"], "")


def remove(table: str) -> None:
    """Take the table away if it is there, and the one that counts. Raises KernelError."""
    for name in (table, connections_table(table)):
        load(f"table inet {name}\ndelete table inet {name}\n")


def _nft(arguments: list[str], text: str) -> str:
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise KernelError("the firewall needs nft, which is not installed", "apt install nftables")
    done = subprocess.run(
        [program, *arguments], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise KernelError(
            f"nft {' '.join(arguments)}: {reason[0]}",
            "the kernel needs nf_tables with fib, ct and masquerade",
        )
    return done.stdout
