"""What the spawner writes is what the notebook reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.context import ServerContext
from kfspawner.errors import ContextMissing

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(
    st.builds(
        ServerContext,
        user=TEXT,
        namespace=TEXT,
        image=TEXT,
        repository=TEXT,
        home_claim=TEXT,
        home=TEXT,
        registry_plain_http=st.booleans(),
        ca_config_map=TEXT,
        home_sub_path=TEXT,
        uid=st.integers(0, 2**31),
        gid=st.integers(0, 2**31),
    )
)
def test_the_environment_carries_the_context(context: ServerContext) -> None:
    assert ServerContext.from_env(context.to_env()) == context


def test_what_has_a_default_may_be_missing() -> None:
    context = ServerContext("alice", "kf-alice", "image", "repository", "home-alice")
    environment = context.to_env()
    for name in ("HOME", "REGISTRY_PLAIN_HTTP", "CA_CONFIG_MAP"):
        del environment[f"KFSPAWNER_{name}"]
    assert ServerContext.from_env(environment) == context


def test_outside_a_server_each_missing_name_is_told() -> None:
    with pytest.raises(ContextMissing) as caught:
        ServerContext.from_env({"KFSPAWNER_USER": "alice", "KFSPAWNER_IMAGE": "image"})
    message = str(caught.value)
    assert "KFSPAWNER_NAMESPACE, KFSPAWNER_REPOSITORY, KFSPAWNER_HOME_CLAIM" in message
    assert "KFSPAWNER_USER" not in message
