"""What a server mounts besides its home: folders of other profiles, a shared home, datasets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kfspawner.context import ServerContext
from kfspawner.errors import ClusterDenied, ClusterError
from kfspawner.homes import home
from kfspawner.homes.datasets import read_datasets
from kfspawner.homes.mounts import Mount, read_mounts
from kfspawner.homes.place import Place
from kfspawner.homes.source import read_home_source
from kfspawner.profiles.directory import Choice
from kfspawner.profiles.profile import Role, read_declared
from kfspawner.profiles.standing import Standing
from kfspawner.servers import mounting
from kfspawner.servers.files import Files, Mounted
from kfspawner.servers.spawner import KfSpawner
from kfspawner.training.kinds import RunRequest, make_job
from tests.fakes.api import FakeApi
from tests.fakes.hub import FakeHub, load
from tests.unit.test_server_homes import CLAIM, NFS, make_claims, make_mounts, play_provisioner

NO_FOLDERS = {name: it for name, it in NFS.items() if name != "folder_capacity"}
DATASETS = {
    "digits": {"server": "nfs.data", "path": "/data/digits"},
    "scans": {"claim": "scans", "profiles": ["vision"]},
}
SHARED = "/home/jovyan/shared"
DIGITS = Mount("dataset-digits", "/data/digits", server="nfs.data")
FULL = ClusterDenied("creating", "exceeded quota: storage", "choose less")


def make_files(profile: str, source: dict[str, Any] = NFS, **settings: Any) -> Files:
    declared = {"shared_home": False, "datasets": (), **settings}
    return Files("bob", profile, source=read_home_source(source), **declared)


def choice(name: str, role: Role = Role.EDIT, *, ready: bool = True) -> Choice:
    profile = read_declared(name, {"owner": "alice"})
    return Choice(profile, role, Standing(profile, ready=ready))


# What is mounted.

CHOICES = [
    choice("kf-bob", Role.ADMIN),
    choice("speech", Role.VIEW),
    choice("vision"),
    choice("leads", Role.ADMIN),
    choice("new", ready=False),
]


def folder(number: int, name: str, *, looks: bool = False) -> Mounted:
    mount = Mount.of_folder(name, "bob", read_only=looks)
    return Mounted(f"folder-{number}", f"folder-{name}", f"{SHARED}/{name}", looks, mount, name)


def test_in_a_profile_of_ones_own_are_the_folders_of_all_others() -> None:
    assert make_files("kf-bob").mounted(CHOICES, alone=True) == [
        folder(1, "speech", looks=True),
        folder(2, "vision"),
        folder(3, "leads"),
    ]


def test_whoever_has_others_in_their_own_profile_has_no_folders_there() -> None:
    assert make_files("kf-bob").mounted(CHOICES, alone=False) == []


def test_in_a_shared_profile_is_its_own_folder_and_no_other() -> None:
    assert make_files("vision").mounted(CHOICES, alone=True) == [
        Mounted("folder", "profile-folder", f"{SHARED}/vision")
    ]


@pytest.mark.parametrize("profile", ["kf-bob", "vision", "kf-bobby"])
@pytest.mark.parametrize(
    "source",
    [NO_FOLDERS, {}, {"storage_class": "fast"}, {"claim": "team", "sub_path": "homes"}],
    ids=["no folders", "the default class", "a class", "a claim"],
)
def test_where_there_are_no_folders_none_are_mounted(source: dict[str, Any], profile: str) -> None:
    assert make_files(profile, source).mounted(CHOICES, alone=True) == []


@pytest.mark.parametrize(
    ("profile", "names"),
    [("vision", ["dataset-0", "dataset-1"]), ("speech", ["dataset-0"]), ("kf-bob", ["dataset-0"])],
)
def test_each_profile_has_its_datasets(profile: str, names: list[str]) -> None:
    files = make_files(profile, NO_FOLDERS, datasets=read_datasets(DATASETS))
    digits = Mounted("dataset-0", "dataset-digits", "/datasets/digits", True, DIGITS)
    scans = Mounted("dataset-1", "scans", "/datasets/scans", True)

    assert files.mounted(CHOICES, alone=True) == [it for it in (digits, scans) if it.name in names]


@pytest.mark.parametrize(
    ("profile", "source", "shared_home", "own"),
    [
        ("vision", NFS, True, Place("kf-bob", "bob")),
        ("vision", NFS, False, None),
        ("kf-bob", NFS, True, None),
        ("vision", {"storage_class": "fast"}, True, None),
        ("vision", {"claim": "team"}, True, None),
        ("vision", {}, True, None),
    ],
    ids=["shared", "not asked for", "one's own", "a class", "a claim", "the default class"],
)
def test_whose_home_a_server_has(
    profile: str,
    source: dict[str, Any],
    shared_home: bool,  # noqa: FBT001
    own: Place | None,
) -> None:
    files = make_files(profile, source, shared_home=shared_home)
    mount = Mount("shared-home-bob", "kf-bob/bob", read_only=False, person="bob")

    assert files.own_home == own
    assert files.home() == (mount if own else None)


@pytest.mark.parametrize("read_only", [True, False])
def test_how_a_pod_has_it(read_only: bool) -> None:  # noqa: FBT001
    mounted = Mounted("folder-1", "folder-vision", "/x", read_only)
    more = {"readOnly": True} if read_only else {}

    assert mounted.volume == {
        "name": "folder-1",
        "persistentVolumeClaim": {"claimName": "folder-vision", **more},
    }
    assert mounted.volume_mount == {"name": "folder-1", "mountPath": "/x", **more}


# How a server starts.


@pytest.fixture
def shared(hub: FakeHub) -> FakeHub:
    """Return a hub with a profile that bob edits, and one that he looks at."""
    hub.share("vision", members={"bob": "edit", "carol": "edit"})
    hub.share("speech", members={"bob": "view"})
    play_provisioner(hub.api)
    return hub


async def start(spawner: KfSpawner, profile: str = "", **options: Any) -> dict[str, Any]:
    """Do what KubeSpawner does for a start, in its order, and return the pod."""
    await load(spawner, **({"profile": profile} if profile else {}), **options)
    await spawner._ensure_namespace()
    await make_claims(spawner)
    pod = await spawner.get_pod_manifest()
    sent: dict[str, Any] = spawner.api.api_client.sanitize_for_serialization(pod)
    return sent


def mounts(pod: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Return which claim is mounted where, and whether read-only, by mount and by volume alike."""
    claims = {
        it["name"]: it["persistentVolumeClaim"]
        for it in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in it
    }
    found = {}
    for it in pod["spec"]["containers"][0]["volumeMounts"]:
        if claim := claims.pop(it["name"], None):
            assert claim.get("readOnly", False) == it.get("readOnly", False)
            found[it["mountPath"]] = (claim["claimName"], it.get("readOnly", False))
    # Whatever is in the pod is mounted.
    assert not claims
    return found


def env(pod: dict[str, Any]) -> dict[str, str]:
    return {it["name"]: it.get("value", "") for it in pod["spec"]["containers"][0]["env"]}


def written(hub: FakeHub, profile: str) -> dict[str, Mount]:
    return read_mounts(hub.api.objects["Profile", "", profile])


OWN = {
    "/home/jovyan": ("home-bob", False),
    f"{SHARED}/vision": ("folder-vision", False),
    f"{SHARED}/speech": ("folder-speech", True),
}
VISION = {
    "/home/jovyan": ("home-bob", False),
    f"{SHARED}/vision": ("profile-folder", False),
}


async def test_a_server_in_ones_own_profile_has_the_folders_of_the_others(shared: FakeHub) -> None:
    pod = await start(shared.make_spawner("bob", home=NFS))

    assert mounts(pod) == OWN
    assert written(shared, "kf-bob") == {
        f"folder-{name}": Mount.of_folder(name, "bob", read_only=looks)
        for name, looks in (("vision", False), ("speech", True))
    }
    claims = {key[1:] for key in shared.api.objects if key[0] == CLAIM}
    # Each folder is its profile's, whoever comes first.
    assert {("vision", "profile-folder"), ("speech", "profile-folder")} <= claims
    modes = {
        name: shared.api.objects[CLAIM, "kf-bob", name]["spec"]["accessModes"]
        for name in ("folder-vision", "folder-speech")
    }
    assert modes == {"folder-vision": ["ReadWriteMany"], "folder-speech": ["ReadOnlyMany"]}


async def test_a_profile_that_does_not_stand_is_left_out(shared: FakeHub) -> None:
    spawner = shared.make_spawner("bob", home=NFS)
    await load(spawner)
    shared.break_profile("speech", "Preparing", "it is being made")
    await asyncio.sleep(0.05)

    pod = await start(spawner)

    assert mounts(pod) == {path: it for path, it in OWN.items() if "speech" not in path}


async def test_a_folder_that_cannot_be_made_is_left_out_of_all(shared: FakeHub) -> None:
    tools = {"name": "tools", "persistentVolumeClaim": {"claimName": "tools"}}
    mounted = {"name": "tools", "mountPath": "/tools"}
    spawner = shared.make_spawner("bob", home=NFS, volumes=[tools], volume_mounts=[mounted])
    own = {**OWN, "/tools": ("tools", False)}
    await start(spawner)
    shared.api.remove(CLAIM, "profile-folder", "speech")
    shared.api.refusals[f"create {CLAIM}"] = [FULL]

    pod = await start(spawner)

    assert mounts(pod) == {path: it for path, it in own.items() if "speech" not in path}
    assert json.loads(env(pod)["KFSPAWNER_MOUNTS"]) == [
        ["folder-vision", f"{SHARED}/vision", False]
    ]
    assert list(written(shared, "kf-bob")) == ["folder-vision"]
    (said,) = spawner._remarks
    assert said.startswith("Starting without the folder of speech this time: ")
    # And it is there again when that has passed.
    assert mounts(await start(spawner)) == own


async def test_whoever_is_no_member_any_more_has_its_folder_no_more(shared: FakeHub) -> None:
    spawner = shared.make_spawner("bob", home=NFS)
    await start(spawner)
    shared.share("vision")
    await asyncio.sleep(0.05)

    pod = await start(spawner)

    assert mounts(pod) == {path: it for path, it in OWN.items() if "vision" not in path}
    assert (CLAIM, "kf-bob", "folder-vision") not in shared.api.objects
    assert (CLAIM, "vision", "profile-folder") in shared.api.objects


async def test_a_folder_whose_earlier_claim_is_held_is_left_out(
    shared: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounting, "_FOLDER_SECONDS", 0.1)
    spawner = shared.make_spawner("bob", home=NFS)
    await start(spawner)
    # A run has it mounted: the cluster keeps it.
    held = shared.api.objects[CLAIM, "kf-bob", "folder-vision"]
    going = {"deletionTimestamp": "2026-11-24T10:15:00Z", "finalizers": ["x"]}
    held["metadata"] |= going

    pod = await start(spawner)

    assert mounts(pod) == {path: it for path, it in OWN.items() if "vision" not in path}
    (said,) = spawner._remarks
    assert said == (
        "Starting without the folder of vision this time: "
        "an earlier one is being taken away, and perhaps archived"
    )
    # It is asked for all the same.
    assert "folder-vision" in written(shared, "kf-bob")


async def test_whoever_only_looks_by_now_waits_for_a_claim_that_is_read_only(
    shared: FakeHub,
) -> None:
    spawner = shared.make_spawner("bob", home=NFS)
    await start(spawner)
    shared.share("vision", members={"bob": "view"})
    await asyncio.sleep(0.05)
    await load(spawner)
    # A provisioner takes its time.
    shared.api.on_write = lambda it: it.update(status={"phase": "Bound"})
    take_time = asyncio.create_task(make_late(shared.api, "kf-bob"))
    await make_claims(spawner)

    claim = shared.api.objects[CLAIM, "kf-bob", "folder-vision"]
    await take_time
    assert claim["spec"]["accessModes"] == ["ReadOnlyMany"]


async def make_late(api: FakeApi, profile: str) -> None:
    await asyncio.sleep(0.3)
    make_mounts(api, api.objects["Profile", "", profile])


# A home that is the same in each profile.


async def test_a_shared_home_is_that_of_ones_own_profile(shared: FakeHub) -> None:
    spawner = shared.make_spawner("bob", home=NFS, shared_home=True)
    pod = await start(spawner, "vision")

    assert mounts(pod) == {**VISION, "/home/jovyan": ("shared-home-bob", False)}
    assert spawner.pvc_name == env(pod)["KFSPAWNER_HOME_CLAIM"] == "shared-home-bob"
    claim = spawner.get_pvc_manifest()["metadata"]
    assert (claim["namespace"], claim["name"]) == ("kf-bob", "home-bob")
    assert (CLAIM, "kf-bob", "home-bob") in shared.api.objects
    assert (CLAIM, "vision", "home-bob") not in shared.api.objects
    assert written(shared, "vision") == {
        "shared-home-bob": Mount("shared-home-bob", "kf-bob/bob", read_only=False, person="bob")
    }


async def test_a_shared_home_waits_for_ones_own_profile_too(shared: FakeHub) -> None:
    spawner = shared.make_spawner("bob", home=NFS, shared_home=True)
    await load(spawner, profile="vision")
    shared.break_profile("kf-bob", "NamespaceTaken", "namespace kf-bob is somebody else's")
    await asyncio.sleep(0.05)

    with pytest.raises(ClusterError, match="kf-bob"):
        await spawner._ensure_namespace()


async def test_people_in_one_profile_keep_their_own_homes(shared: FakeHub) -> None:
    for name in ("bob", "carol", "bob"):
        await start(shared.make_spawner(name, home=NFS, shared_home=True), "vision")

    assert {it.person: it.path for it in written(shared, "vision").values()} == {
        "bob": "kf-bob/bob",
        "carol": "kf-carol/carol",
    }


async def test_nothing_of_one_start_is_in_the_next(shared: FakeHub) -> None:
    spawner = shared.make_spawner("bob", home=NFS, shared_home=True, datasets=DATASETS)
    digits, scans = ("dataset-digits", True), ("scans", True)
    own = {**OWN, "/datasets/digits": digits}
    vision = {**VISION, "/datasets/digits": digits, "/datasets/scans": scans}
    vision["/home/jovyan"] = ("shared-home-bob", False)

    for _ in range(2):
        assert mounts(await start(spawner)) == own
        assert spawner.pvc_name == "home-bob"
        assert mounts(await start(spawner, "vision")) == vision
    spawner.clear_state()
    assert spawner._mounted == ()


# What becomes of it.


async def test_a_deleted_persons_mounts_are_taken_off_every_profile(shared: FakeHub) -> None:
    settings = {"home": NFS, "shared_home": True, "datasets": DATASETS}
    bob, carol = shared.make_spawner("bob", **settings), shared.make_spawner("carol", **settings)
    for spawner, profile in ((bob, ""), (bob, "vision"), (carol, "vision")):
        await start(spawner, profile)

    await bob.delete_forever()

    assert list(written(shared, "vision")) == ["dataset-digits", "shared-home-carol"]
    assert list(written(shared, "kf-bob")) == ["dataset-digits"]
    asked = shared.api.objects[CLAIM, "kf-bob", "home-bob"]["metadata"]["annotations"]
    assert asked["kfspawner.io/request"] == "archive"


@pytest.mark.parametrize("source", [{}, {"storage_class": "fast"}], ids=["default", "a class"])
async def test_where_nothing_is_ours_nothing_is_asked_for(
    shared: FakeHub, source: dict[str, Any]
) -> None:
    await load(shared.make_spawner("bob", home=source))
    shared.api.calls.clear()
    spawner = shared.make_spawner("bob", home=source, datasets={"scans": {"claim": "scans"}})
    pod = await start(spawner)

    assert mounts(pod)["/datasets/scans"] == ("scans", True)
    assert [kind for _, (kind, _, _) in shared.api.writes()] == [CLAIM]


async def test_a_dataset_that_is_not_there_is_told_by_its_server(
    shared: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "_BOUND_SECONDS", 0.1)
    spawner = shared.make_spawner("bob", home=NO_FOLDERS, datasets=DATASETS)
    await load(spawner)
    shared.api.on_write = lambda it: it.update(status={"phase": "Bound"})

    with pytest.raises(ClusterError) as late:
        await make_claims(spawner)

    assert "nfs.data:/data/digits" in str(late.value)


# What its runs have.


async def test_runs_mount_what_the_server_mounts(shared: FakeHub) -> None:
    pod = await start(shared.make_spawner("bob", home=NFS, datasets=DATASETS))
    context = ServerContext.from_env(env(pod))
    image = f"registry.example/kf-bob/runs@sha256:{'ab' * 32}"

    job = make_job(RunRequest("digits", image, ("python", "main.py"), context))
    run = job["spec"]["template"]

    # /outputs is a directory of the home.
    (container,) = run["spec"]["containers"]
    container["volumeMounts"] = [
        it for it in container["volumeMounts"] if it["mountPath"] != "/outputs"
    ]
    assert mounts(run) == mounts(pod) == {**OWN, "/datasets/digits": ("dataset-digits", True)}
