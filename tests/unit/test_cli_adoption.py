"""`kfspawner homes adopt`, with a cluster in memory whose own controllers are there.

Whoever was cut off, and whoever is after the files of others: test_cli_adoption_safety.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import Result

from kfspawner.cli import adoption
from kfspawner.cli.adoption import ADOPTING_ANNOTATION, make_adopted_claim
from kfspawner.errors import ClusterDenied
from kfspawner.homes.place import Place
from kfspawner.labels import MANAGED_BY
from kfspawner.profiles.api import Object
from tests.fakes.api import FakeApi
from tests.fakes.cli import READY, kf, profile, stand, unready
from tests.fakes.homes import CLAIM, VOLUME, make_namespace

HOME = (CLAIM, "kf-alice", "home-alice")
STOCK = (CLAIM, "jupyter", "claim-alice")
DISK = (VOLUME, "", "disk-alice")
# What adopting a first claim writes, in order.
WRITES = [
    ("apply", ("Profile", "", "kf-alice")),
    ("patch", DISK),
    ("create", HOME),
    ("delete", STOCK),
    ("patch", DISK),
]


class Cluster(FakeApi):
    """A cluster whose controllers make a Profile ready at the `pace`-th look, and bind volumes."""

    def __init__(self, *objects: Object) -> None:
        super().__init__(make_namespace("jupyter", team="all"), *objects)
        self.pace = 0

    async def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        found = await super().get(kind, name, namespace)
        if kind == "Profile" and found and not found.get("status"):
            self.pace -= 1
            if self.pace <= 0:
                stand(self, {**found, "status": {"conditions": [READY]}})
        return found

    async def patch(self, *given: Any, **more: Any) -> Object:
        patched = await super().patch(*given, **more)
        reference = patched["spec"]["claimRef"]
        claim = self.objects.get((CLAIM, reference["namespace"], reference["name"]))
        if claim and claim["metadata"]["uid"] == reference["uid"]:
            self.put({**claim, "status": {"phase": "Bound"}})
        return patched


def stock(person: str = "alice", namespace: str = "jupyter", suffix: str = "") -> list[Object]:
    """Return a claim as KubeSpawner makes it, and the volume that it is bound to."""
    name = f"{person or 'nobody'}{suffix}"
    labels = {"app.kubernetes.io/managed-by": "kubespawner", "component": "singleuser-storage"}
    annotations = {"hub.jupyter.org/username": person} if person else {}
    which = {"name": f"claim-{name}", "namespace": namespace, "uid": f"uid-claim-{name}"}
    metadata = {**which, "labels": labels, "annotations": annotations}
    wanted = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "fast",
        "volumeMode": "Filesystem",
        "volumeName": f"disk-{name}",
    }
    given = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "5Gi"},
        "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": "fast",
        "volumeMode": "Filesystem",
        "claimRef": {"apiVersion": "v1", "kind": CLAIM, "resourceVersion": "7", **which},
        "csi": {"driver": "disks.test", "volumeHandle": name},
    }
    return [
        {"kind": CLAIM, "metadata": metadata, "spec": wanted, "status": {"phase": "Bound"}},
        {"kind": VOLUME, "metadata": {"name": f"disk-{name}"}, "spec": given},
    ]


def unlabelled(claim: Object) -> Object:
    """Return a claim that nobody takes for one of KubeSpawner's."""
    return {**claim, "metadata": {**claim["metadata"], "labels": {}}}


def pod(phase: str = "Running", namespace: str = "jupyter", claim: str = "claim-alice") -> Object:
    metadata = {"name": "jupyter-alice", "namespace": namespace}
    spec = {"volumes": [{"persistentVolumeClaim": {"claimName": claim}}]}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "_RETRY", 0.0)


def adopt(api: FakeApi, *words: str) -> Result:
    return kf(api, "homes", "adopt", *words)


def meant(api: FakeApi, person: str = "alice") -> Any:
    """Return what is written on a person's volume that it is to be; None if nothing is."""
    annotations = api.objects[VOLUME, "", f"disk-{person}"]["metadata"].get("annotations") or {}
    return json.loads(annotations.get(ADOPTING_ANNOTATION, "null"))


def is_adopted(api: FakeApi, person: str = "alice") -> bool:
    """Say whether a person's volume is bound to their home, for good, and to nothing else."""
    volume = api.objects[VOLUME, "", f"disk-{person}"]["spec"]
    home = api.objects.get((CLAIM, f"kf-{person}", f"home-{person}"))
    return (
        home is not None
        and (CLAIM, "jupyter", f"claim-{person}") not in api.objects
        and home.get("status") == {"phase": "Bound"}
        and home["spec"]["volumeName"] == f"disk-{person}"
        and volume["persistentVolumeReclaimPolicy"] == "Retain"
        and volume["claimRef"]["uid"] == home["metadata"]["uid"]
        and meant(api, person) is None
    )


def is_untouched(api: FakeApi, name: str = "alice") -> bool:
    """Say whether a claim and its volume are as KubeSpawner left them."""
    claim = api.objects.get((CLAIM, "jupyter", f"claim-{name}"))
    volume = api.objects[VOLUME, "", f"disk-{name}"]
    return (
        claim is not None
        and volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
        and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        and "annotations" not in volume["metadata"]
    )


def test_a_claim_becomes_the_home() -> None:
    api = Cluster(*stock())

    result = adopt(api)

    said = "jupyter/claim-alice: is now the home of 'alice' in profile kf-alice\n"
    assert (result.exit_code, result.stdout) == (0, said)
    assert api.writes() == WRITES
    assert is_adopted(api)


def test_a_home_says_whose_it_is_and_its_volume_is_as_it_was() -> None:
    api = Cluster(*stock())

    adopt(api)

    home, (old, disk) = api.objects[HOME], (it["spec"] for it in stock())
    which = {"namespace": "kf-alice", "name": "home-alice", "uid": home["metadata"]["uid"]}
    disk["claimRef"] = {"apiVersion": "v1", "kind": CLAIM, **which}
    assert home["metadata"]["labels"] == {**MANAGED_BY, "kfspawner.io/user": "alice"}
    assert home["metadata"]["annotations"] == {"kfspawner.io/user-name": "alice"}
    assert home["spec"] == old
    assert api.objects[DISK]["spec"] == {**disk, "persistentVolumeReclaimPolicy": "Retain"}
    assert "annotations" not in api.objects[DISK]["metadata"]


def test_a_home_is_what_its_volume_is_whatever_the_old_claim_asked_for() -> None:
    claim, disk = stock()
    disk["spec"] |= {
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "capacity": {"storage": "8Gi"},
        "storageClassName": "slow",
    }
    api = Cluster(claim, disk)

    assert adopt(api).exit_code == 0
    assert api.objects[HOME]["spec"] == {
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "resources": {"requests": {"storage": "8Gi"}},
        "storageClassName": "slow",
        "volumeMode": "Filesystem",
        "volumeName": "disk-alice",
    }


@pytest.mark.parametrize("name", ["storageClassName", "volumeMode"])
def test_what_a_volume_leaves_out_is_not_the_clusters_default(name: str) -> None:
    _, disk = stock()
    del disk["spec"][name]

    claim = make_adopted_claim(Place("kf-alice", "alice"), disk)

    assert claim["spec"][name] == {"storageClassName": "", "volumeMode": "Filesystem"}[name]


def test_adopting_twice_is_once() -> None:
    api = Cluster(*stock())
    adopt(api)
    api.calls.clear()

    assert adopt(api).stdout == "There are no claims of KubeSpawner's.\n"
    assert api.writes() == []
    assert is_adopted(api)


def test_a_profile_that_is_there_is_left_as_it_is() -> None:
    api = Cluster(*stock())
    stand(api, profile("kf-alice"))

    assert adopt(api).exit_code == 0
    assert api.writes() == WRITES[1:]


def test_a_profile_is_waited_for() -> None:
    api = Cluster(*stock())
    api.pace = 5

    assert adopt(api).exit_code == 0
    assert api.objects["Profile", "", "kf-alice"]["spec"]["owner"]["name"] == "alice"


def test_a_profile_that_does_not_become_ready_keeps_the_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adoption, "_SECONDS", 0.0)
    api = Cluster(*stock())
    stand(api, unready("NamespaceTaken", "it is not ours", "kf-alice"))

    result = adopt(api)

    said = "adopting claim jupyter/claim-alice: profile kf-alice is not ready: it is not ours"
    assert result.exit_code == 1
    assert result.stderr == f"jupyter/claim-alice: {said}; ask again\n"
    assert api.writes() == []


# What would be done, and what is not.


@pytest.mark.parametrize("phase", ["Running", "Pending", "Succeeded", "Failed"])
def test_what_a_pod_holds_stays(phase: str) -> None:
    api = Cluster(*stock(), pod(phase))

    result = adopt(api)

    said = "jupyter/claim-alice: stays; pods hold it: stop or delete jupyter-alice\n"
    assert (result.exit_code, result.stdout) == (1, said)
    assert api.writes() == []


@pytest.mark.parametrize("other", [pod(namespace="elsewhere"), pod(claim="claim-alice-2")])
def test_what_no_pod_holds_can_be_adopted(other: Object) -> None:
    api = Cluster(*stock(), other)

    assert adopt(api).exit_code == 0
    assert is_adopted(api)


def test_a_dry_run_writes_nothing() -> None:
    api = Cluster(*stock())

    result = adopt(api, "--dry-run")

    said = "jupyter/claim-alice: would become the home of 'alice' in profile kf-alice\n"
    assert (result.exit_code, result.stdout) == (0, said)
    assert api.writes() == []


@pytest.mark.parametrize(
    ("person", "phase", "why"),
    [
        ("", "Bound", "stays; it says nobody's name: kubectl annotate it with hub.jupyter"),
        ("alice", "Pending", "stays; it is not bound to a volume, and so has no files"),
        ("alice", "Lost", "stays; it is not bound to a volume, and so has no files"),
        ("alice", None, "stays; it is not bound to a volume, and so has no files"),
        ("system:admin", "Bound", "Kubernetes' own"),
    ],
)
def test_what_cannot_be_adopted_stays(person: str, phase: str | None, why: str) -> None:
    claim, disk = stock()
    claim["metadata"]["annotations"]["hub.jupyter.org/username"] = person
    claim["status"] = {"phase": phase}
    api = Cluster(claim, disk)

    result = adopt(api)

    assert result.exit_code == 1
    assert result.output.startswith("jupyter/claim-alice: ")
    assert why in result.output
    assert api.writes() == []


def test_a_claim_whose_volume_is_gone_stays() -> None:
    api = Cluster(stock()[0])

    result = adopt(api)

    said = "adopting claim jupyter/claim-alice: volume disk-alice is not bound to it"
    assert result.exit_code == 1
    assert result.stderr.startswith(f"jupyter/claim-alice: {said}; it is left alone")
    assert api.writes() == []


def test_what_is_there_already_is_not_replaced() -> None:
    claim = {**stock()[0], "metadata": {"name": "home-alice", "namespace": "kf-alice"}}
    api = Cluster(*stock())
    stand(api, profile("kf-alice"), claim)

    assert "stays; there is a claim home-alice in kf-alice already\n" in adopt(api).stdout
    assert api.writes() == []


def test_other_claims_and_other_namespaces_are_not_looked_at() -> None:
    ours = unlabelled(stock()[0])
    ours["metadata"]["labels"] = {**MANAGED_BY, "component": "singleuser-storage"}
    api = Cluster(make_namespace("other"), ours, unlabelled(stock("db")[0]), *stock("bob", "other"))

    result = adopt(api, "--from", "jupyter")

    assert (result.exit_code, result.stdout) == (0, "There are no claims of KubeSpawner's.\n")
    assert api.writes() == []


def test_one_that_stays_or_fails_keeps_no_other() -> None:
    api = Cluster(*stock(), *stock("bob"), *stock("carol"), *stock(""))
    api.refusals[f"create {CLAIM}"] = [ClusterDenied("creating it", "exceeded quota", "ask")]

    result = adopt(api)

    assert result.exit_code == 1
    assert result.stderr == "jupyter/claim-alice: creating it: exceeded quota; ask\n"
    assert "jupyter/claim-nobody: stays" in result.stdout
    assert [is_adopted(api, it) for it in ("alice", "bob", "carol")] == [False, True, True]
    assert STOCK in api.objects
    assert meant(api)["person"] == "alice"
    assert api.objects[DISK]["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


def test_two_claims_of_one_person_are_not_one_home() -> None:
    api = Cluster(*stock(), *stock(suffix="--gpu"))

    result = adopt(api)

    said = "stays; jupyter/claim-alice is theirs too, and becomes their home\n"
    assert result.exit_code == 1
    assert f"jupyter/claim-alice--gpu: {said}" in result.stdout
    assert is_adopted(api)
    assert is_untouched(api, "alice--gpu")
    assert "claim-alice--gpu: stays; there is a claim home-alice" in adopt(api).stdout
    assert is_untouched(api, "alice--gpu")


@pytest.mark.parametrize("value", ["", "alice", "null", "{}", json.dumps({"person": "alice"})])
def test_what_nobody_can_read_on_a_volume_keeps_no_other(value: str) -> None:
    claim, disk = stock()
    disk["metadata"]["annotations"] = {ADOPTING_ANNOTATION: value}
    api = Cluster(unlabelled(claim), disk, *stock("bob"))

    result = adopt(api)

    assert result.exit_code == 1
    assert result.stderr.startswith("volume disk-alice: ")
    assert is_adopted(api, "bob")
    assert api.objects[DISK]["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
