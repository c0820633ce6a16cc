"""The node's firewall: one nft table whose text depends on the node's settings alone.

No rule names a container: its own are told by the prefix of their links, so a new container is
closed to the others from its first packet and the table never grows.
"""

import shutil
import subprocess
from ipaddress import IPv4Address, IPv4Network

from insula.emperor.errors import KernelError

_TABLE = """\
table inet {table}
delete table inet {table}
table inet {table} {{
	chain prerouting {{
		type filter hook prerouting priority raw; policy accept;
		iifname "{prefix}*" meta nfproto ipv6 drop comment "containers have no IPv6"
		iifname "{prefix}*" fib saddr . iif oif missing drop comment "only its own address"
		iifname "{prefix}*" ip daddr 169.254.0.0/16 drop comment "no metadata service of a cloud"
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


def ruleset(*, table: str, prefix: str, network: IPv4Network, gateway: IPv4Address) -> str:
    """The whole table as ``nft -f`` reads it; loading it replaces the one that is there at once."""
    return _TABLE.format(table=table, prefix=prefix, network=network, gateway=gateway)


def load(text: str) -> None:
    """Give a text to nft, which takes all of it or nothing. Raises KernelError."""
    _nft(["-f", "-"], text)


def is_loaded(table: str) -> bool:
    """True when the kernel has a table of this name."""
    return f"table inet {table}\n" in _nft(["list", "tables", "inet"], "")


def remove(table: str) -> None:
    """Take the table away if it is there. Raises KernelError."""
    load(f"table inet {table}\ndelete table inet {table}\n")


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
