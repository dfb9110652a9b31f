"""What is to be done next about a mount, as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kfspawner.homes.ledger import Namespace
from kfspawner.homes.mounts import (
    Made,
    Mount,
    MountStanding,
    MountStep,
    by_mount,
    next_mount_step,
    source_of,
)
from kfspawner.homes.volume import Server

OWN = Server("nfs.test", "/homes", ("hard", "vers=4.2"))
FOLDER = Mount.of_folder("vision", "bob", read_only=True)
DATA = Mount("dataset-digits", "/data/digits", server="nfs.data")
MADE_NAME = "mount.kf-bob.folder-vision"

# What is next.

SPACE = Namespace("uid-space", is_profiles=True)
SPACES = {"profile's": SPACE, "nobody's": Namespace("uid-space", is_profiles=False), "gone": None}
MADE_CLAIM = Made("kf-bob", "folder-vision", "folder-vision", "uid-1", FOLDER.said)
SOURCE = source_of(FOLDER, OWN)
VOLUMES = {
    "none": None,
    "as wanted": Made(
        "kf-bob", "folder-vision", MADE_NAME, "uid-2", source=SOURCE, phase="Available"
    ),
    "another": Made(
        "kf-bob",
        "folder-vision",
        "mount.kf-bob.folder-vision",
        "uid-2",
        source=(*SOURCE[:2], False),
    ),
}
# Whether there is a claim, and which volume -> the step where it is wanted, and where it is not.
TABLE: dict[tuple[bool, str], tuple[MountStep | None, MountStep | None]] = {
    (False, "none"): (MountStep.MAKE_VOLUME, None),
    (True, "none"): (MountStep.DROP_CLAIM, MountStep.DROP_CLAIM),
    (False, "as wanted"): (MountStep.MAKE_CLAIM, MountStep.DROP_VOLUME),
    (True, "as wanted"): (None, MountStep.DROP_CLAIM),
    (False, "another"): (MountStep.DROP_VOLUME, MountStep.DROP_VOLUME),
    (True, "another"): (MountStep.DROP_CLAIM, MountStep.DROP_CLAIM),
}


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "unwanted"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("claim", "volume"), list(TABLE))
def test_what_is_next(wanted: bool, space: str, claim: bool, volume: str) -> None:  # noqa: FBT001
    standing = MountStanding(
        profile="kf-bob",
        wanted=FOLDER if wanted else None,
        claim=MADE_CLAIM if claim else None,
        volume=VOLUMES[volume],
        source=SOURCE if wanted else None,
        namespace=SPACES[space],
    )
    here, not_here = TABLE[claim, volume]

    assert next_mount_step(standing) == (here if wanted and space == "profile's" else not_here)


@pytest.mark.parametrize(
    ("phase", "step"),
    [
        ("", None),
        ("Pending", None),
        ("Available", MountStep.MAKE_CLAIM),
        ("Bound", MountStep.DROP_VOLUME),
        ("Released", MountStep.DROP_VOLUME),
        ("Failed", MountStep.DROP_VOLUME),
    ],
)
def test_a_claim_is_made_for_a_volume_that_is_known_and_free(
    phase: str, step: MountStep | None
) -> None:
    volume = VOLUMES["as wanted"]
    assert volume
    standing = MountStanding("kf-bob", FOLDER, None, replace(volume, phase=phase), SOURCE, SPACE)

    assert next_mount_step(standing) is step


@pytest.mark.parametrize("said", ["", "{}", replace(FOLDER, path="speech/_shared").said])
def test_a_claim_of_something_else_makes_place(said: str) -> None:
    claim, volume = replace(MADE_CLAIM, said=said), VOLUMES["as wanted"]
    standing = MountStanding("kf-bob", FOLDER, claim, volume, SOURCE, SPACE)

    assert next_mount_step(standing) is MountStep.DROP_CLAIM


def test_each_mount_stands_for_itself() -> None:
    volume, another = VOLUMES["as wanted"], Made("kf-eve", "dataset-x", "dataset-x", "uid-3")
    wanted = {"kf-bob": {FOLDER.claim: FOLDER}, "kf-carol": {DATA.claim: DATA}, "kf-dave": {}}
    assert volume

    found = by_mount(wanted, [another, volume, MADE_CLAIM], {"kf-bob": SPACE}, OWN)

    assert found == {
        "mount.kf-bob.folder-vision": MountStanding(
            "kf-bob", FOLDER, MADE_CLAIM, volume, SOURCE, SPACE
        ),
        "mount.kf-carol.dataset-digits": MountStanding(
            "kf-carol", DATA, None, None, ("nfs.data", "/data/digits", True), None
        ),
        "mount.kf-eve.dataset-x": MountStanding("kf-eve", None, another, None, None, None),
    }
    assert by_mount({}, [], {"kf-bob": SPACE}, OWN) == {}


@pytest.mark.parametrize(
    "change", [{"read_only": False}, {"path": "speech/_shared"}, {"server": "nfs.data"}]
)
def test_what_is_to_mount_something_else_is_made_anew(change: dict[str, Any]) -> None:
    volume = VOLUMES["as wanted"]
    wanted = replace(FOLDER, **change)
    assert volume

    (now,) = by_mount(
        {"kf-bob": {wanted.claim: wanted}}, [volume, MADE_CLAIM], {"kf-bob": SPACE}, OWN
    ).values()

    assert next_mount_step(now) is MountStep.DROP_CLAIM
    assert next_mount_step(replace(now, claim=None)) is MountStep.DROP_VOLUME
