"""`kfspawner homes list` and `show`, with a cluster in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kfspawner.cli.home_listing import show_size
from kfspawner.errors import ClusterDenied
from kfspawner.homes.home import make_home_claim
from kfspawner.homes.ledger import Volume, read_claim, read_volume
from kfspawner.homes.place import Place, make_stamp
from kfspawner.homes.source import read_home_source
from kfspawner.homes.volume import make_archive_volume, make_volume
from kfspawner.labels import VOLUME_LABEL
from kfspawner.profiles.api import Object
from tests.fakes.api import FakeApi
from tests.fakes.cli import kf
from tests.fakes.homes import ALICE, CLAIM, FOLDER, SERVER, SOURCE, VOLUME, make_namespace

IDS = (1000, 100)
MOMENT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
MEASURED = {
    "used_bytes": str(3 * 2**29),
    "last_change": MOMENT.isoformat(),
    "measured_at": "2026-11-21T00:00:00+00:00",
}
FAST = read_home_source({"storage_class": "fast", "capacity": "20Gi"})


def named(annotations: dict[str, str]) -> dict[str, str]:
    return {f"kfspawner.io/{name.replace('_', '-')}": it for name, it in annotations.items()}


def put_claim(api: FakeApi, place: Place = ALICE, **annotations: str) -> Object:
    """Have the hub make a place's claim."""
    made = make_home_claim(SOURCE, place, IDS)
    made["metadata"]["annotations"] |= named(annotations)
    return api.put(made)


def put_volume(api: FakeApi, place: Place = ALICE, **annotations: str) -> Volume:
    """Have the provisioner make a place's volume, which its claim may be bound to or not."""
    there = api.objects.get((CLAIM, place.profile, place.claim))
    wanted = make_home_claim(SOURCE, place, IDS)
    wanted["metadata"]["uid"] = "uid-gone"
    claim = read_claim(there or wanted)
    assert claim
    made = make_volume(claim, "uid-space", SERVER)
    made["metadata"]["annotations"] |= named(annotations)
    volume = read_volume(api.put(made))
    assert volume
    if there:
        api.put({**there, "spec": {**there["spec"], "volumeName": volume.name}})
    return volume


def put_archive(api: FakeApi, place: Place = ALICE, moment: datetime = MOMENT) -> None:
    """Have the provisioner put a place's files away."""
    volume = put_volume(FakeApi(), place)
    marked = replace(volume, archived_as=make_stamp(moment), archived_at=moment)
    api.put(make_archive_volume(marked, SERVER))


def pod(name: str, claim: str, namespace: str = "vision", phase: str = "Running") -> Object:
    mounted = {"name": "home", "persistentVolumeClaim": {"claimName": claim}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"volumes": [{"name": "tmp", "emptyDir": {}}, mounted]},
        "status": {"phase": phase},
    }


@pytest.fixture
def api() -> FakeApi:
    """A cluster with two profiles."""
    return FakeApi(make_namespace(), make_namespace("nlp"))


@pytest.fixture
def small(api: FakeApi) -> FakeApi:
    """A cluster with a home of each sort."""
    put_claim(api)
    put_volume(api, ALICE, **MEASURED)
    api.put(pod("server-alice", "home-alice"))
    put_claim(api, Place("vision", "bob"))
    api.put(make_home_claim(FAST, Place("vision", "carol"), IDS))
    put_volume(api, Place("vision", "dave"))
    put_archive(api)
    put_archive(api, Place("vision", "erin"))
    put_claim(api, FOLDER)
    put_volume(api, FOLDER)
    put_claim(api, Place("nlp", "alice"))
    put_volume(api, Place("nlp", "alice"), used_bytes="0")
    return api


def states(api: FakeApi) -> list[str]:
    """Return the state of each home, as `-o json` has it."""
    return [it["state"] for it in json.loads(kf(api, "homes", "list", "-o", "json").stdout)]


def test_listing_shows_each_in_a_line(small: FakeApi) -> None:
    shown = kf(small, "homes", "list")

    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "PROFILE  PERSON        STATE                 SIZE  USED     LAST CHANGE",
        "nlp      alice         idle                  10Gi  0 B      -",
        "vision   (its folder)  idle                  1Gi   -        -",
        "vision   alice         mounted               10Gi  1.5 GiB  2026-11-20 09:30",
        "vision   alice         archived 2026-11-20   10Gi  -        -",
        "vision   bob           waits for its volume  10Gi  -        -",
        "vision   carol         idle                  20Gi  -        -",
        "vision   dave          unclaimed             10Gi  -        -",
        "vision   erin          archived 2026-11-20   10Gi  -        -",
    ]


def test_listing_writes_nothing(small: FakeApi) -> None:
    kf(small, "homes", "list")

    assert small.writes() == []


def test_listing_of_one_profile(small: FakeApi) -> None:
    assert kf(small, "homes", "list", "nlp").stdout.splitlines() == [
        "PROFILE  PERSON  STATE  SIZE  USED  LAST CHANGE",
        "nlp      alice   idle   10Gi  0 B   -",
    ]


@pytest.mark.parametrize("profile", [(), ("gone",)])
def test_listing_none(profile: tuple[str, ...]) -> None:
    assert kf(FakeApi(), "homes", "list", *profile).stdout == "There are no homes.\n"


def test_listing_none_as_json_is_an_empty_list() -> None:
    assert json.loads(kf(FakeApi(), "homes", "list", "-o", "json").stdout) == []


def test_listing_json_of_a_home(api: FakeApi) -> None:
    put_claim(api)
    put_volume(api, ALICE, **MEASURED)
    api.put(pod("server-alice", "home-alice"))

    (found,) = json.loads(kf(api, "homes", "list", "-o", "json").stdout)

    assert found == {
        "profile": "vision",
        "person": "alice",
        "state": "mounted",
        "archived": None,
        "capacity": "10Gi",
        "used_bytes": 1610612736,
        "over": False,
        "last_change": "2026-11-20T09:30:00+00:00",
        "measured_at": "2026-11-21T00:00:00+00:00",
        "storage_class": "kfspawner-nfs",
        "path": "/homes/vision/alice",
        "owner": "1000:100",
        "pods": ["server-alice"],
        "trouble": "",
    }


def test_listing_json_of_an_archived_folder(api: FakeApi) -> None:
    put_archive(api, FOLDER)

    (found,) = json.loads(kf(api, "homes", "list", "-o", "json").stdout)

    assert found["person"] is None
    assert found["archived"] == "20261120t093000-000z"
    assert found["path"] == "/homes/_archive/vision/_shared.20261120t093000-000z"


def test_listing_json_of_another_storage_class_knows_no_path(api: FakeApi) -> None:
    api.put(make_home_claim(FAST, ALICE, IDS))

    (found,) = json.loads(kf(api, "homes", "list", "-o", "json").stdout)

    assert (found["storage_class"], found["capacity"]) == ("fast", "20Gi")
    assert [found[it] for it in ("path", "owner", "used_bytes")] == [None, None, None]


def test_listing_names_as_people_write_them(api: FakeApi) -> None:
    put_claim(api, Place("vision", "Zoë@example.org"))

    assert "Zoë@example.org" in kf(api, "homes", "list").stdout
    assert '"Zoë@example.org"' in kf(api, "homes", "list", "-o", "json").stdout


def test_listing_leaves_out_what_is_no_home(api: FakeApi) -> None:
    stranger = make_home_claim(FAST, ALICE, IDS)
    stranger["metadata"]["labels"] = {}
    api.put(stranger)
    scratch = make_home_claim(SOURCE, ALICE, IDS)
    scratch["metadata"]["name"] = "scratch"
    api.put(scratch)
    disk = {"name": "disk", "labels": {VOLUME_LABEL: "home"}}
    spec = {"capacity": {"storage": "1Gi"}, "hostPath": {"path": "/"}}
    api.put({"apiVersion": "v1", "kind": VOLUME, "metadata": disk, "spec": spec})

    assert states(api) == []


@pytest.mark.parametrize(
    ("mounting", "state"),
    [
        (pod("run-0", "home-alice"), "mounted"),
        (pod("run-0", "home-alice", phase="Pending"), "mounted"),
        (pod("run-0", "home-alice", phase="Succeeded"), "idle"),
        (pod("run-0", "home-alice", phase="Failed"), "idle"),
        (pod("run-0", "home-alice", namespace="nlp"), "idle"),
        (pod("run-0", "home-bob"), "idle"),
    ],
)
def test_a_home_is_mounted_by_the_pods_of_its_namespace(
    api: FakeApi, mounting: Object, state: str
) -> None:
    put_claim(api)
    put_volume(api)
    api.put(mounting)

    assert states(api) == [state]


def test_a_volume_that_bears_a_stamp_is_being_archived(api: FakeApi) -> None:
    put_claim(api)
    put_volume(api, archived_as="20261120t093000-000z")

    assert states(api) == ["being archived"]


@pytest.mark.parametrize(
    ("of_claim", "of_volume", "state"),
    [
        ("it is full", "", "idle, in trouble"),
        ("", "it is full", "idle, in trouble"),
        ("", "", "idle"),
    ],
)
def test_trouble_shows_whichever_bears_it(
    api: FakeApi, of_claim: str, of_volume: str, state: str
) -> None:
    put_claim(api, trouble=of_claim)
    put_volume(api, trouble=of_volume)

    assert states(api) == [state]


def test_trouble_of_a_claim_that_waits(api: FakeApi) -> None:
    put_claim(api, trouble="the export is full")

    assert states(api) == ["waits for its volume, in trouble"]
    assert "Trouble:       the export is full" in kf(api, "homes", "show", "vision", "alice").stdout


@pytest.mark.parametrize("kind", [CLAIM, "Pod", VOLUME])
def test_listing_a_refusal_is_one_line(small: FakeApi, kind: str) -> None:
    small.refusals[f"list {kind}"] = [ClusterDenied("listing them", "forbidden", "ask")]

    result = kf(small, "homes", "list")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: listing them: forbidden; ask\n"


def test_listing_another_claim_of_a_person_hides_no_home(api: FakeApi) -> None:
    put_claim(api)
    put_volume(api)
    scratch = make_home_claim(FAST, ALICE, IDS)
    scratch["metadata"]["name"] = "scratch"
    api.put(scratch)

    (found,) = json.loads(kf(api, "homes", "show", "vision", "alice", "-o", "json").stdout)

    assert (found["storage_class"], found["path"]) == ("kfspawner-nfs", "/homes/vision/alice")


# Of one place.


def test_showing_a_home_and_its_archive(small: FakeApi) -> None:
    assert kf(small, "homes", "show", "vision", "alice").stdout.splitlines() == [
        "The home of 'alice' in profile vision",
        "  State:         mounted",
        "  Size:          10Gi",
        "  Storage class: kfspawner-nfs",
        "  Mounted by:    server-alice",
        "  Path:          /homes/vision/alice",
        "  Owner:         1000:100",
        "  Used:          1.5 GiB, at 2026-11-21 00:00 UTC",
        "  Last change:   2026-11-20 09:30 UTC",
        "",
        "The home of 'alice' in profile vision",
        "  State:         archived 2026-11-20",
        "  Size:          10Gi",
        "  Storage class: kfspawner-nfs",
        "  Mounted by:    no pod",
        "  Path:          /homes/_archive/vision/alice.20261120t093000-000z",
        "  Owner:         1000:100",
        "  Archived:      20261120t093000-000z",
    ]


def test_showing_without_a_person_is_the_folder(small: FakeApi) -> None:
    shown = kf(small, "homes", "show", "vision").stdout

    assert shown.startswith("The folder of profile vision\n  State:         idle\n")
    assert "Path:          /homes/vision/_shared\n" in shown


def test_showing_every_pod_that_mounts_it(api: FakeApi) -> None:
    put_claim(api)
    for name in ("server-alice", "digits-0"):
        api.put(pod(name, "home-alice"))

    shown = kf(api, "homes", "show", "vision", "alice").stdout

    assert "Mounted by:    digits-0, server-alice\n" in shown


def test_showing_trouble(api: FakeApi) -> None:
    put_claim(api)
    put_volume(api, trouble="archiving it: others use it; stop them")

    shown = kf(api, "homes", "show", "vision", "alice").stdout

    assert "State:         idle, in trouble\n" in shown
    assert "Trouble:       archiving it: others use it; stop them\n" in shown


def test_showing_a_home_of_the_default_storage_class(api: FakeApi) -> None:
    api.put(make_home_claim(read_home_source({}), ALICE, IDS))

    shown = kf(api, "homes", "show", "vision", "alice").stdout

    assert "Storage class: the cluster's default\n" in shown


def test_showing_json_has_all_of_one_place_and_nothing_else(small: FakeApi) -> None:
    found = json.loads(kf(small, "homes", "show", "vision", "alice", "-o", "json").stdout)

    assert [(it["person"], it["archived"]) for it in found] == [
        ("alice", None),
        ("alice", "20261120t093000-000z"),
    ]


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("vision", "nobody"), "the home of 'nobody' in profile vision"),
        (("nlp",), "the folder of profile nlp"),
        (("gone", "alice"), "the home of 'alice' in profile gone"),
    ],
)
def test_showing_nobody(small: FakeApi, words: tuple[str, ...], place: str) -> None:
    result = kf(small, "homes", "show", *words)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: showing {place}: there are no files there; see `kfspawner homes list`\n"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1000 * 2**10, "1000.0 KiB"),
        (2**20 - 2**7, "1023.9 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (2**20, "1.0 MiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**40 - 1, "1.0 TiB"),
        (2**40, "1.0 TiB"),
        (2**51, "2048.0 TiB"),
    ],
)
def test_a_size_as_people_read_it(count: int, text: str) -> None:
    assert show_size(count) == text
