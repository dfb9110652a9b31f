"""What `make up` renders and prints."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from deploy.hub import make_kustomization
from deploy.node.layout import Layout
from deploy.steps import Progress, Steps
from deploy.target import Target

IMAGES = {name: f"registry.example/{name}@sha256:{'0' * 64}" for name in ("hub", "cpu", "gpu")}


def test_a_target_makes_its_secrets_once_and_for_itself(tmp_path: Path) -> None:
    target = Target.local(Layout(tmp_path))
    made = target.secrets()
    assert made == target.secrets()
    assert len(set(made.values())) == len(made)
    assert (target.directory / "secrets.json").stat().st_mode & 0o077 == 0
    assert Target.local(Layout(tmp_path / "other")).secrets() != made


def test_the_kustomization_pins_images_and_carries_every_secret(tmp_path: Path) -> None:
    target = Target.local(Layout(tmp_path))
    made = make_kustomization(target, IMAGES, {"KFSPAWNER_SIMULATED_GPUS": "1"})
    (overlay,) = made["resources"]
    assert not Path(overlay).is_absolute()
    assert (target.directory / overlay / "kustomization.yaml").resolve().exists()
    assert made["images"] == [
        {"name": "kfspawner/hub", "newName": "registry.example/hub", "digest": f"sha256:{'0' * 64}"}
    ]
    literals = [line for it in made["secretGenerator"] for line in it["literals"]]
    assert sorted(literals) == sorted(f"{k}={v}" for k, v in target.secrets().items())
    settings = made["configMapGenerator"][0]["literals"]
    assert f"KFSPAWNER_IMAGE_CPU={IMAGES['cpu']}" in settings
    assert "KFSPAWNER_SIMULATED_GPUS=1" in settings


def test_a_step_says_how_long_it_took_and_whether_it_went_well() -> None:
    out = io.StringIO()
    steps = Steps(out)
    with steps.step("first"):
        steps.say("something on the way")
    with pytest.raises(ValueError, match="oops"), steps.step("second"):
        raise ValueError("oops")
    said = out.getvalue().splitlines()
    assert re.fullmatch(r" +\d+\.\ds ✓ first", said[1])
    assert said[0].strip() == "something on the way"
    assert re.fullmatch(r" +\d+\.\ds ✗ second", said[2])
    assert set(steps.seconds) == {"first", "second"}


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [(0, 0, ""), (0, 10, "  0%"), (5, 10, " 50%"), (10, 10, "100%"), (12, 10, "100%")],
)
def test_a_bar_shows_the_part_that_is_done(done: int, total: int, shown: str) -> None:
    progress = Progress()
    progress.advance(done, total)
    assert str(progress).endswith(shown)
    if total:
        assert str(progress).count("█") == 24 * min(done, total) // total
