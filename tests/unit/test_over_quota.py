"""What the hub says of a server that is over the quota."""

from __future__ import annotations

import asyncio
from typing import Any

from kfspawner.errors import ClusterDenied, ClusterUnreachable
from kfspawner.servers.over_quota import explain
from tests.fakes.api import FakeApi

DOING = "starting the server of carol"
GPU = "requests.nvidia.com/gpu"
FULL = (
    'pods "jupyter-carol" is forbidden: exceeded quota: kf-resource-quota, '
    f"requested: {GPU}=1, used: {GPU}=1, limited: {GPU}=1"
)


def make_server(user: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"jupyter-{user}",
            "namespace": namespace,
            "labels": {"component": "singleuser-server"},
            "annotations": {"hub.jupyter.org/username": user},
        },
        "spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
        "status": {"phase": "Running"},
    }


def told(message: str, api: FakeApi) -> str:
    error = asyncio.run(explain(DOING, message, api, "vision"))
    assert type(error) is ClusterDenied
    return str(error)


def test_who_has_it_and_what_would_fit() -> None:
    api = FakeApi(make_server("bob", "vision"), make_server("dave", "speech"))
    assert told(FULL, api) == (
        "starting the server of carol: the quota of profile vision leaves too little GPU: 1 asked "
        "for, 1 of 1 in use by bob's server; 0 would fit; choose less, stop a server or a run that "
        "you no longer need, or ask the administrator for more"
    )


def test_without_the_pods_it_says_the_rest() -> None:
    api = FakeApi()
    api.refusals["list"] = [ClusterUnreachable("listing pods", "away", "wait")]
    assert "1 asked for, 1 of 1 in use; 0 would fit" in told(FULL, api)


def test_another_refusal_is_passed_on() -> None:
    api = FakeApi()
    words = 'pods "x" is forbidden: violates PodSecurity'
    assert told(words, api) == f"{DOING}: {words}; show this to the administrator"
    assert not api.calls
