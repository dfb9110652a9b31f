"""What is in images, from a registry on loopback."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from kfspawner.errors import RegistryError
from kfspawner.packaging.manifest import OCI_MANIFEST
from kfspawner.reference import Reference
from kfspawner.servers.image_contents import (
    FRAMEWORKS,
    Contents,
    KnownImages,
    read_contents,
    show_frameworks,
)
from tests.fakes.images import add_image
from tests.fakes.registry import FakeRegistry, Fault

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
LOG = logging.getLogger("hub")
LABELS = {FRAMEWORKS: "tensorflow=2.21.0 torch=2.15.0"}
CONFIG = {"architecture": "amd64", "os": "linux", "config": {"Labels": LABELS}}


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().running() as running:
        yield running


def image(registry: FakeRegistry, version: str) -> str:
    return f"{registry.host}/team/cpu{version}"


async def read(registry: FakeRegistry, version: str) -> dict[str, str]:
    reference = Reference.parse(image(registry, version))
    return dict((await read_contents(reference, plain_http=True)).labels)


@pytest.mark.parametrize("docker", [True, False])
async def test_by_tag_and_by_digest(registry: FakeRegistry, *, docker: bool) -> None:
    digest = add_image(registry, "team/cpu", "1", docker=docker, config=CONFIG)

    assert await read(registry, ":1") == LABELS
    assert await read(registry, f"@{digest}") == LABELS


async def test_of_an_index_the_common_platform_is_read(registry: FakeRegistry) -> None:
    other = add_image(registry, "team/cpu", "arm", config={**CONFIG, "config": {}})
    ours = add_image(registry, "team/cpu", "amd", config=CONFIG)
    listed = [
        {"mediaType": OCI_MANIFEST, "digest": it, "size": 1, "platform": platform}
        for it, platform in (
            (other, {"os": "linux", "architecture": "arm64"}),
            (ours, {"os": "linux", "architecture": "amd64"}),
        )
    ]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
    registry.add_manifest("team/cpu", index, OCI_INDEX, "1")

    assert await read(registry, ":1") == LABELS


async def test_a_token_for_anybody_is_asked_for() -> None:
    with FakeRegistry(tokens=True).running() as registry:
        add_image(registry, "team/cpu", "1", config=CONFIG)

        assert await read(registry, ":1") == LABELS


async def test_a_registry_that_wants_an_account_is_left() -> None:
    with FakeRegistry(account=("alice", "secret"), tokens=True).running() as registry:
        add_image(registry, "team/cpu", "1", config=CONFIG)

        with pytest.raises(RegistryError):
            await read(registry, ":1")


async def test_an_image_that_is_not_there_and_one_that_is_not_itself(
    registry: FakeRegistry,
) -> None:
    with pytest.raises(RegistryError, match="it answers 404"):
        await read(registry, ":1")
    digest = add_image(registry, "team/cpu", "1", config=CONFIG)
    registry.faults.append(Fault("GET", f"manifests/{digest}", status=200, body=b"{}"))
    with pytest.raises(RegistryError, match="what came is not sha256:"):
        await read(registry, f"@{digest}")


async def test_what_is_too_large_is_not_read(registry: FakeRegistry) -> None:
    add_image(registry, "team/cpu", "1", config={**CONFIG, "junk": "x" * (5 * 2**20)})

    with pytest.raises(RegistryError, match="over 4 MiB"):
        await read(registry, ":1")


async def test_nobody_waits_and_a_digest_is_asked_once(registry: FakeRegistry) -> None:
    digest = add_image(registry, "team/cpu", "1", config=CONFIG)
    images = KnownImages(LOG)
    name = image(registry, f"@{digest}")

    assert [images.of(name, plain_http=True).labels for _ in range(100)] == [{}] * 100
    await images.settle()
    assert images.of(name, plain_http=True).labels == LABELS
    await images.settle()
    assert len(registry.calls("GET")) == 2


async def test_a_tag_is_looked_up_again(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfspawner.servers.image_contents._TAG_SECONDS", -1.0)
    add_image(registry, "team/cpu", "1", config=CONFIG)
    images = KnownImages(LOG)
    images.of(image(registry, ":1"), plain_http=True)
    await images.settle()
    newer = {**CONFIG, "config": {"Labels": {FRAMEWORKS: "torch=3"}}}
    add_image(registry, "team/cpu", "1", config=newer)

    # What was known is told meanwhile.
    assert images.of(image(registry, ":1"), plain_http=True).labels == LABELS
    await images.settle()
    assert images.of(image(registry, ":1"), plain_http=True).labels == {FRAMEWORKS: "torch=3"}
    await images.settle()


@pytest.mark.parametrize("name", ["127.0.0.1:9/team/cpu:1", "no image at all", "x@sha256:1"])
async def test_a_failure_is_told_in_the_log_and_not_tried_at_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    images = KnownImages(LOG)

    for _ in range(3):
        assert images.of(name, plain_http=True).labels == {}
        await images.settle()

    assert len([it for it in caplog.messages if "Reading what is in" in it]) == 1


@pytest.mark.parametrize(
    "document", [[1, 2], {}, {"manifests": []}, {"manifests": 1}, {"config": 1}]
)
async def test_a_document_that_is_none_is_no_end(registry: FakeRegistry, document: object) -> None:
    content = json.dumps(document).encode()
    registry.manifests["team/cpu", "x"] = (OCI_MANIFEST, content)
    registry.tags["team/cpu", "1"] = "x"
    images = KnownImages(LOG)

    images.of(image(registry, ":1"), plain_http=True)
    await images.settle()

    assert images.of(image(registry, ":1"), plain_http=True).labels == {}


async def test_the_size_is_that_of_the_layers(registry: FakeRegistry) -> None:
    add_image(registry, "team/cpu", "1", config=CONFIG)
    content = json.loads(registry.manifests["team/cpu", registry.tags["team/cpu", "1"]][1])

    contents = await read_contents(Reference.parse(image(registry, ":1")), plain_http=True)

    assert contents.layers == len(content["layers"]) > 0
    assert contents.size == sum(it["size"] for it in content["layers"]) > 0


@pytest.mark.parametrize(
    ("size", "layers", "said"),
    [
        (0, 0, ""),
        (5, 1, "1 MiB in 1 layer"),
        (300 * 2**20, 2, "300 MiB in 2 layers"),
        (1288490188, 9, "1.2 GiB in 9 layers"),
    ],
)
def test_a_size_in_words(size: int, layers: int, said: str) -> None:
    assert Contents({}, size, layers).describe_size() == said


def test_frameworks_in_words() -> None:
    assert show_frameworks(LABELS) == ["TensorFlow 2.21.0", "PyTorch 2.15.0"]
    assert show_frameworks({FRAMEWORKS: "jax=1.2 <b>=1 nonsense"}) == ["jax 1.2"]
    assert show_frameworks({}) == []
