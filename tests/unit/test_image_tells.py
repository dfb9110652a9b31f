"""What an image says of itself to who pulls it, and what it keeps to itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from kfspawner.packaging.image import Ground, package
from kfspawner.packaging.layer import make_layer
from kfspawner.packaging.provenance import Provenance
from kfspawner.packaging.source import RUN_DIR, Source
from kfspawner.reference import Reference
from tests.fakes.images import add_image, make_config
from tests.fakes.registry import FakeRegistry

TOLD = Provenance("notebook", "työ/a.ipynb", "a" * 40, person="alice", profile="vision")
SECRET = "hunter2-s3cret"
SOURCE = Source("train", {"train.py": b"print(1)\n"}, ("python", "-u", f"{RUN_DIR}/train.py"))


def make(fake: FakeRegistry, provenance: Provenance = TOLD) -> Reference:
    base = f"{fake.host}/cpu:1"
    return package(SOURCE, base, f"{fake.host}/vision/runs", provenance=provenance)


def documents(fake: FakeRegistry, image: Reference) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the image's manifest and config."""
    manifest = fake.document(image.repository, image.version)
    config = fake.blobs[image.repository, manifest["config"]["digest"]]
    return manifest, json.loads(config)


def test_annotations(fake: FakeRegistry) -> None:
    base = add_image(fake, "cpu", "1")
    manifest, _ = documents(fake, make(fake))
    assert manifest["annotations"] == {
        "io.kfspawner.kind": "notebook",
        "io.kfspawner.path": "työ/a.ipynb",
        "io.kfspawner.commit": "a" * 40,
        "io.kfspawner.dirty": "false",
        "io.kfspawner.person": "alice",
        "io.kfspawner.profile": "vision",
        "org.opencontainers.image.revision": "a" * 40,
        "org.opencontainers.image.base.name": f"{fake.host}/cpu",
        "org.opencontainers.image.base.digest": base,
    }


def test_layers_say_what_they_are(fake: FakeRegistry) -> None:
    add_image(fake, "cpu", "1")
    with make_layer({"x.py": b""}, "/opt/x") as below:
        ground = Ground(f"{fake.host}/cpu:1", [below])
        manifest, config = documents(fake, package(SOURCE, ground, f"{fake.host}/vision/runs"))
    told = [layer["annotations"] for layer in manifest["layers"]]
    assert told == [
        {"of": "base"},
        {"of": "base"},
        {"io.kfspawner.layer": "dependencies"},
        {"io.kfspawner.layer": "source"},
    ]
    assert len(config["history"]) == len(manifest["layers"])


def test_labels_of_the_base_stay(fake: FakeRegistry) -> None:
    labels = {"org.opencontainers.image.revision": "b" * 40, "io.kfspawner.image": "cpu"}
    add_image(fake, "cpu", "1", config=make_config(2, Labels=labels))
    _, config = documents(fake, make(fake))
    assert labels.items() <= config["config"]["Labels"].items()
    assert Provenance.parse(config["config"]["Labels"]) == TOLD


def test_a_run_on_a_run_tells_of_itself(fake: FakeRegistry) -> None:
    add_image(fake, "cpu", "1")
    first = make(fake)
    told = Provenance("script", "b.py", person="bob")
    image = package(SOURCE, str(first), f"{fake.host}/vision/runs", provenance=told)
    manifest, config = documents(fake, image)
    assert Provenance.parse(config["config"]["Labels"]) == told
    assert Provenance.parse(manifest["annotations"]) == told


def test_docker_has_no_annotations_but_labels(fake: FakeRegistry) -> None:
    add_image(fake, "cpu", "1", docker=True)
    manifest, config = documents(fake, make(fake))
    assert "annotations" not in manifest
    assert "annotations" not in manifest["layers"][-1]
    assert Provenance.parse(config["config"]["Labels"]) == TOLD


def test_there_is_no_time_in_it(fake: FakeRegistry) -> None:
    add_image(fake, "cpu", "1")
    first = make(fake)
    fake.log.clear()
    assert make(fake) == first
    assert not [call for call in fake.log if re.match("P.* /v2/.*/blobs/", call)]
    manifest, config = documents(fake, first)
    assert config["created"] == make_config(0)["created"], "it is the base's"
    assert not re.search(r"20[2-9]\d-", json.dumps(manifest))


def test_what_is_told_changes_no_layer(fake: FakeRegistry) -> None:
    add_image(fake, "cpu", "1")
    one = make(fake)
    fake.log.clear()
    other = make(fake, Provenance("cell", person="bob"))
    assert other != one
    assert len([call for call in fake.calls("PUT") if "/blobs/" in call]) == 1, "the config alone"
    layers = [documents(fake, image)[0]["layers"] for image in (one, other)]
    assert layers[0] == layers[1]


def test_no_secret_of_this_process_is_told(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_image(fake, "cpu", "1")
    for name in ("JUPYTERHUB_API_TOKEN", "AWS_SECRET_ACCESS_KEY", "KFSPAWNER_SERVER_KEY"):
        monkeypatch.setenv(name, SECRET)
    image = make(fake)
    manifest, config = documents(fake, image)
    assert SECRET not in json.dumps([manifest, config])
    (own,) = config["history"][2:]
    assert own == {"created": make_config(0)["created"], "created_by": f"kfspawner {RUN_DIR}"}
    assert config["config"]["Env"] == [*make_config(0)["config"]["Env"], "PYTHONUNBUFFERED=1"]
