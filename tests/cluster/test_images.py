"""Each image proves, in a pod of this cluster, what it says of itself."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, until

VERIFY = ["tini", "--", "python", "/opt/kfspawner/verify.py"]


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for pods that verify."""
    name = f"test-images-{secrets.token_hex(2)}"
    cluster.make_namespace(name)
    try:
        yield name
    finally:
        cluster.delete_namespace(name)


@pytest.mark.parametrize("image", ["hub", "cpu", "gpu"])
def test_an_image_is_what_it_says(image: str, namespace: str, cluster: Cluster) -> None:
    reference = cluster.images()[image]
    assert "@sha256:" in reference
    cluster.run_pod(namespace, image, reference, VERIFY)

    def ended() -> str:
        (pod,) = cluster.pods(namespace, f"app={image}")
        phase = str(pod["status"]["phase"])
        return phase if phase in ("Succeeded", "Failed") else ""

    phase = until(ended, f"the pod of image {image} ends", 180)
    log = cluster.log(namespace, image)
    assert phase == "Succeeded", log
    assert f"{image}: " in log
