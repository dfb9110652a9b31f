"""A server that is refused for the profile's quota: who uses it, and what would fit."""

from __future__ import annotations

from contextlib import suppress

from kfspawner.errors import ClusterDenied, ClusterError
from kfspawner.profiles.api import Api, Object
from kfspawner.quota import QuotaExcess


async def explain(doing: str, message: str, api: Api, namespace: str) -> ClusterDenied:
    """Return the refusal of a server's pod or home as its owner can act on it.

    Parameters
    ----------
    doing
        The action and its object: ``"starting the server of alice"``.
    message
        What the Kubernetes API said. What it says of something else than a
        quota is passed on as it is.
    api
        Asked for the pods of the namespace; without its answer the refusal
        says everything but who.
    namespace
        The profile's.
    """
    excess = QuotaExcess.parse(message)
    if excess is None:
        return ClusterDenied(doing, message, "show this to the administrator")
    pods: list[Object] = []
    with suppress(ClusterError):
        pods, _ = await api.list("Pod", namespace)
    return ClusterDenied(
        doing,
        excess.describe(namespace, pods),
        "choose less, stop a server or a run that you no longer need, or ask the administrator "
        "for more",
    )
