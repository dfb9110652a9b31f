"""Files that pods of other profiles have mounted: they are not put away under them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfspawner.errors import HomeError
from kfspawner.homes.mounts import Mount, make_mount_claim, make_mount_volume
from kfspawner.homes.place import Place
from kfspawner.homes.plan import Step
from kfspawner.homes.volume import Server
from kfspawner.profiles.api import Object
from tests.fakes.homes import ALICE, CLAIM, FOLDER, SERVER, VOLUME, Homes, make_namespace
from tests.unit.test_cli_home_requests import ask, assert_refused, homes, use

__all__ = ["homes"]


def mount_elsewhere(homes: Homes, place: Place = ALICE, phase: str = "Running") -> Object:
    """Have a place's files mounted in profile nlp by a claim there, and return the pod's key."""
    mount = Mount(f"shared-{place.claim}", place.directory, read_only=False, person="alice")
    homes.api.put(make_namespace("nlp"))
    homes.api.put(make_mount_volume("nlp", mount, SERVER))
    homes.api.put(make_mount_claim("nlp", mount))
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": mount.claim}}]
    metadata = {
        "name": "server-alice",
        "namespace": "nlp",
        "annotations": {"hub.jupyter.org/username": "alice"},
    }
    return homes.api.put(
        {
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"volumes": volumes},
            "status": {"phase": phase},
        }
    )


@pytest.mark.parametrize(("place", "words"), [(ALICE, ("alice",)), (FOLDER, ())])
def test_the_command_names_the_pods(homes: Homes, place: Place, words: tuple[str, ...]) -> None:
    directory = use(homes, place)
    mount_elsewhere(homes, place)

    result = ask(homes, "archive", "vision", *words)

    assert_refused(result, "pods have it mounted: nlp/server-alice; stop the server and the runs")
    assert (directory / "a.txt").read_text() == "a"
    assert homes.api.writes() == []
    shown = ask(homes, "show", "vision", *words)
    assert "Mounted by:    nlp/server-alice" in shown.stdout


def test_what_no_claim_has_any_more_is_not_put_away_either(homes: Homes) -> None:
    use(homes)
    homes.api.remove(CLAIM, ALICE.claim, "vision")
    mount_elsewhere(homes)

    assert_refused(ask(homes, "archive", "vision", "alice"), "nlp/server-alice")


def test_a_pod_that_has_ended_and_a_directory_beside_are_no_hindrance(homes: Homes) -> None:
    use(homes)
    mount_elsewhere(homes, phase="Succeeded")
    other = Mount("dataset-x", "/homes/vision/alice", server="other.test")
    homes.api.put(make_mount_volume("nlp", other, Server("other.test", "/")))

    assert ask(homes, "archive", "vision", "alice").exit_code == 0


@pytest.mark.parametrize("about", ["claim", "volume"])
async def test_the_provisioner_waits_for_them(tmp_path: Path, about: str) -> None:
    homes = Homes(tmp_path)
    homes.claim()
    await homes.settle()
    mount_elsewhere(homes)
    if about == "claim":
        homes.ask(CLAIM, ALICE.claim, "archive", "vision")
    else:
        homes.api.remove(CLAIM, ALICE.claim, "vision")
        homes.ask(VOLUME, ALICE.volume, "archive")
    assert await homes.take() is Step.MARK

    said = "pods in other profiles have it mounted: nlp/server-alice; stop them first"
    with pytest.raises(HomeError, match=said):
        await homes.take()
    assert homes.directories() == ["vision/alice"]
    assert said in homes.notes(VOLUME, ALICE.volume)["trouble"]

    homes.api.remove("Pod", "server-alice", "nlp")
    await homes.settle()
    assert len(homes.archives()) == 1


async def test_a_profile_that_is_gone_waits_for_nobody(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    homes.claim(FOLDER)
    await homes.settle()
    mount_elsewhere(homes, FOLDER)

    homes.api.finish("vision")
    await homes.settle()

    assert len(homes.archives()) == 1


async def test_a_home_is_not_given_to_another_uid_meanwhile(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    homes.claim()
    await homes.settle()
    mount_elsewhere(homes)
    found = homes.api.objects[CLAIM, "vision", ALICE.claim]
    found["metadata"]["annotations"]["kfspawner.io/owner-ids"] = "20001:100"
    homes.api.put(found)

    with pytest.raises(HomeError, match="pods use them: nlp/server-alice"):
        await homes.take()
