"""The Kubernetes API as its administrator has it: plain dicts in, plain dicts out."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kubernetes import client
from urllib3.exceptions import HTTPError

from deploy.node.layout import Layout
from kfspawner.labels import (
    DELETE_FILES_ANNOTATION,
    PROFILE_LABEL,
    RUN_LABEL,
    VOLUME_LABEL,
)

Object = dict[str, Any]

_PROFILES = ("kubeflow.org", "v1", "profiles")

LAYOUT = Layout.from_env()
# What the node's own NFS server exports.
EXPORTED = LAYOUT.exported


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> Any:
    """Return what `condition` returns as soon as that is true; fail naming `what` otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def condition_of(obj: Mapping[str, Any], kind: str) -> Object:
    """Return the condition of that type in an object's status, empty if there is none."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next((dict(it) for it in conditions if it["type"] == kind), {})


@contextlib.contextmanager
def absence_is_fine() -> Iterator[None]:
    """Let an object be gone already."""
    try:
        yield
    except client.ApiException as error:
        if error.status != 404:
            raise


class Cluster:
    """One cluster.

    Parameters
    ----------
    api
        A client of the `kubernetes` package; it is not closed here.
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._left: set[str] = set()
        self.core = client.CoreV1Api(api)
        self.batch = client.BatchV1Api(api)
        self.apps = client.AppsV1Api(api)
        self.network = client.NetworkingV1Api(api)
        self.rbac = client.RbacAuthorizationV1Api(api)
        self.custom = client.CustomObjectsApi(api)

    def plain(self, found: Any) -> Any:
        """Return what the API said as JSON has it."""
        return self._api.sanitize_for_serialization(found)

    def pods(self, namespace: str, selector: str = "") -> list[Object]:
        """Return the pods of a namespace that `selector` selects."""
        found = self.core.list_namespaced_pod(namespace, label_selector=selector)
        return list(self.plain(found)["items"])

    def pod(self, namespace: str, name: str) -> Object:
        """Return one pod."""
        return dict(self.plain(self.core.read_namespaced_pod(name, namespace)))

    def server_pod(self, namespace: str) -> Object:
        """Return the pod of the one server in a person's namespace."""
        (pod,) = self.pods(namespace, "component=singleuser-server")
        return pod

    def delete_pod(self, namespace: str, name: str) -> None:
        """Delete a pod at once, if it is there."""
        with absence_is_fine():
            self.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)

    def jobs(self, namespace: str) -> list[Object]:
        """Return the runs of a namespace."""
        found = self.batch.list_namespaced_job(namespace, label_selector=RUN_LABEL)
        return list(self.plain(found)["items"])

    def log(self, namespace: str, pod: str) -> str:
        """Return what a pod has printed so far, nothing if it has not begun."""
        try:
            return str(self.core.read_namespaced_pod_log(pod, namespace) or "")
        except client.ApiException as error:
            # Its container is not there yet; or kubelet, which says 404 then, has not heard of it.
            begins = error.status == 400 or (error.status == 404 and "pods/log" in str(error.body))
            if not begins:
                raise
            return ""

    def last_words(self, namespace: str, pod: str) -> str:
        """Return all that a pod has printed, once it has ended."""
        until(
            lambda: self.pod(namespace, pod)["status"]["phase"] in ("Succeeded", "Failed"),
            f"pod {pod} has ended",
        )
        return self.log(namespace, pod)

    def answers(self, namespace: str, pod: str, port: int, path: str) -> bool:
        """Say whether a pod answers HTTP, asked by the API server."""
        where = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{path.lstrip('/')}"
        try:
            return 200 <= self.status_of(where) < 300
        except HTTPError:
            return False

    def status_of(
        self,
        path: str,
        method: str = "GET",
        body: Object | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Return the HTTP status with which the API answers a request."""
        url = f"{self._api.configuration.host}{path}"
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        sent = {**self._api.default_headers, "Content-Type": kind, **(headers or {})}
        try:
            return int(self._api.call_api(method, url, sent, body, _request_timeout=5).status)
        except client.ApiException as error:
            return int(error.status)

    def metrics(self) -> str:
        """Return what the API server counts of itself."""
        answer = self._api.call_api("GET", f"{self._api.configuration.host}/metrics")
        return bytes(answer.read()).decode()

    def may(
        self, user: str, verb: str, resource: str, namespace: str = "", group: str = ""
    ) -> bool:
        """Say whether `user` may do that; a subresource after a slash, a namespace or all."""
        name, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": name, "subresource": subresource}
        groups = ["system:authenticated"]
        if user.startswith("system:serviceaccount:"):
            groups += ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"]
        spec = {
            "user": user,
            "groups": groups,
            "resourceAttributes": {**attributes, "namespace": namespace},
        }
        review = client.AuthorizationV1Api(self._api).create_subject_access_review({"spec": spec})
        return bool(review.status.allowed)

    def acting_as(self, user: str) -> Cluster:
        """Return this cluster as `user` has it, with that user's rights alone."""
        api = client.ApiClient(self._api.configuration)
        api.set_default_header("Impersonate-User", user)
        return Cluster(api)

    def images(self) -> Mapping[str, str]:
        """Return the images that the hub starts: ``cpu``, ``gpu`` and its own, ``hub``."""
        hub = self.plain(self.apps.read_namespaced_deployment("hub", "kfspawner"))
        container = hub["spec"]["template"]["spec"]["containers"][0]
        sources = [
            it["configMapRef"]["name"] for it in container["envFrom"] if "configMapRef" in it
        ]
        data: dict[str, str] = {}
        for name in sources:
            data |= self.core.read_namespaced_config_map(name, "kfspawner").data
        return {
            "cpu": data["KFSPAWNER_IMAGE_CPU"],
            "gpu": data["KFSPAWNER_IMAGE_GPU"],
            "hub": container["image"],
        }

    def run_pod(
        self,
        namespace: str,
        name: str,
        image: str,
        command: list[str],
        *,
        labels: Mapping[str, str] | None = None,
        account: str = "",
        uid: int = 1000,
        volumes: Mapping[str, Object] | None = None,
    ) -> None:
        """Start a pod that passes Pod Security `restricted`.

        With an `account`, its token is in the pod; `volumes` are by where they are mounted.
        """
        places = {f"v{number}": place for number, place in enumerate(volumes or {})}
        container = {
            "name": "main",
            "image": image,
            "command": command,
            "volumeMounts": [{"name": it, "mountPath": place} for it, place in places.items()],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": bool(account),
            "serviceAccountName": account or "default",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": uid,
                "runAsGroup": 100,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": it, **(volumes or {})[place]} for it, place in places.items()],
        }
        metadata = {"name": name, "labels": {"app": name, **(labels or {})}}
        self.core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": spec})

    def make_namespace(self, name: str) -> None:
        """Make a namespace under Pod Security `restricted`, with its default account."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.core.create_namespace({"metadata": {"name": name, "labels": labels}})
        until(
            lambda: self.core.list_namespaced_service_account(name).items,
            f"namespace {name} has its default account",
        )

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace, without waiting for the end of it; `sweep` removes its files."""
        self._left.add(name)
        with absence_is_fine():
            self.core.delete_namespace(name)

    def make_profile(
        self,
        name: str,
        owner: str | Object,
        annotations: Mapping[str, str] | None = None,
        **spec: object,
    ) -> Object:
        """Make a Profile as with kubectl, and return it once it is Ready.

        Parameters
        ----------
        name
            Its own, and its namespace's.
        owner
            A person's name, or the whole of ``spec.owner``.
        annotations
            Of the Profile: groups, members, and so on.
        spec
            Further fields of its ``spec``, as in the manifest.
        """
        if isinstance(owner, str):
            owner = {"kind": "User", "name": owner}
        group, version, plural = _PROFILES
        profile = {
            "apiVersion": f"{group}/{version}",
            "kind": "Profile",
            "metadata": {"name": name, "annotations": dict(annotations or {})},
            "spec": {"owner": owner, **spec},
        }
        self.custom.create_cluster_custom_object(group, version, plural, profile)
        return self.ready_profile(name)

    def profile(self, name: str) -> Object | None:
        """Return a Profile; None if there is none."""
        try:
            return dict(self.custom.get_cluster_custom_object(*_PROFILES, name))
        except client.ApiException as error:
            if error.status != 404:
                raise
            return None

    def ready_profile(self, name: str, seconds: float = 30) -> Object:
        """Return a Profile as soon as it is Ready."""
        deadline = time.monotonic() + seconds
        while True:
            profile = self.profile(name)
            condition = condition_of(profile or {}, "Ready")
            if profile and condition.get("status") == "True":
                return profile
            said = f"{condition or 'no condition'}" if profile else "there is none"
            assert time.monotonic() < deadline, f"profile {name} is not ready: {said}"
            time.sleep(0.1)

    def patch_profile(self, name: str, patch: Object) -> None:
        """Merge `patch` into a Profile, as ``kubectl patch`` does."""
        self.custom.patch_cluster_custom_object(*_PROFILES, name, patch)

    def delete_profile(self, name: str) -> None:
        """Delete a Profile and its namespace, without waiting; `sweep` removes its files."""
        self._left.add(name)
        consent = {"metadata": {"annotations": {DELETE_FILES_ANNOTATION: name}}}
        with absence_is_fine():
            self.patch_profile(name, consent)
            self.custom.delete_cluster_custom_object(*_PROFILES, name)

    def volumes(self, profile: str) -> list[Object]:
        """Return the volumes of a profile's homes, folder and archives."""
        selector = f"{PROFILE_LABEL}={profile}"
        found = self.core.list_persistent_volume(label_selector=selector)
        return list(self.plain(found)["items"])

    def sweep(self) -> None:
        """Remove the files of all that was deleted here: homes are kept, but not those of tests."""
        existing = {it.metadata.name for it in self.core.list_namespace().items}
        for name in self._left & existing:
            until(partial(self._is_gone, name), f"namespace {name} is gone", 120)
        for name in self._left:
            # What the provisioner still has to put away would be back.
            until(partial(self._are_archived, name), f"files of {name} are archived", 120)
            for volume in self.volumes(name):
                self._drop(volume)
        self._left.clear()

    def _is_gone(self, namespace: str) -> bool:
        try:
            self.core.read_namespace(namespace)
        except client.ApiException as error:
            if error.status != 404:
                raise
            return True
        return False

    def _are_archived(self, profile: str) -> bool:
        kinds = {it["metadata"]["labels"][VOLUME_LABEL] for it in self.volumes(profile)}
        # What is mounted there of others goes by itself, and their files stay.
        return kinds <= {"archive"}

    def _drop(self, volume: Object) -> None:
        """Delete a volume and its directory, where that is on this very machine."""
        self.core.delete_persistent_volume(volume["metadata"]["name"])
        directory = directory_of(volume)
        if directory.exists():
            shutil.rmtree(directory)
            # A profile has a directory of each of its people.
            for above in (directory.parent, EXPORTED / directory.parent.name):
                if above.is_dir() and not any(above.iterdir()):
                    above.rmdir()


def directory_of(volume: Object) -> Path:
    """Return where the node's own NFS server keeps the directory of a volume."""
    path: str = volume["spec"]["nfs"]["path"]
    return LAYOUT.nfs / path.lstrip("/")
