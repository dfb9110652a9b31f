"""A run's code comes back by the run's name, by a digest, and after the run is deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfspawner.context import ServerContext
from kfspawner.errors import ImageMissing, NameRefused, ObjectMissing, OptionRefused
from kfspawner.labels import RUN_LABEL
from kfspawner.packaging import Reference, Source, package
from kfspawner.training.restoring import restore_run
from tests.fakes.cluster import FakeCluster
from tests.fakes.images import add_image
from tests.fakes.registry import FakeRegistry

SOURCE = Source("train", {"train.py": b"print(1)\n"}, ("python", "train.py"))


@pytest.fixture
def context(fake: FakeRegistry, tmp_path: Path) -> ServerContext:
    return ServerContext(
        user="alice",
        namespace="kf-alice",
        image=f"{fake.host}/cpu:1",
        repository=f"{fake.host}/kf-alice/runs",
        home_claim="home",
        home=str(tmp_path),
    )


@pytest.fixture
def image(fake: FakeRegistry, context: ServerContext) -> Reference:
    add_image(fake, "cpu", "1")
    return package(SOURCE, context.image, context.repository, tag="digits")


def run_of(image: Reference, **labels: str) -> dict[str, Any]:
    pod = {"spec": {"containers": [{"image": str(image)}]}}
    return {"metadata": {"name": "digits", "labels": labels}, "spec": {"template": pod}}


@pytest.fixture
def cluster(image: Reference) -> FakeCluster:
    cluster = FakeCluster()
    cluster.jobs["digits"] = run_of(image, **{RUN_LABEL: "digits"})
    return cluster


def test_by_name(
    context: ServerContext, cluster: FakeCluster, image: Reference, tmp_path: Path
) -> None:
    restored = restore_run("digits", None, context, cluster)
    assert restored.image == image
    assert restored.folder == tmp_path / "restored" / "digits"
    assert (restored.folder / "train.py").read_bytes() == b"print(1)\n"


def test_the_run_says_which_image_and_not_the_tag(
    fake: FakeRegistry, context: ServerContext, cluster: FakeCluster, image: Reference
) -> None:
    other = Source("train", {"other.py": b""}, SOURCE.command)
    package(other, context.image, context.repository, tag="digits")
    assert restore_run("digits", None, context, cluster).image == image


def test_of_a_run_that_is_deleted(
    context: ServerContext, cluster: FakeCluster, image: Reference, tmp_path: Path
) -> None:
    del cluster.jobs["digits"]
    restored = restore_run("digits", tmp_path / "back", context, cluster)
    assert (restored.image, restored.folder) == (image, tmp_path / "back")
    with pytest.raises(ImageMissing):
        restore_run("letters", None, context, cluster)


@pytest.mark.parametrize("whole", [True, False])
def test_by_digest(
    context: ServerContext, image: Reference, tmp_path: Path, *, whole: bool
) -> None:
    assert image.digest
    restored = restore_run(str(image) if whole else image.digest, None, context)
    assert restored.image == image
    assert restored.folder == tmp_path / "restored" / image.digest[7:19]


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("Digits", NameRefused),
        ("", NameRefused),
        ("sha256:12", OptionRefused),
        ("a/b@c", OptionRefused),
    ],
)
def test_what_is_nothing(
    context: ServerContext, cluster: FakeCluster, what: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        restore_run(what, None, context, cluster)


def test_a_job_that_is_no_run(
    context: ServerContext, cluster: FakeCluster, image: Reference
) -> None:
    cluster.jobs["digits"] = run_of(image)
    with pytest.raises(ObjectMissing, match="it is no run"):
        restore_run("digits", None, context, cluster)
