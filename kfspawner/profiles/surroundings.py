"""What every profile of a cluster has around it, and what is opened to it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from kfspawner.errors import InputError

_OPENING = re.compile(r"(?:(?P<four>[0-9./]+)|\[(?P<six>[0-9A-Fa-f:./]+)\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Opening:
    """One TCP port of a range of addresses, which the pods of all profiles reach."""

    cidr: str
    port: int


@dataclass(frozen=True)
class Surroundings:
    """What every profile of a cluster has around it.

    Attributes
    ----------
    hub_namespace, hub_account
        Where the hub runs, and its service account, ``namespace/name``.
    api_endpoints
        Where the Kubernetes API itself listens, behind its Service.
    node_addresses
        The addresses of the cluster's nodes, and the ranges of its pods where
        those are public addresses: what is not the internet although it looks so.
    openings
        What the administrator opens besides.
    ca
        Certificate authorities that servers are given, PEM text; empty for none.
    walls_only
        True beside Kubeflow's own controller, which makes the rest.
    """

    hub_namespace: str
    hub_account: str
    api_endpoints: tuple[Opening, ...] = ()
    node_addresses: tuple[str, ...] = ()
    openings: tuple[Opening, ...] = ()
    ca: str = ""
    walls_only: bool = False


def read_opening(text: str) -> Opening:
    """Return the opening that ``CIDR:PORT`` writes; a plain address is a range of one.

    Raises
    ------
    InputError
        If it is neither.
    """
    match = _OPENING.fullmatch(text.strip())
    try:
        network = ipaddress.ip_network(match["four"] or match["six"]) if match else None
    except ValueError:
        network = None
    port = int(match["port"]) if match else 0
    if network is None or not 0 < port < 2**16:
        raise InputError(
            f"opening {text[:80]!r} to the profiles",
            "it is no range of addresses with a port",
            "write it as 10.1.2.3:5000, 10.1.0.0/16:443 or [fd00::/8]:443",
        )
    return Opening(str(network), port)
