"""A notebook in which the Kubernetes API is called, with the notebook's own token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from deploy.kernel import Kernel
from tests.cluster.cluster import Object

# Calls the API as the account of the pod that it runs in.
CALL = """
import json, ssl, urllib.error, urllib.request

mounted = "/var/run/secrets/kubernetes.io/serviceaccount"
trusted = ssl.create_default_context(cafile=f"{mounted}/ca.crt")
direct = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
)

def call(method, path, body=None, headers=None):
    sent = {"Authorization": "Bearer " + open(f"{mounted}/token").read(), **(headers or {})}
    kind = "merge-patch+json" if method == "PATCH" else "json"
    sent["Content-Type"] = f"application/{kind}"
    request = urllib.request.Request(
        f"https://kubernetes.default.svc{path}",
        json.dumps(body).encode() if body is not None else None,
        sent,
        method=method,
    )
    try:
        return direct.open(request, timeout=10).status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["message"]
"""


@dataclass(frozen=True)
class Call:
    """One request to the Kubernetes API."""

    method: str
    path: str
    body: Object | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Notebook:
    """A kernel of a person's server, in which the API is called."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.say(CALL)

    def say(self, code: str) -> str:
        """Execute a cell, and return what it printed."""
        execution = self._kernel.execute(code)
        assert not execution.error, execution.text
        return execution.text

    def call(self, *calls: Call) -> list[tuple[int, str]]:
        """Make `calls`, and return the status and the message of each answer."""
        given = json.dumps([asdict(call) for call in calls])
        said = self.say(f"print(json.dumps([call(**it) for it in json.loads({given!r})]))")
        return [(int(status), str(message)) for status, message in json.loads(said)]
