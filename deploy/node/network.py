"""What the node adds to the machine's own network, and takes away again.

Two nftables rules in a table of its own, one line of ``/etc/hosts``, and the
kernel's switch for forwarding. The link itself goes with the node.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from deploy.commands import call
from deploy.node import layout as at
from deploy.node.layout import Layout

_TABLE = "kfspawner"
_HOSTS = Path("/etc/hosts")
_HOSTS_LINE = f"{at.NODE_ADDRESS} {at.REGISTRY_NAME} # kfspawner\n"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# The node's packets leave under the machine's address; nobody from outside the
# machine gets in, although it forwards.
_RULES = f"""
table ip {_TABLE}
delete table ip {_TABLE}
table ip {_TABLE} {{
    chain leave {{
        type nat hook postrouting priority srcnat;
        ip saddr {at.NODE_NETWORK} oifname != "{at.HOST_LINK}" masquerade
    }}
    chain enter {{
        type filter hook forward priority filter;
        oifname "{at.HOST_LINK}" ct state new drop
    }}
}}
"""


def attach(layout: Layout) -> None:
    """Let the node's packets out, and the registry's name be found."""
    kept = layout.root / "ip_forward.before"
    if not kept.exists():
        kept.write_text(_FORWARDING.read_text())
    _FORWARDING.write_text("1\n")
    call(["nft", "-f", "-"], "see that this kernel has nftables with NAT", stdin=_RULES)
    hosts = _HOSTS.read_text()
    if _HOSTS_LINE not in hosts:
        _HOSTS.write_text(hosts + ("" if hosts.endswith("\n") or not hosts else "\n") + _HOSTS_LINE)


def detach(layout: Layout) -> None:
    """Take back everything that `attach` did; nothing to take back is fine."""
    # What was never there is no error of ours. The kernel takes a dead node's
    # link away when it gets to it, seconds later; the next one needs the name now.
    for gone in (["ip", "link", "delete", at.HOST_LINK], ["nft", "delete", "table", "ip", _TABLE]):
        subprocess.run(gone, capture_output=True, check=False)
    hosts = _HOSTS.read_text()
    if _HOSTS_LINE in hosts:
        _HOSTS.write_text(hosts.replace(_HOSTS_LINE, ""))
    kept = layout.root / "ip_forward.before"
    if kept.exists():
        _FORWARDING.write_text(kept.read_text())
        kept.unlink()


def init_assignments(layout: Layout) -> str:
    """Return the shell assignments that ``init.sh`` begins with."""
    values = {
        "RUN": layout.run,
        "HOST_LINK": at.HOST_LINK,
        "HOST_ADDRESS": at.HOST_ADDRESS,
        "NODE_ADDRESS": at.NODE_ADDRESS,
        "SERVICE_NETWORK": at.SERVICE_NETWORK,
        "SBIN": layout.sbin,
        "SUPERVISORD": layout.venv / "bin" / "supervisord",
        "SUPERVISORD_CONF": layout.etc / "supervisord.conf",
    }
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def resolvers() -> str:
    """Return a resolv.conf whose servers can be reached from another network namespace.

    Where the machine asks a stub on its own loopback, systemd-resolved keeps
    the servers behind it in a file beside.
    """
    ours = Path("/etc/resolv.conf").read_text()
    behind = Path("/run/systemd/resolve/resolv.conf")
    if "nameserver 127." in ours and behind.exists():
        return behind.read_text()
    return ours
