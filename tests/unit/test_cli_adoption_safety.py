"""`kfspawner homes adopt`: again after it was cut off, and by no means to somebody else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from kfspawner.cli import adoption
from kfspawner.cli.adoption import ADOPTING_ANNOTATION
from kfspawner.errors import ClusterDenied
from kfspawner.profiles.api import Object
from tests.fakes.cli import profile, stand
from tests.fakes.homes import CLAIM, VOLUME, killed, make_namespace
from tests.unit.test_cli_adoption import (
    DISK,
    HOME,
    STOCK,
    WRITES,
    Cluster,
    adopt,
    is_adopted,
    is_untouched,
    meant,
    stock,
    unlabelled,
)

# What is written on a volume that is to be the home of alice.
MEANT = {"person": "alice", "from": "jupyter/claim-alice", "uid": "uid-claim-alice"}
MALLORYS = (CLAIM, "kf-mallory", "home-mallory")
FINISHED = "volume disk-alice: is now the home of 'alice' in profile kf-alice\n"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "_RETRY", 0.0)


def begun(at: int = 4) -> Cluster:
    """Return a cluster where somebody was killed: the old claim is gone, nothing handed over."""
    api = Cluster(*stock())
    with killed(api, at):
        adopt(api)
    api.calls.clear()
    return api


def assert_files_are_safe(api: Cluster) -> None:
    """Assert that it says somewhere whose the files are, and that losing a claim loses no file."""
    disk = api.objects[DISK]["spec"]
    claims = [api.objects[key] for key in (STOCK, HOME) if key in api.objects]
    if HOME in api.objects or STOCK not in api.objects or meant(api):
        assert disk["persistentVolumeReclaimPolicy"] == "Retain"
        assert is_adopted(api) or meant(api) == MEANT
    assert [it for it in claims if "alice" in it["metadata"]["annotations"].values()]
    assert disk["claimRef"]["uid"] in (MEANT["uid"], *(it["metadata"]["uid"] for it in claims))


# Again, and after it was cut off.


def test_a_claim_that_something_holds_is_handed_over_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "_SECONDS", 0.0)
    claim, volume = stock()
    claim["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
    api = Cluster(claim, volume)
    stand(api, profile("kf-alice"))

    result = adopt(api)

    assert result.exit_code == 1
    assert "something holds the old claim; see its finalizers, and ask again" in result.stderr
    assert_files_are_safe(api)
    api.objects[STOCK]["metadata"]["finalizers"] = []
    api.remove(CLAIM, "claim-alice", "jupyter")
    assert adopt(api).exit_code == 0
    assert is_adopted(api)


def test_a_claim_that_is_another_by_now_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Cluster(*stock())
    delete = api.delete

    async def swap_and_delete(*given: str, **more: Any) -> None:
        api.objects[STOCK]["metadata"]["uid"] = "uid-another"
        await delete(*given, **more)

    monkeypatch.setattr(api, "delete", swap_and_delete)

    result = adopt(api)

    assert result.exit_code == 1
    assert "uid mismatch" in result.stderr
    assert STOCK in api.objects
    assert_files_are_safe(api)
    # It is none of ours from then on, and keeps the files from nobody.
    assert FINISHED in adopt(api).stdout
    assert STOCK in api.objects
    assert api.objects[DISK]["spec"]["claimRef"]["uid"] == api.objects[HOME]["metadata"]["uid"]


@pytest.mark.parametrize("at", range(1, len(WRITES)))
def test_whoever_is_killed_before_a_write_is_finished_by_the_next(at: int) -> None:
    api = Cluster(*stock())

    with killed(api, at) as countdown:
        adopt(api)

    assert countdown.over
    assert api.writes() == WRITES[:at]
    assert (meant(api) or MEANT) == MEANT
    assert_files_are_safe(api)
    assert adopt(api).exit_code == 0
    assert is_adopted(api)


@pytest.mark.parametrize("first", range(1, len(WRITES)))
def test_whoever_finishes_it_may_be_killed_too(first: int) -> None:
    api = begun(first)

    # A write more each time: the first of them are those that were done.
    for at in range(1, len(WRITES)):
        with killed(api, at):
            adopt(api)
        assert_files_are_safe(api)

    assert adopt(api).exit_code == 0
    assert is_adopted(api)


def test_a_dry_run_says_what_was_not_finished() -> None:
    api = begun()

    result = adopt(api, "--dry-run")

    said = "volume disk-alice: was begun with, and would be finished\n"
    assert (result.exit_code, result.stdout) == (0, said)
    assert api.writes() == []
    result = adopt(api)
    assert (result.exit_code, result.stdout) == (0, FINISHED)
    assert is_adopted(api)


def test_a_hub_that_makes_the_old_claim_anew_stops_nothing() -> None:
    api = begun()
    anew = stock()[0]
    anew["metadata"]["uid"], anew["spec"]["volumeName"] = "uid-anew", "disk-anew"
    api.put(anew)

    assert FINISHED in adopt(api).stdout
    home = api.objects[HOME]
    assert api.objects[DISK]["spec"]["claimRef"]["uid"] == home["metadata"]["uid"]
    assert meant(api) is None
    # What has come since is not ours to delete.
    assert api.objects[STOCK]["metadata"]["uid"] == "uid-anew"
    assert api.called("delete") == []


def test_one_that_cannot_be_finished_keeps_no_other() -> None:
    api = begun()
    api.objects[HOME]["spec"]["volumeName"] = "disk-of-hers"
    for it in stock("carol"):
        api.put(it)
    # After what is tried for alice, carol's is cut off before the last.
    with killed(api, 5):
        adopt(api)
    for it in stock("bob"):
        api.put(it)
    assert (CLAIM, "jupyter", "claim-carol") not in api.objects
    assert meant(api, "carol")["person"] == "carol"

    result = adopt(api)

    said = "adopting claim jupyter/claim-alice: there is a claim home-alice in kf-alice already"
    assert result.exit_code == 1
    assert result.stderr.startswith(f"volume disk-alice: {said}; ")
    assert result.stderr.count("\n") == 1
    assert is_adopted(api, "carol")
    assert is_adopted(api, "bob")
    assert meant(api) == MEANT
    assert api.objects[DISK]["spec"]["claimRef"]["uid"] == MEANT["uid"]


def test_what_was_meant_is_not_another_persons_by_what_the_claim_says_now() -> None:
    api = begun(2)
    api.objects[STOCK]["metadata"]["annotations"]["hub.jupyter.org/username"] = "mallory"

    assert adopt(api).exit_code == 0
    assert is_adopted(api)
    assert MALLORYS not in api.objects


def test_what_cannot_be_finished_yet_is_not_begun_for_somebody_else() -> None:
    api = begun(2)
    api.objects[STOCK]["metadata"]["annotations"]["hub.jupyter.org/username"] = "mallory"
    api.refusals[f"create {CLAIM}"] = [ClusterDenied("creating it", "exceeded quota", "ask")]

    assert adopt(api).exit_code == 1
    assert MALLORYS not in api.objects
    assert meant(api) == MEANT
    assert adopt(api).exit_code == 0
    assert is_adopted(api)


# By no means to somebody else.


@pytest.mark.parametrize(
    "owner", [{"kind": "User", "name": "mallory"}, {"kind": "Group", "name": "alice"}]
)
def test_a_profile_of_somebody_else_gets_no_files(owner: Object) -> None:
    api = Cluster(*stock())
    there = profile("kf-alice")
    there["spec"]["owner"] = owner
    stand(api, there)

    result = adopt(api)

    assert result.exit_code == 1
    assert "profile kf-alice belongs to somebody else; nothing in it was touched" in result.stderr
    assert api.writes() == []
    assert is_untouched(api)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_profile_that_is_somebody_elses_by_now_gets_no_files(at: int) -> None:
    api = begun(at)
    stand(api, profile("kf-alice", owner="mallory"))

    assert adopt(api).exit_code == 1
    assert api.writes() == []
    assert api.objects[DISK]["spec"]["claimRef"]["uid"] == MEANT["uid"]
    assert meant(api) == MEANT


def test_a_profile_that_is_gone_by_now_is_made_again() -> None:
    api = begun()
    api.remove("Profile", "kf-alice")
    api.remove("Namespace", "kf-alice")

    assert adopt(api).exit_code == 0
    assert is_adopted(api)


def _names_it(_: Object) -> None:
    pass


def _says_it_is_bound(claim: Object) -> None:
    claim["status"] = {"phase": "Bound"}


def _says_it_was_begun(claim: Object) -> None:
    claim["metadata"]["labels"] = {}
    claim["metadata"]["annotations"] = {
        ADOPTING_ANNOTATION: json.dumps({**MEANT, "person": "mallory"}),
        "kfspawner.io/adopted-from": "jupyter/claim-alice",
    }


def _says_so_as_a_stock_claim(claim: Object) -> None:
    labels = claim["metadata"]["labels"]
    _says_it_was_begun(claim)
    claim["metadata"]["labels"] = labels
    claim["metadata"]["annotations"]["hub.jupyter.org/username"] = "mallory"
    claim["status"] = {"phase": "Bound"}


def _is_the_home(claim: Object) -> None:
    _says_it_was_begun(claim)
    claim["metadata"] |= {"name": "home-mallory", "namespace": "kf-mallory"}


def _is_of_its_name(claim: Object) -> None:
    claim["metadata"] |= {"name": "claim-alice", "namespace": "kf-mallory"}
    claim["status"] = {"phase": "Bound"}


WAYS = [
    _names_it,
    _says_it_is_bound,
    _says_it_was_begun,
    _says_so_as_a_stock_claim,
    _is_the_home,
    _is_of_its_name,
]


def mallorys(way: Callable[[Object], None]) -> Object:
    """Return a claim of mallory's that names the volume of alice."""
    claim = {**stock("mallory")[0], "status": {"phase": "Pending"}}
    claim["spec"]["volumeName"] = "disk-alice"
    way(claim)
    return claim


@pytest.mark.parametrize("way", WAYS)
def test_naming_a_volume_is_not_having_it(way: Callable[[Object], None]) -> None:
    alice, disk = stock()
    api = Cluster(unlabelled(alice), disk)
    stand(api, profile("kf-mallory", owner="mallory"), mallorys(way))

    adopt(api)

    assert is_untouched(api)
    assert api.writes() == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [2, 3, 4])
def test_naming_a_volume_that_was_begun_with_is_not_having_it(
    way: Callable[[Object], None], at: int
) -> None:
    api = begun(at)
    stand(api, profile("kf-mallory", owner="mallory"), mallorys(way))

    assert FINISHED in adopt(api).stdout
    assert is_adopted(api)


def test_the_old_claim_made_anew_by_somebody_is_not_the_old_claim() -> None:
    api = begun()
    anew = stock()[0]
    anew["metadata"]["uid"] = "uid-anew"
    anew["metadata"]["annotations"]["hub.jupyter.org/username"] = "mallory"
    api.put(anew)

    result = adopt(api)

    assert FINISHED in result.stdout
    # It names the volume that is being handed over: nothing is begun for it.
    assert "mallory" not in result.output
    assert api.objects[DISK]["spec"]["claimRef"]["uid"] == api.objects[HOME]["metadata"]["uid"]
    assert MALLORYS not in api.objects


def test_a_volume_that_is_somebody_elses_by_now_is_left_alone() -> None:
    api = begun()
    api.objects[DISK]["spec"]["claimRef"]["uid"] = "uid-of-somebody"
    before = copy.deepcopy(api.objects[DISK])

    result = adopt(api)

    assert result.exit_code == 1
    assert "its volume is gone, or somebody else's by now; see `kubectl get pv`" in result.stderr
    assert api.objects[DISK] == before


@pytest.mark.parametrize(("look", "done"), [(1, WRITES[:2]), (2, WRITES)])
def test_a_volume_that_changes_after_a_look_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, look: int, done: object
) -> None:
    api = Cluster(*stock())
    get, looks = api.get, iter(range(1, 9))
    taken: Object = {}

    async def get_and_lose(kind: str, *given: str) -> Object | None:
        found = await get(kind, *given)
        if kind == VOLUME and next(looks) == look:
            api.objects[DISK]["spec"]["claimRef"]["uid"] = "uid-of-somebody"
            taken.update(api.put(copy.deepcopy({**api.objects[DISK], "status": {}})))
        return found

    monkeypatch.setattr(api, "get", get_and_lose)

    result = adopt(api)

    assert result.exit_code == 1
    assert "the object has been modified" in result.stderr
    assert (api.writes(), api.objects[DISK]) == (done, taken)


@pytest.mark.parametrize("words", [(), ("--from", "vision")])
def test_what_is_in_a_profile_is_not_of_a_stock_hub(words: tuple[str, ...]) -> None:
    claim, disk = stock(namespace="vision")
    # It was the home of alice in vision: labels and annotations are all that mallory wrote.
    claim["metadata"]["annotations"] = {"hub.jupyter.org/username": "mallory"}
    api = Cluster(make_namespace("vision"), claim, disk)

    adopt(api, *words)

    assert api.writes() == []


def test_a_claim_in_somebody_elses_name_is_not_their_home() -> None:
    claim, disk = stock(suffix="-of-mallory", namespace="a-profile")
    api = Cluster(make_namespace("a-profile"), claim, disk, *stock())

    adopt(api)

    assert is_adopted(api)
    assert api.objects[VOLUME, "", "disk-alice-of-mallory"]["spec"] == disk["spec"]
