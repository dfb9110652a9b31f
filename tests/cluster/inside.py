"""Commands in the hub's pod, as its own services run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config
from kubernetes.stream import stream

_HUB = "app.kubernetes.io/name=hub"

# Runs what it is given for so many seconds, with the environment of the service that the
# hub itself has started, or with the administrator's token.
_AS_SERVICE = """
import glob, os, sys
seconds, token, *command = sys.argv[1:]
# The hub's own is the first.
for pid in sorted(int(it.split("/")[2]) for it in glob.glob("/proc/[0-9]*/cmdline")):
    words = open(f"/proc/{pid}/cmdline").read().split("\\0")
    if any(it.endswith("kfspawner") and then == "idle" for it, then in zip(words[:2], words[1:])):
        lines = open(f"/proc/{pid}/environ").read().split("\\0")
        environ = dict(it.split("=", 1) for it in lines if it)
        if token == "admin":
            environ["JUPYTERHUB_API_TOKEN"] = os.environ["KFSPAWNER_ADMIN_TOKEN"]
        os.execvpe("timeout", ["timeout", seconds, *command], environ)
sys.exit("the hub has started no such service")
"""


@contextmanager
def idling(environment: Mapping[str, str], seconds: int, *args: str, token: str) -> Iterator[None]:
    """Have ``kfspawner idle`` with `args` run in the hub's pod while this is open, and print it.

    Parameters
    ----------
    environment
        What `make env` exports.
    seconds
        After which it ends anyway.
    token
        ``own`` for that of the service in the deployed hub, ``admin`` for the administrator's.
    """
    settings = client.Configuration()
    config.load_kube_config(environment["KUBECONFIG"], client_configuration=settings)
    # One of its own: a stream changes how its client sends.
    with client.ApiClient(settings) as api:
        core = client.CoreV1Api(api)
        (pod,) = core.list_namespaced_pod("kfspawner", label_selector=_HUB).items
        command = ["python", "-c", _AS_SERVICE, str(seconds), token, "kfspawner", "idle", *args]
        running: Any = stream(
            core.connect_get_namespaced_pod_exec,
            pod.metadata.name,
            "kfspawner",
            container="hub",
            command=command,
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        said: list[str] = []
        over = threading.Event()

        def read() -> None:
            while running.is_open() and not over.is_set():
                running.update(timeout=1)
                said.append(running.read_all())

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()
            if running.is_open():
                running.close()
            # Once the other end has closed, that leaves the socket to the collector.
            running.sock.shutdown()
            print("".join(said), file=sys.stderr)
