"""The walls of a profile: its policies, evaluated for what may reach what."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from kfspawner.errors import InputError
from kfspawner.profiles.surroundings import Opening, Surroundings, read_opening
from kfspawner.profiles.walls import make_policies

NODE = "192.168.7.7"
PUBLIC_NODE = "203.0.113.7"
PUBLIC_NODE6 = "2001:db8:7::7"
SURROUNDINGS = Surroundings(
    hub_namespace="kfspawner",
    hub_account="kfspawner/hub",
    api_endpoints=(Opening(f"{NODE}/32", 6443), Opening("fd00::7/128", 6443)),
    node_addresses=(NODE, PUBLIC_NODE, PUBLIC_NODE6, "node-7", "fd00::7", "2001:db8:40::1/48"),
    openings=(Opening("10.9.0.5/32", 5000), Opening("10.8.0.0/16", 443)),
)


@dataclass(frozen=True)
class Peer:
    """A pod by its namespace and labels, or an address that is none of a pod's."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


def server(namespace: str) -> Peer:
    return Peer(namespace, {"component": "singleuser-server"})


def run(namespace: str) -> Peer:
    return Peer(namespace, {"kfspawner.io/run": "digits-bcdfg"})


HUB = Peer("kfspawner", {"app.kubernetes.io/name": "hub"})
PROXY = Peer("kfspawner", {"app.kubernetes.io/name": "proxy"})
DNS = Peer("kube-system", {"k8s-app": "kube-dns"})


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "this evaluator knows labels only"
    return all(labels.get(key) == text for key, text in selector.get("matchLabels", {}).items())


def is_peer(rule: Mapping[str, Any], peer: Peer, namespace: str) -> bool:
    if "ipBlock" in rule:
        assert set(rule) == {"ipBlock"}
        return bool(peer.address) and in_block(rule["ipBlock"], peer.address)
    if not peer.namespace:
        return False
    spaces = rule.get("namespaceSelector")
    if spaces is None:
        inside = peer.namespace == namespace
    else:
        inside = selects(spaces, {"kubernetes.io/metadata.name": peer.namespace})
    return inside and selects(rule.get("podSelector", {}), peer.labels)


def in_block(block: Mapping[str, Any], text: str) -> bool:
    address = ipaddress.ip_address(text)
    return address in ipaddress.ip_network(block["cidr"]) and not any(
        address in ipaddress.ip_network(cidr) for cidr in block.get("except", ())
    )


def is_allowed(direction: str, pod: Peer, peer: Peer, port: int, protocol: str = "TCP") -> bool:
    """Say whether the policies of the pod's namespace let it through, as Kubernetes does."""
    key = {"Egress": "to", "Ingress": "from"}[direction]
    applying = [
        policy["spec"]
        for policy in make_policies(pod.namespace, SURROUNDINGS)
        if direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    rules = [rule for spec in applying for rule in spec.get(direction.lower(), ())]
    return not applying or any(
        any(is_peer(each, peer, pod.namespace) for each in rule[key])
        and ("ports" not in rule or {"protocol": protocol, "port": port} in rule["ports"])
        for rule in rules
    )


def at(address: str) -> Peer:
    return Peer(address=address)


@pytest.mark.parametrize("pod", [server("kf-a"), run("kf-a"), Peer("kf-a")])
@pytest.mark.parametrize(
    ("peer", "port", "protocol", "expected"),
    [
        # Its own.
        (server("kf-a"), 8888, "TCP", True),
        (run("kf-a"), 23456, "TCP", True),
        (run("kf-a"), 23456, "UDP", True),
        # Somebody else's.
        (server("kf-b"), 8888, "TCP", False),
        (run("kf-b"), 23456, "TCP", False),
        (Peer("default"), 80, "TCP", False),
        # Names.
        (DNS, 53, "UDP", True),
        (DNS, 53, "TCP", True),
        (DNS, 9153, "TCP", False),
        (Peer("kube-system", {"k8s-app": "calico"}), 53, "UDP", False),
        (Peer("kf-b", {"k8s-app": "kube-dns"}), 53, "UDP", False),
        (at("169.254.20.10"), 53, "UDP", True),
        (at("169.254.20.10"), 80, "TCP", False),
        # The hub.
        (HUB, 8081, "TCP", True),
        (HUB, 8000, "TCP", False),
        (PROXY, 8001, "TCP", False),
        (PROXY, 8000, "TCP", False),
        (Peer("kf-b", {"app.kubernetes.io/name": "hub"}), 8081, "TCP", False),
        (Peer("kfspawner", {"app.kubernetes.io/name": "controller"}), 8081, "TCP", False),
        # The node: the Kubernetes API and nothing else.
        (at(NODE), 6443, "TCP", True),
        (at("fd00::7"), 6443, "TCP", True),
        (at(NODE), 6443, "UDP", False),
        (at(NODE), 10250, "TCP", False),
        (at(NODE), 2049, "TCP", False),
        (at(NODE), 22, "TCP", False),
        (at(PUBLIC_NODE), 10250, "TCP", False),
        (at(PUBLIC_NODE), 6443, "TCP", False),
        (at(PUBLIC_NODE6), 10250, "TCP", False),
        # A pod with a public address, for a network that sees only that.
        (at("2001:db8:40::9"), 8888, "TCP", False),
        # What the administrator opened.
        (at("10.9.0.5"), 5000, "TCP", True),
        (at("10.9.0.5"), 5001, "TCP", False),
        (at("10.9.0.6"), 5000, "TCP", False),
        (at("10.8.200.1"), 443, "TCP", True),
        # Addresses that are not the internet's.
        (at("169.254.169.254"), 80, "TCP", False),
        (at("fd00:ec2::254"), 80, "TCP", False),
        (at("100.100.100.200"), 80, "TCP", False),
        (at("168.63.129.16"), 80, "TCP", False),
        (at("192.0.0.192"), 80, "TCP", False),
        *(
            (at(address), 443, "TCP", False)
            for address in [
                *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
                *("100.64.0.1", "127.0.0.1", "0.0.0.0", "169.254.0.1", "224.0.0.1"),
                *("240.0.0.1", "255.255.255.255", "::1", "fe80::1", "fc00::1", "ff02::1"),
                *("::ffff:10.0.0.1", "64:ff9b::a00:1"),
            ]
        ),
        # Addresses that are, on any port.
        *(
            (at(address), 443, "TCP", True)
            for address in [
                *("1.1.1.1", "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0"),
                *("192.167.255.255", "192.169.0.0", "100.63.255.255", "100.128.0.0"),
                *("203.0.113.8", "198.51.100.1", "192.0.2.1", "223.255.255.255"),
                *("2001:db8:7::8", "2606:4700::1111", "3fff:ffff::1"),
            ]
        ),
        (at("1.1.1.1"), 22, "TCP", True),
        (at("1.1.1.1"), 123, "UDP", True),
    ],
)
def test_what_a_pod_reaches(
    pod: Peer,
    peer: Peer,
    port: int,
    protocol: str,
    expected: bool,  # noqa: FBT001
) -> None:
    assert is_allowed("Egress", pod, peer, port, protocol) is expected


@pytest.mark.parametrize(
    ("pod", "peer", "port", "expected"),
    [
        (server("kf-a"), PROXY, 8888, True),
        (server("kf-a"), HUB, 8888, True),
        (server("kf-a"), HUB, 8889, False),
        (server("kf-a"), run("kf-a"), 8888, True),
        (server("kf-a"), run("kf-a"), 9999, True),
        (run("kf-a"), server("kf-a"), 6006, True),
        (run("kf-a"), run("kf-a"), 23456, True),
        (run("kf-a"), PROXY, 8888, False),
        (run("kf-a"), HUB, 8888, False),
        (server("kf-a"), server("kf-b"), 8888, False),
        (server("kf-a"), Peer("kf-b", PROXY.labels), 8888, False),
        (server("kf-a"), Peer("kfspawner", {"app.kubernetes.io/name": "controller"}), 8888, False),
        (server("kf-a"), DNS, 8888, False),
        (server("kf-a"), at("1.1.1.1"), 8888, False),
        (server("kf-a"), at("10.0.0.1"), 8888, False),
        (run("kf-a"), at(NODE), 23456, False),
    ],
)
def test_what_reaches_a_pod(
    pod: Peer,
    peer: Peer,
    port: int,
    expected: bool,  # noqa: FBT001
) -> None:
    assert is_allowed("Ingress", pod, peer, port) is expected


def test_nothing_is_open_but_what_the_other_two_open() -> None:
    policies = make_policies("kf-a", SURROUNDINGS)

    assert [policy["metadata"]["name"] for policy in policies] == [
        "default-deny",
        "openings",
        "servers",
    ]
    assert policies[0]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(policy["metadata"]["namespace"] == "kf-a" for policy in policies)
    assert policies[1]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policies[2]["spec"]["policyTypes"] == ["Ingress"]


def networks(policies: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [
        peer["ipBlock"]
        for policy in policies
        for rule in policy["spec"].get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer
    ]


def test_the_api_server_takes_every_range() -> None:
    """An exception lies within its range, and is not all of it."""
    for block in networks(make_policies("kf-a", SURROUNDINGS)):
        network = ipaddress.ip_network(block["cidr"])
        for cidr in block.get("except", ()):
            inner: Any = ipaddress.ip_network(cidr)
            assert inner.subnet_of(network)
            assert inner != network
        assert block.get("except") != []


def test_the_order_of_nodes_and_endpoints_is_no_change() -> None:
    turned = Surroundings(
        hub_namespace=SURROUNDINGS.hub_namespace,
        hub_account=SURROUNDINGS.hub_account,
        api_endpoints=SURROUNDINGS.api_endpoints[::-1],
        node_addresses=SURROUNDINGS.node_addresses[::-1] * 2,
        openings=SURROUNDINGS.openings[::-1] * 2,
    )

    assert make_policies("kf-a", turned) == make_policies("kf-a", SURROUNDINGS)


@pytest.mark.parametrize(
    ("closed", "expected"),
    [
        ((), ["0.0.0.0/0", "2000::/3"]),
        (("0.0.0.0/0",), ["2000::/3"]),
        (("::/0",), ["0.0.0.0/0"]),
        (("2000::/3", "0.0.0.0/0"), []),
    ],
)
def test_all_of_the_internet_may_be_closed(closed: tuple[str, ...], expected: list[str]) -> None:
    surroundings = Surroundings("hubs", "hubs/hub", node_addresses=closed)
    blocks = networks(make_policies("kf-a", surroundings))

    assert [block["cidr"] for block in blocks] == ["169.254.20.10/32", *expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.1.2.3:5000", Opening("10.1.2.3/32", 5000)),
        (" 10.1.0.0/16:443 ", Opening("10.1.0.0/16", 443)),
        ("[fd00::1]:6443", Opening("fd00::1/128", 6443)),
        ("[fd00::/8]:443", Opening("fd00::/8", 443)),
        ("0.0.0.0/0:65535", Opening("0.0.0.0/0", 65535)),
    ],
)
def test_an_opening_is_read(text: str, expected: Opening) -> None:
    assert read_opening(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "10.1.2.3", "10.1.2.3:", ":443", "10.1.2.3:0", "10.1.2.3:65536", "10.1.2.3:-1"),
        *("10.1.2.3/16:443", "10.1.2.3/33:443", "10.1.2:443", "registry:5000", "fd00::1:443"),
        *("[10.1.2.3:443", "[fd00::1:443", "[]:443", "10.1.2.3:443:443", "10.1.2.3:4x", "x" * 500),
    ],
)
def test_what_is_no_opening_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_opening(text)

    assert str(caught.value).startswith(f"opening {text[:80]!r} to the profiles: ")
    offered = str(caught.value).rpartition("write it as ")[2].replace(" or ", ", ").split(", ")
    assert all(read_opening(each) for each in offered)
