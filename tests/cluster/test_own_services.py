"""A service for each server, with the rights of a component that is added for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.people import Hub
from tests.cluster.settings import configured

COMPONENT = Path(__file__).parents[2] / "deploy/components/internal-ssl/kustomization.yaml"
CONFIG = "c.KfSpawner.services_enabled = True\n"


@pytest.fixture
def rights(cluster: Cluster) -> Iterator[None]:
    """What the component adds to the hub's role in the namespaces of Profiles."""
    (patch,) = yaml.safe_load(COMPONENT.read_text())["patches"]
    name = patch["target"]["name"]
    before: list[dict[str, Any]] = cluster.plain(cluster.rbac.read_cluster_role(name))["rules"]
    added = [it["value"] for it in yaml.safe_load(patch["patch"])]
    cluster.rbac.patch_cluster_role(name, {"rules": [*before, *added]})
    try:
        yield
    finally:
        cluster.rbac.patch_cluster_role(name, {"rules": before})


def test_a_server_is_reached_by_its_service_which_ends_with_it(
    rights: None, people: People, cluster: Cluster, hub: Hub
) -> None:
    person = people.new()
    namespace = namespace_name(person.name)
    with configured(cluster, hub, CONFIG):
        # Twice: the second one is made once Kubernetes has deleted the first.
        for _ in range(2):
            person.spawn({"image_profile": "cpu"})
            pod = cluster.server_pod(namespace)["metadata"]
            (service,) = cluster.core.list_namespaced_service(namespace).items
            assert service.metadata.name == pod["name"]
            assert [it.uid for it in service.metadata.owner_references] == [pod["uid"]]
            assert "JupyterLab" in person.enter()
            person.stop()
        until(lambda: not cluster.core.list_namespaced_service(namespace).items, "none is left")
