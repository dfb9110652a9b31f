"""What reaches a profile's pods, and what they reach: nothing but what stands here.

Network policies are judged after a Service's address was replaced: they name
the ports of pods, and the addresses behind a Service.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from kfspawner.labels import MANAGED_BY
from kfspawner.profiles.profile import Manifest
from kfspawner.profiles.surroundings import Opening, Surroundings

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

HUB_PORT = 8081
SERVER_PORT = 8888
# On the pods of servers, by KubeSpawner.
SERVER_LABELS = {"component": "singleuser-server"}

# A cache of names on the node, where a cluster has one.
_NODE_DNS = "169.254.20.10/32"
_INTERNET = "0.0.0.0/0"
_INTERNET6 = "2000::/3"
# Inside 0.0.0.0/0, and not the public internet.
_NOT_INTERNET = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    # Azure's own to its machines: public by its number only.
    "168.63.129.16/32",
)


def make_policies(namespace: str, surroundings: Surroundings) -> list[Manifest]:
    """Return the NetworkPolicies of a profile's namespace."""
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    servers = {
        "podSelector": {"matchLabels": dict(SERVER_LABELS)},
        "ingress": [
            {
                "from": [_hub_pods(surroundings, name) for name in ("proxy", "hub")],
                "ports": [_tcp(SERVER_PORT)],
            }
        ],
        "policyTypes": ["Ingress"],
    }
    openings = {
        **everything,
        "ingress": [{"from": [{"podSelector": {}}]}],
        "egress": [
            {"to": [{"podSelector": {}}]},
            _names(),
            {"to": [_hub_pods(surroundings, "hub")], "ports": [_tcp(HUB_PORT)]},
            *_opened(surroundings.api_endpoints),
            *_opened(surroundings.openings),
            *_internet(surroundings.node_addresses),
        ],
    }
    return [
        _policy(namespace, name, spec)
        for name, spec in (
            ("default-deny", everything),
            ("openings", openings),
            ("servers", servers),
        )
    ]


def _policy(namespace: str, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(MANAGED_BY)},
        "spec": spec,
    }


def _names() -> Manifest:
    dns = {
        **_in_namespace("kube-system"),
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    return {
        "to": [dns, {"ipBlock": {"cidr": _NODE_DNS}}],
        "ports": [{"protocol": "UDP", "port": 53}, _tcp(53)],
    }


def _hub_pods(surroundings: Surroundings, name: str) -> Manifest:
    return {
        **_in_namespace(surroundings.hub_namespace),
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": name}},
    }


def _in_namespace(name: str) -> Manifest:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _opened(openings: Iterable[Opening]) -> list[Manifest]:
    # In an order of their own: how the cluster lists them is no change.
    ordered = sorted(set(openings), key=lambda opening: (opening.cidr, opening.port))
    return [
        {"to": [{"ipBlock": {"cidr": opening.cidr}}], "ports": [_tcp(opening.port)]}
        for opening in ordered
    ]


def _internet(closed: Iterable[str]) -> list[Manifest]:
    """Return the public internet less `closed`: addresses, or ranges of them."""
    blocks = []
    for cidr, not_internet in ((_INTERNET, _NOT_INTERNET), (_INTERNET6, ())):
        internet = ipaddress.ip_network(cidr)
        ranges = {network for network in _networks(closed) if network.version == internet.version}
        known = [ipaddress.ip_network(each) for each in not_internet]
        if any(_within(internet, network) for network in ranges):
            continue
        more = [
            network
            for network in ranges
            if _within(network, internet) and not any(_within(network, each) for each in known)
        ]
        excepted = [*not_internet, *sorted(str(network) for network in more)]
        block: Manifest = {"cidr": cidr}
        if excepted:
            block["except"] = excepted
        blocks.append({"ipBlock": block})
    return [{"to": blocks}] if blocks else []


def _networks(texts: Iterable[str]) -> Iterator[_Network]:
    for text in texts:
        try:
            yield ipaddress.ip_network(text, strict=False)
        except ValueError:
            # A node's name; it has an address too.
            continue


def _within(inner: _Network, outer: _Network) -> bool:
    return inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
