"""People with names that nobody should have: a profile of their own, or a clear refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.person import Person, Refused
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.people import Hub


@contextmanager
def signed_in(hub: Hub, name: str) -> Iterator[Person]:
    """A person of that name; all they had is removed in the end."""
    try:
        with Person(hub.url, name) as person:
            person.sign_in(hub.password)
            yield person
    finally:
        hub.forget(name)


@pytest.mark.parametrize(
    "name", ["n" * 255, "🦊", "{username}", "kube-system", "a'; drop table users --"]
)
def test_an_odd_name_has_a_profile_of_its_own(name: str, hub: Hub, cluster: Cluster) -> None:
    namespace = namespace_name(name)
    assert namespace.startswith("kf-")
    with signed_in(hub, name) as person:
        person.start({"image_profile": "cpu"})
        until(lambda: cluster.pods(namespace, "component=singleuser-server"), "there is a pod")
        profile = cluster.ready_profile(namespace)
        assert profile["spec"]["owner"] == {"kind": "User", "name": name}
        assert cluster.core.read_namespace(namespace).metadata.annotations["owner"] == name


@pytest.mark.parametrize("name", ["system:admin", "system:serviceaccount:kfspawner:hub"])
def test_a_name_of_kubernetes_own_is_refused(name: str, hub: Hub, cluster: Cluster) -> None:
    before = {it.metadata.name for it in cluster.core.list_namespace().items}
    with signed_in(hub, name) as person:
        with pytest.raises(Refused) as refused:
            person.start({"image_profile": "cpu"})
        assert refused.value.status == 400
        assert name in refused.value.message
        assert "system:" in refused.value.message
        assert "Traceback" not in refused.value.message
        # The pages say it too, and do not break.
        with pytest.raises(Refused, match="system:"):
            person.send_form({"image_profile": "cpu"})
        assert cluster.profile(namespace_name(name)) is None
    assert {it.metadata.name for it in cluster.core.list_namespace().items} <= before


@pytest.mark.parametrize("name", ["../", "../admin", "a/b", "a/../b"])
def test_a_name_that_is_a_path_does_not_sign_in(name: str, hub: Hub) -> None:
    with Person(hub.url, name) as person:
        with pytest.raises(Refused) as refused:
            person.sign_in(hub.password)
        assert refused.value.status == 403
    made = hub.call("POST", "users", json={"usernames": [name]})
    assert made.status_code == 400, made.text
    assert name not in [user["name"] for user in hub.call("GET", "users").json()]
