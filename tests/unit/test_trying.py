"""`kfspawner check` with a cluster: what it would refuse is told, and nothing is made."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from kfspawner.errors import ClusterDenied, ClusterError, ClusterUnreachable, ObjectMissing
from kfspawner.profiles.api import Object
from tests.fakes.api import FakeApi
from tests.fakes.checked import CONFIG, check, wrong
from tests.fakes.cli import kf, profile, stand, unready
from tests.fakes.hub import KUBECONFIG


@pytest.fixture(autouse=True)
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What KubeSpawner asks for before it is asked for anything; nobody listens there."""
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(KUBECONFIG))
    where = "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(where, str(path))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config in order."""
    path = tmp_path / "jupyterhub_config.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def api() -> FakeApi:
    """A cluster where both Profiles stand."""
    fake = FakeApi()
    for name, owner in (("vision", "alice"), ("nlp", "bob")):
        stand(fake, profile(name, owner))
    return fake


def sent_of(api: FakeApi) -> list[Object]:
    """Return what is written from now on."""
    sent: list[Object] = []
    api.on_write = lambda it: sent.append(copy.deepcopy(it))
    return sent


def test_every_pod_and_profile_is_tried_and_nothing_made(config: Path, api: FakeApi) -> None:
    before, sent = copy.deepcopy(api.objects), sent_of(api)

    result = check(config, api)

    assert result.exit_code == 0, result.output
    assert api.objects == before
    tried = [(it["kind"], it["metadata"].get("namespace", "")) for it in sent]
    # Admin and edit of vision with two image profiles, nlp with one; one's own is tried elsewhere.
    assert tried.count(("Pod", "vision")) == 4
    assert tried.count(("Pod", "nlp")) == 2 + 2
    assert tried.count(("PersistentVolumeClaim", "vision")) == 4
    assert [it["metadata"]["name"] for it in sent if it["kind"] == "Profile"] == [
        "vision",
        "nlp",
        "kf-kfspawner-check",
    ]
    assert "role edit: tried in nlp, because kf-kfspawner-check is not there yet" in result.stdout


def test_a_namespace_that_is_not_there_yet(config: Path, api: FakeApi) -> None:
    for kind, namespace, name in list(api.objects):
        if "vision" in (namespace, name):
            del api.objects[kind, namespace, name]

    result = check(config, api)

    assert result.exit_code == 0
    assert "image profile gpu, role edit: tried in nlp, because vision is not" in result.stdout


def test_no_namespace_at_all(config: Path) -> None:
    api = FakeApi()

    result = check(config, api)

    assert result.exit_code == 0
    assert result.stdout.count("rendered, and not tried: no profile is ready yet") == 8
    assert "create" not in {method for method, _ in api.calls}


def refuse(api: FakeApi, kind: str, error: ClusterError) -> None:
    """Have the cluster refuse every object of a kind."""

    def refusing(it: Object) -> None:
        if it["kind"] == kind:
            raise error

    api.on_write = refusing


def exceeded(requested: int, used: int) -> ClusterDenied:
    said = (
        "exceeded quota: kf-resource-quota, requested: requests.cpu="
        f"{requested}, used: requests.cpu={used}, limited: requests.cpu=4"
    )
    return ClusterDenied("creating Pod", said, "choose less")


def test_what_the_cluster_refuses_is_told(config: Path, api: FakeApi) -> None:
    refuse(api, "Pod", ClusterDenied("creating Pod", 'violates PodSecurity "restricted"', "ask"))

    result = check(config, api)

    assert result.exit_code == 1
    assert len(wrong(result)) == 8
    assert "in vision: violates PodSecurity" in wrong(result)[0]


def test_a_quota_that_is_in_use_just_now_is_no_mistake(config: Path, api: FakeApi) -> None:
    refuse(api, "Pod", exceeded(requested=1, used=4))

    result = check(config, api)

    assert result.exit_code == 0
    assert "role edit: just now the quota of profile vision leaves too little CPU" in result.stdout


def test_a_quota_that_never_fits_is_one(config: Path, api: FakeApi) -> None:
    refuse(api, "Pod", exceeded(requested=5, used=0))

    result = check(config, api)

    # Where it was tried elsewhere, the quota is another one.
    assert result.exit_code == 1
    assert len(wrong(result)) == 6


def test_a_profile_that_the_cluster_refuses(config: Path, api: FakeApi) -> None:
    refuse(api, "Profile", ObjectMissing("applying", "the server has no such resource", "ask"))

    result = check(config, api)

    assert result.exit_code == 1
    assert "profile vision: applying Profile vision: the server has no such" in wrong(result)[0]


def test_a_profile_of_somebody_else(config: Path, api: FakeApi) -> None:
    api.put(profile("vision", "mallory"))

    result = check(config, api)

    assert result.exit_code == 1
    assert "which the config did not make, and it belongs to user mallory" in wrong(result)[0]


def test_an_owner_that_the_config_changes_is_no_mistake(config: Path, api: FakeApi) -> None:
    kf(api, "profiles", "apply", "--config", str(config))
    api.put(api.objects["Profile", "", "vision"] | {"status": profile()["status"]})

    result = check(config, api, 'c.KfSpawner.profiles["vision"]["owner"] = "carol"')

    assert result.exit_code == 0, result.output


def test_a_profile_that_is_not_ready(config: Path, api: FakeApi) -> None:
    api.put(unready("NamespaceTaken", "the namespace is not ours"))

    result = check(config, api)

    assert result.exit_code == 1
    assert "it is on the cluster, and not ready: the namespace is not ours" in wrong(result)[0]


def test_a_cluster_that_does_not_answer_is_told_once(config: Path, api: FakeApi) -> None:
    refuse(api, "Pod", ClusterUnreachable("creating Pod", "no answer", "try again"))

    result = check(config, api)

    assert result.exit_code == 1
    assert result.stderr == "Error: creating Pod: no answer; try again\n"


def test_what_a_hook_makes_of_a_pod_is_what_is_tried(config: Path, api: FakeApi) -> None:
    sent = sent_of(api)
    more = """
async def hook(spawner, pod):
    pod.spec.host_network = True
    return pod
c.KfSpawner.modify_pod_hook = hook
"""

    check(config, api, more)

    pods: list[Any] = [it["spec"]["hostNetwork"] for it in sent if it["kind"] == "Pod"]
    assert pods
    assert all(pods)
