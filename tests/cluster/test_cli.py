"""`kfspawner` on the deployed system: members change at once, and mistakes are found."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.stream import stream

from deploy.person import Person
from kfspawner.cli.declared import SOMEBODY
from tests.cluster.cluster import Cluster, Object, until
from tests.cluster.command import Said, kfspawner
from tests.cluster.conftest import People, Profiles
from tests.cluster.test_members import SOON, check_refused, check_starts, is_offered

HUB = "app.kubernetes.io/name=hub"
# What the hub's own config says, before the mistake.
AS_DEPLOYED = 'load_subconfig("jupyterhub_config.py", path="/etc/jupyterhub")\n'


class Pod:
    """The hub's pod, from the inside."""

    def __init__(self, cluster: Cluster, api: client.ApiClient) -> None:
        self._cluster = cluster
        self._core = client.CoreV1Api(api)

    @property
    def identity(self) -> tuple[str, int]:
        """What changes when the hub is started anew."""
        (pod,) = self._cluster.pods("kfspawner", HUB)
        status = next(it for it in pod["status"]["containerStatuses"] if it["name"] == "hub")
        return pod["metadata"]["uid"], status["restartCount"]

    def run(self, *command: str) -> Said:
        """Run a command beside the hub."""
        (pod,) = self._cluster.pods("kfspawner", HUB)
        running: Any = stream(
            self._core.connect_get_namespaced_pod_exec,
            pod["metadata"]["name"],
            "kfspawner",
            container="hub",
            command=list(command),
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        try:
            running.run_forever(timeout=120)
            return Said(running.returncode, running.read_all())
        finally:
            # Its own close() leaves the socket to the collector once the other end has closed.
            running.sock.shutdown()

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        said = self.run("sh", "-c", 'printf %s "$0" > "$1"', text, path)
        assert said.status == 0, said


@pytest.fixture(scope="module")
def pod(environment: dict[str, str], cluster: Cluster) -> Iterator[Pod]:
    """The hub's pod."""
    settings = client.Configuration()
    config.load_kube_config(environment["KUBECONFIG"], client_configuration=settings)
    # One of its own: a stream changes how its client sends.
    with client.ApiClient(settings) as api:
        yield Pod(cluster, api)


@pytest.fixture(scope="module")
def owner(people: People) -> Person:
    """Who owns the team's profile."""
    return people.new()


@pytest.fixture(scope="module")
def team(owner: Person, profiles: Profiles) -> str:
    """A profile that people share."""
    return profiles.new(owner.name)


def test_a_member_is_added_and_removed_without_a_restart(
    people: People, team: str, cluster: Cluster, pod: Pod
) -> None:
    member = people.new()
    before = pod.identity
    check_refused(member, team, cluster)

    added = kfspawner("profiles", "add-member", team, member.name)
    assert added == Said(0, f"{member.name} has role edit in {team}.\n")
    until(lambda: is_offered(member, team), "the member may choose the profile", SOON)
    check_starts(member, team, cluster)

    removed = kfspawner("profiles", "remove-member", team, member.name)
    assert removed == Said(0, f"{member.name} is no longer a member of {team} by name.\n")
    until(lambda: not is_offered(member, team), "the person may not choose it any more", SOON)
    check_refused(member, team, cluster)
    assert pod.identity == before


def test_a_member_that_the_config_gives_is_removed_too(
    people: People, owner: Person, profiles: Profiles, cluster: Cluster
) -> None:
    member = people.new()
    given = {"kfspawner.io/members": json.dumps({member.name: "edit"})}
    name = profiles.new(owner.name, given)
    until(lambda: is_offered(member, name), "the member may choose the profile", SOON)

    removed = kfspawner("profiles", "remove-member", name, member.name)

    assert removed.status == 0
    assert "will give it back when the hub starts" in removed.text
    until(lambda: not is_offered(member, name), "the person may not choose it any more", SOON)
    check_refused(member, name, cluster)
    # Nor does the controller bring it back.
    bindings = cluster.rbac.list_namespaced_role_binding(name).items
    assert member.name not in {(it.metadata.annotations or {}).get("user") for it in bindings}


def test_the_hubs_account_shows_profiles_and_changes_no_members(team: str, pod: Pod) -> None:
    listed = pod.run("kfspawner", "profiles", "list", "-o", "json")
    assert listed.status == 0, listed
    (found,) = [it for it in json.loads(listed.text) if it["name"] == team]
    assert found["ready"] is True

    refused = pod.run("kfspawner", "profiles", "add-member", team, "somebody")
    assert refused.status == 1
    assert "use the kubeconfig of an admin of the profile" in refused.text


def test_rights_in_the_namespace_are_enough_to_add_members(
    team: str, profiles: Profiles, owner: Person, cluster: Cluster, tmp_path: Path
) -> None:
    elsewhere = profiles.new(owner.name)
    kubeconfig = kubeconfig_of(make_admin(team, cluster), team, cluster, tmp_path)

    added = kfspawner("profiles", "add-member", team, "somebody", kubeconfig=kubeconfig)
    assert added == Said(0, f"somebody has role edit in {team}.\n")
    removed = kfspawner("profiles", "remove-member", team, "somebody", kubeconfig=kubeconfig)
    assert removed.status == 0

    refused = kfspawner("profiles", "add-member", elsewhere, "somebody", kubeconfig=kubeconfig)
    assert refused.status == 1
    assert "use the kubeconfig of an admin of the profile" in refused.text


def make_admin(namespace: str, cluster: Cluster) -> str:
    """Make an account with the rights of an admin of a profile, and return its name."""
    name = f"admin-{secrets.token_hex(2)}"
    cluster.core.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
    binding = {
        "metadata": {"name": name},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "kubeflow-admin",
        },
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    cluster.rbac.create_namespaced_role_binding(namespace, binding)
    return name


def kubeconfig_of(account: str, namespace: str, cluster: Cluster, folder: Path) -> str:
    """Return the path of a kubeconfig with an account's token."""
    made = cluster.core.create_namespaced_service_account_token(account, namespace, {"spec": {}})
    settings = cluster.core.api_client.configuration
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [
            {
                "name": "it",
                "cluster": {
                    "server": settings.host,
                    "certificate-authority": str(settings.ssl_ca_cert),
                },
            }
        ],
        "users": [{"name": "it", "user": {"token": made.status.token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(kubeconfig))
    return str(path)


def test_the_deployed_config_is_in_order(pod: Pod, cluster: Cluster) -> None:
    before = shared(cluster)

    said = pod.run("kfspawner", "check")

    assert said.status == 0, said.text
    assert said.text.splitlines()[-1].endswith(", nothing wrong.")
    assert "profile vision, image profile gpu, role edit" in said.text
    assert made(cluster) == []
    assert shared(cluster) == before


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (
            'c.KfSpawner.profiles["vision"]["image_profiles"] = ["tpu"]',
            "it offers image profile 'tpu'",
        ),
        ('c.KfSpawner.registry_prefix = ""', "registry_prefix"),
        ('c.KfSpawner.image_profiles["gpu"]["gpu"]["max"] = "many"', "image profile gpu"),
        ('c.KfSpawner.profiles["vision"]["quota"]["requests.cpu"] = "50m"', "the quota of profile"),
        # These the cluster alone knows.
        ("c.KfSpawner.allow_privilege_escalation = True", "violates PodSecurity"),
        ('c.KfSpawner.profiles["vision"]["quota"]["reqests.cpu"] = "5"', "reqests.cpu"),
    ],
    ids=["no such image profile", "registry", "not a number", "quota", "pod", "profile"],
)
def test_a_planted_mistake_is_found(mistake: str, told: str, pod: Pod, cluster: Cluster) -> None:
    before = shared(cluster)
    path = f"/tmp/planted-{secrets.token_hex(2)}.py"
    pod.write(path, AS_DEPLOYED + mistake + "\n")
    try:
        said = pod.run("kfspawner", "check", "--config", path)
    finally:
        pod.run("rm", path)

    assert said.status == 1, said.text
    assert told in said.text
    assert "Traceback" not in said.text
    assert made(cluster) == []
    assert shared(cluster) == before


def made(cluster: Cluster) -> list[tuple[str, str]]:
    """Return what a check has made of whatever it asked for, or changed in what there was."""
    lists: dict[str, list[Any]] = {
        "namespace": cluster.core.list_namespace().items,
        "pod": cluster.core.list_pod_for_all_namespaces().items,
        "claim": cluster.core.list_persistent_volume_claim_for_all_namespaces().items,
    }
    found = [
        (kind, it.metadata.name)
        for kind, items in lists.items()
        for it in items
        if SOMEBODY in it.metadata.name
    ]
    if cluster.profile(f"kf-{SOMEBODY}"):
        found.append(("profile", SOMEBODY))
    return found


def shared(cluster: Cluster) -> Object:
    """Return what the Profile of the config says."""
    profile = cluster.profile("vision") or {}
    return {"spec": profile["spec"], "annotations": profile["metadata"]["annotations"]}
