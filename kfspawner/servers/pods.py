"""What there is of a server on the cluster: how it is made, looked at and stopped."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from kfspawner.errors import (
    ClusterBusy,
    ClusterDenied,
    ClusterError,
    ClusterUnreachable,
    ObjectExists,
)
from kfspawner.homes.asking import drop_mounts
from kfspawner.homes.home import (
    ask_to_archive,
    ensure_home,
    find_home,
)
from kfspawner.homes.place import Place
from kfspawner.labels import USER_ANNOTATION
from kfspawner.profiles import pace
from kfspawner.profiles.answers import mapped
from kfspawner.profiles.patience import patiently
from kfspawner.profiles.profile import Manifest
from kfspawner.profiles.resources import Selection
from kfspawner.servers.mounting import Mounting
from kfspawner.servers.over_quota import explain
from kfspawner.servers.removal import is_of, is_removed, stop_all

# Seconds until a pod that could not be deleted is deleted again; then longer.
_DELETE_AGAIN = 0.5


class Pods(Mounting):
    """KubeSpawner's requests for a server's claim and pod, in a namespace that people share.

    KubeSpawner takes whatever has the name of a person's pod for theirs. Where
    two names come to one slug that would be somebody else's; it stays.
    """

    # The uid of the pod that was made for the server; empty while it is not known.
    _pod_uid = ""

    @property
    def _doing(self) -> str:
        return f"starting the server of {self.user.name}"

    # What is made.

    async def _make_create_pvc_request(self, pvc: Manifest, _request_timeout: float) -> bool:
        claims = [it for it in (pvc, self.get_folder_manifest()) if it]
        source = self.home_source
        try:
            if source.claim:
                await find_home(self._cluster, pvc)
            else:
                made = await asyncio.gather(
                    *(ensure_home(self._cluster, it, source) for it in claims)
                )
                self._remarks = (_say_begun(pvc),) if made[0] else ()
        except ClusterDenied as error:
            raise await self._explained(error) from error
        await self._ensure_mounts()
        return True

    async def _make_create_pod_request(self, pod: Any, _request_timeout: float) -> bool:
        """Create the pod and return True; False if an old one of this server goes first.

        KubeSpawner's own writes the pod to the log where it is refused, and the
        server's token with it; and it deletes whatever has the pod's name.
        """
        manifest: Manifest = self.api.api_client.sanitize_for_serialization(pod)
        manifest["metadata"]["namespace"] = self.namespace
        try:
            made = await patiently(lambda: self._cluster.create(manifest))
            self._pod_uid = str(made["metadata"]["uid"])
            self.pod_reflector.put(made)
        except ObjectExists:
            pass
        except ClusterDenied as error:
            # A full quota is told first, even where it is this server's old pod that fills it.
            if not _is_over_quota(error) or not await self._has_old_pod():
                raise await self._explained(error) from error
        else:
            return True
        if await self._has_old_pod():
            self.log.info("Stopping the pod that %s has already", self._log_name)
            await self.stop(now=True)
        return False

    async def _has_old_pod(self) -> bool:
        """Say whether there is a pod of this server; ClusterDenied if it is another's."""
        named = Selection("Pod", self.namespace, fields=f"metadata.name={self.pod_name}")
        pods = [pod async for page, _ in self._cluster.pages(named) for pod in page]
        if not all(is_of(pod, self.user.name) for pod in pods):
            raise ClusterDenied(
                self._doing,
                f"pod {self.pod_name} in profile {self.namespace} is somebody else's",
                "nothing of it was touched; choose another profile, or show this to the "
                "administrator",
            )
        return bool(pods)

    async def _ensure_not_exists(self, _kind: str, _name: str) -> bool:
        """Return True: the secret and the service of an earlier pod go with that.

        So the hub may make them, and needs no right to read or delete any.
        """
        return True

    async def _make_create_resource_request(self, _kind: str, resource: Any) -> bool:
        """Create the pod's secret or service and return True; False if that may work soon."""
        manifest: Manifest = self.api.api_client.sanitize_for_serialization(resource)
        manifest["metadata"]["namespace"] = self.namespace
        try:
            await self._cluster.create(manifest)
        except (ClusterBusy, ClusterUnreachable, ObjectExists) as error:
            self.log.info("%s", error)
            return False
        return True

    async def _explained(self, error: ClusterDenied) -> ClusterDenied:
        if not _is_over_quota(error):
            return error
        return await explain(self._doing, error.cause, self._cluster, self.namespace)

    # What becomes of it.

    async def poll(self) -> int | None:
        """Return None while the server runs, and an exit code once it does not.

        Where `stop_on_removal` says so, the server of somebody who may start
        nothing in its profile any more does not.
        """
        self._follow_removals()
        try:
            if await self._is_anothers() or self._is_anew():
                return 1
        except ClusterError:
            # The API has not answered since the hub began. What ran before goes on, as
            # far as is known: JupyterHub would take an error for its end, and forget it.
            return None
        status: int | None = await super().poll()
        starting = self._start_future is not None and not self._start_future.done()
        if status is not None or starting or not self.stop_on_removal:
            return status
        return await self._stop_if_removed()

    async def _stop_if_removed(self) -> int | None:
        user, profile = self.user.name, self.namespace
        if not is_removed(self._directory, profile, user, self._groups):
            return None
        try:
            names = await stop_all(self._cluster, profile, user)
        except ClusterError as error:
            # JupyterHub would take an error for the server's end. The next look is soon.
            self.log.warning("%s was removed from %s, but: %s", user, profile, error)
            return None
        self.log.warning("%s was removed from %s: stopped %s", user, profile, ", ".join(names))
        return 1

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001
        """Stop the server; a pod of its name that is somebody else's stays."""
        if not await self._is_anothers():
            await super().stop(now)

    async def _make_delete_pod_request(
        self, pod_name: str, delete_options: Any, grace_seconds: int, request_timeout: float
    ) -> bool:
        """Delete the pod, and return True once it is gone, which KubeSpawner then looks for.

        However long the API is away: JupyterHub forgets a server whose stop fails,
        and its pod would run on.
        """
        request = (delete_options, grace_seconds, request_timeout)
        pause = _DELETE_AGAIN
        while not await self._is_deleted(pod_name, *request):
            await asyncio.sleep(pause)
            pause = min(2 * pause, pace.LATE)
        await self._until_gone(f"{self.namespace}/{pod_name}")
        return True

    async def _is_deleted(self, pod_name: str, *request: Any) -> bool:
        """Ask once for the end of the pod; say whether that was heard."""
        try:
            with mapped(f"stopping {pod_name}"):
                return bool(await super()._make_delete_pod_request(pod_name, *request))
        except ClusterDenied:
            raise
        except ClusterError as error:
            self.log.warning("%s", error)
            return False

    async def _until_gone(self, key: str) -> None:
        view = self.pod_reflector
        with suppress(TimeoutError):
            async with asyncio.timeout(self.start_timeout):
                while key in view.pods:
                    news = view.changed(key)
                    if key in view.pods:
                        await news.wait()

    async def delete_forever(self) -> None:
        """Have a deleted person's homes archived, in every profile; a named server has none.

        Unless `delete_pvc` is off. Nothing is deleted: the provisioner puts the
        files away, and the administrator may give them back.
        """
        if self.name or not self.delete_pvc or not self.home_source.is_ours:
            return
        running = sorted(it.name for it in self.user.spawners.values() if it.active)
        if running:
            # JupyterHub goes on to refuse the deletion, but has come here before.
            names = ", ".join(running)
            self.log.warning("Not archiving the homes of %s: %s runs", self.user.name, names)
            return
        await self._directory.ready()
        homes = [Place(profile.name, self.user.name) for profile in self._directory.profiles()]
        profiles = [home.profile for home in homes]
        archived, unwritten = await asyncio.gather(
            ask_to_archive(self._cluster, homes),
            drop_mounts(self._cluster, profiles, self.user.name),
            return_exceptions=True,
        )
        for error in (archived, unwritten):
            if isinstance(error, BaseException):
                raise error
        assert isinstance(archived, list)  # noqa: S101 - it is no exception
        self.log.info(
            "Archiving the homes of %s: %s", self.user.name, ", ".join(archived) or "none"
        )

    async def _is_anothers(self) -> bool:
        await self._start_watching_pods()
        pod = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        return pod is not None and not is_of(pod, self.user.name)

    def _is_anew(self) -> bool:
        """Say whether its pod is one that was made after what is known of the server.

        The hub's database may be one of before: to this pod it has no token, and
        people would find no way in. The next start takes its place.
        """
        pod = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        return bool(self._pod_uid) and pod is not None and pod["metadata"]["uid"] != self._pod_uid

    # What is remembered of it.

    def get_state(self) -> dict[str, Any]:
        """Return what the hub's database keeps: KubeSpawner's, and which pod it is."""
        state: dict[str, Any] = super().get_state()
        if self._pod_uid:
            state["pod_uid"] = self._pod_uid
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take in what the hub's database kept; of KubeSpawner's own, any pod is taken."""
        super().load_state(state)
        self._pod_uid = str(state.get("pod_uid") or "")

    def clear_state(self) -> None:
        """Forget the last server."""
        super().clear_state()
        self._pod_uid = ""


def _say_begun(claim: Manifest) -> str:
    metadata = claim["metadata"]
    return (
        f"Made a home for {metadata['annotations'].get(USER_ANNOTATION)!r:.80} in profile "
        f"{metadata['namespace']}: there was none under this name"
    )


def _is_over_quota(error: ClusterDenied) -> bool:
    return "exceeded quota" in error.cause
