"""The hub, with its administrator's token."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until


class Hub:
    """The hub's API for services, and what makes the hub forget a person.

    Parameters
    ----------
    url
        Where it answers.
    password
        What everybody signs in with.
    token
        The administrator's.
    cluster
        Where its servers run.
    """

    def __init__(self, url: str, password: str, token: str, cluster: Cluster) -> None:
        self.url = url
        self.password = password
        self._cluster = cluster
        self._http = httpx.Client(
            base_url=f"{url}/hub/api/",
            headers={"Authorization": f"token {token}"},
            timeout=60,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Call the hub's API as its administrator, whatever the answer is."""
        return self._http.request(method, path, **request)

    def answers(self) -> bool:
        """Say whether the hub itself answers, not only the proxy before it."""
        try:
            return self._http.get("").status_code == 200
        except httpx.TransportError:
            return False

    def forget(self, name: str) -> None:
        """Stop a person's servers, and remove the person with all files and objects."""
        with Person(self.url, name) as person:
            person.sign_in(self.password)
            for server in person.model()["servers"]:
                (person.named(server) if server else person).stop()
        self.call("DELETE", f"users/{quote(name)}").raise_for_status()
        self._cluster.delete_profile(namespace_name(name))

    def restart(self) -> None:
        """Delete the hub's pod, and return once it is gone; it comes back by itself."""
        (before,) = self._cluster.pods("kfspawner", "app.kubernetes.io/name=hub")
        self._cluster.core.delete_namespaced_pod(before["metadata"]["name"], "kfspawner")

        def replaced() -> bool:
            pods = self._cluster.pods("kfspawner", "app.kubernetes.io/name=hub")
            return all(pod["metadata"]["uid"] != before["metadata"]["uid"] for pod in pods)

        until(replaced, "the hub's old pod is gone")

    def wait(self, seconds: float) -> None:
        """Return once the hub answers again."""
        until(self.answers, "the hub answers", seconds)
