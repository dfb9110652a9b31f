"""KfSpawner: KubeSpawner's traits and hooks, with kfspawner's answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from kfspawner.context import ServerContext
from kfspawner.errors import ClusterError, Error
from kfspawner.profiles.api import mapped
from kfspawner.profiles.manifests import CA_CONFIG_MAP, CA_KEY
from kfspawner.servers.choosing import CA_DIRECTORY, Choosing
from kfspawner.servers.defaults import HOME
from kfspawner.servers.progress import (
    Step,
    cannot_mount,
    cannot_start,
    describe,
    interleave,
    waits_for,
)
from kfspawner.servers.refused import StartRefused

_CA_FILE = f"{CA_DIRECTORY}/{CA_KEY}"
# What pip, requests, OpenSSL, curl and Node read the authorities from.
_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)
# For how many seconds a start waits for the controller.
_PROFILE_PATIENCE = 60.0


class KfSpawner(Choosing):
    """Spawns each server into the namespace of a profile that its person may use.

    Everything that KubeSpawner configures can be set here too; the defaults
    pass Pod Security `restricted`. In the order of a start, these hooks are
    overridden: those of `Choosing`, `_ensure_namespace`, `get_env`,
    `is_pod_running`, `progress`; and those of `Pods`.
    """

    # What is made on the cluster.

    async def start(self) -> str:
        """Start the server and return its URL; what goes wrong reads as one paragraph."""
        try:
            with mapped(self._doing):
                return await self._start_in_time()
        except Error as error:
            if self._options:
                self._refused[self.user.name] = self._options
            raise StartRefused(error) from error

    async def _start_in_time(self) -> str:
        # Before JupyterHub's own timeout, which could not say what was waited for.
        patience = max(1.0, self.start_timeout - 2.0)
        try:
            async with asyncio.timeout(patience):
                url: str = await super().start()
        except TimeoutError as error:
            events = self.events
            last = self._waits_for() or (describe(events[-1]) if events else str(error))
            raise ClusterError(
                self._doing,
                f"it did not run after {patience:.0f} seconds. {last}",
                "try again later, or choose another size or image profile",
            ) from error
        return url

    async def _ensure_namespace(self) -> None:
        # The controller makes it.
        await self._directory.wait_ready(self.namespace, _PROFILE_PATIENCE)
        if self._files.own_home:
            await self._directory.wait_ready(self._personal, _PROFILE_PATIENCE)

    def get_env(self) -> dict[str, Any]:
        """Return the server's environment: JupyterHub's, the certificates', and our context."""
        env: dict[str, Any] = super().get_env()
        uid, gid = self._ids
        context = ServerContext(
            user=self.user.name,
            namespace=self.namespace,
            image=self.image,
            repository=f"{self.registry_prefix.rstrip('/')}/{self.namespace}/runs",
            home_claim=self.pvc_name,
            home_sub_path=self.home_source.sub_path_of(self.user.name),
            home=HOME,
            mounts=json.dumps([[it.claim, it.path, it.read_only] for it in self._mounted]),
            registry_plain_http=self.registry_plain_http,
            uid=uid,
            gid=gid,
            ca_config_map=CA_CONFIG_MAP if self.private_ca else "",
        )
        env.update(context.to_env())
        # Kubernetes replaces $(NAME) in values; a person may be called that.
        for name in ("KFSPAWNER_USER", "JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME"):
            env[name] = str(env[name]).replace("$", "$$")
        if self.private_ca:
            env.update(dict.fromkeys(_CA_VARIABLES, _CA_FILE))
        return env

    def is_pod_running(self, pod: Mapping[str, Any] | None) -> bool:
        """Say whether the pod runs; while a start waits for it, raise if it never will."""
        starting = self._start_future is not None and not self._start_future.done()
        running = bool(super().is_pod_running(pod))
        if pod and starting and not running:
            error = cannot_start(pod) or cannot_mount(pod, self.events, datetime.now(UTC))
            if error:
                raise error
        return running

    # What the person sees meanwhile.

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of this pod; another namespace may have a pod of that name."""
        return [
            event
            for event in super().events
            if event["involvedObject"].get("namespace") == self.namespace
        ]

    def _waits_for(self) -> str:
        reflector = self.pod_reflector
        key = f"{self.namespace}/{self.pod_name}"
        return waits_for(reflector.pods.get(key)) if reflector else ""

    async def progress(self) -> AsyncGenerator[Step, None]:
        """Yield KubeSpawner's progress, and what the pod waits for, as one can act on it."""
        async with aclosing(interleave(self._events_told(), self._waits_for)) as steps:
            async for step in steps:
                yield step

    async def _events_told(self) -> AsyncGenerator[Step, None]:
        async with aclosing(super().progress()) as steps:
            async for step in steps:
                if "raw_event" in step:
                    step["message"] = describe(step["raw_event"])
                yield step
