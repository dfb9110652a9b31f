"""What the config declares becomes a Profile, or is refused where it stands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.errors import InputError, ProfileRefused
from kfspawner.labels import (
    DEFAULT_LIMITS_ANNOTATION,
    DELETE_FILES_ANNOTATION,
    DISPLAY_NAME_ANNOTATION,
    GROUPS_ANNOTATION,
    IMAGE_PROFILES_ANNOTATION,
    MEMBERS_ANNOTATION,
)
from kfspawner.names import namespace_name
from kfspawner.profiles.plugins import Plugin
from kfspawner.profiles.profile import (
    Owner,
    Profile,
    Role,
    make_personal,
    make_profile,
    read_declared,
    read_profile,
)

AWS: dict[str, Any] = {
    "kind": "AwsIamForServiceAccount",
    "spec": {"awsIamRole": "arn:aws:iam::1:role/x"},
}


DECLARED: dict[str, Any] = {
    "display_name": "Vision",
    "owner": "alice",
    "members": {"bob": "edit"},
    "groups": {"team": "view"},
    "quota": {"requests.cpu": 8, "requests.memory": "16384Mi", "requests.nvidia.com/gpu": "1"},
    "image_profiles": ["cpu", "gpu"],
    "default_limits": {"cpu": 0.5},
    "plugins": [AWS],
}


def test_a_profile_is_declared() -> None:
    assert read_declared("vision", DECLARED) == Profile(
        name="vision",
        owner=Owner("User", "alice"),
        quota={
            "hard": {
                "requests.cpu": "8",
                "requests.memory": "16Gi",
                "requests.nvidia.com/gpu": "1",
            }
        },
        plugins=(Plugin(AWS["kind"], AWS["spec"]),),
        groups={"team": Role.VIEW},
        members={"bob": Role.EDIT},
        image_profiles=("cpu", "gpu"),
        default_limits={"cpu": "500m"},
        display_name="Vision",
    )


def test_a_group_may_own_a_declared_profile() -> None:
    declared = read_declared("vision", {"owner": {"kind": "Group", "name": "leads"}})

    assert declared.owner == Owner("Group", "leads")
    assert declared == Profile("vision", Owner("Group", "leads"))


def test_what_is_declared_is_what_the_object_says() -> None:
    declared = read_declared("vision", DECLARED)
    obj = make_profile(declared)

    assert read_profile(obj) == declared
    assert "status" not in obj
    assert set(obj["metadata"]["annotations"]) == {
        GROUPS_ANNOTATION,
        MEMBERS_ANNOTATION,
        IMAGE_PROFILES_ANNOTATION,
        DEFAULT_LIMITS_ANNOTATION,
        DISPLAY_NAME_ANNOTATION,
    }
    assert DELETE_FILES_ANNOTATION not in obj["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("changed", "begins", "told"),
    [
        ({"owner": None}, "['owner']", "None is no owner"),
        ({"owner": ""}, "['owner']", "'' is nobody's name"),
        ({"owner": "system:admin"}, "['owner']", "Kubernetes' own"),
        ({"owner": {"kind": "Robot", "name": "r2"}}, "['owner']", "kind 'Robot' owns nothing"),
        ({"owner": {"kind": "Group"}}, "['owner']", "None is nobody's name"),
        ({"members": ["bob"]}, "['members']", "it is list"),
        ({"members": {"bob": "root"}}, "['members']", "'root' of 'bob' is no role"),
        ({"members": {7: "edit"}}, "['members']", "7 is nobody's name"),
        ({"groups": {"team": None}}, "['groups']", "None of 'team' is no role"),
        ({"groups": {"system:nodes": "view"}}, "['groups']", "Kubernetes' own"),
        ({"quota": {"requests.cpu": "many"}}, "['quota'], requests.cpu", "'many' is not"),
        ({"quota": {"pods": -1}}, "['quota'], pods", "-1 is below 0"),
        ({"quota": {"pods": False}}, "['quota'], pods", "False is not"),
        ({"quota": {5: "5"}}, "['quota']", "it is int"),
        ({"quota": "8"}, "['quota']", "it is str"),
        ({"image_profiles": "cpu"}, "['image_profiles']", "it is str"),
        ({"image_profiles": ["cpu,gpu"]}, "['image_profiles']", "'cpu,gpu' is no key"),
        ({"image_profiles": [None]}, "['image_profiles']", "None is no key"),
        ({"default_limits": {"cpu": "x"}}, "['default_limits'], cpu", "'x' is not"),
        ({"plugins": AWS}, "['plugins']", "it is dict"),
        ({"plugins": ["Aws"]}, "['plugins']", "a plugin has no kind"),
        ({"plugins": [{"kind": "X", "spec": 4}]}, "['plugins']", "the spec of X is int"),
        ({"display_name": 4}, "['display_name']", "it is int"),
        ({"display_name": "\ud83d"}, "['display_name']", "is no Unicode text"),
        ({"members": dict.fromkeys(map(str, range(1001)), "view")}, "", "1002 members and groups"),
    ],
)
def test_a_declaration_is_refused(changed: dict[str, Any], begins: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_declared("vision", {**DECLARED, **changed})

    assert str(caught.value).startswith(f"c.KfSpawner.profiles['vision']{begins}: ")
    assert told in str(caught.value)


def test_a_declaration_says_what_it_can_hold() -> None:
    with pytest.raises(InputError) as caught:
        read_declared("vision", {"owner": "alice", "quotas": {}, "member": {}})

    assert str(caught.value) == (
        "c.KfSpawner.profiles['vision']: 'member, quotas' is not a field of it; the fields are "
        "display_name, owner, members, groups, quota, image_profiles, default_limits, plugins"
    )
    with pytest.raises(InputError, match=r"^c\.KfSpawner\.profiles\['vision'\]: it is list"):
        read_declared("vision", [])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^c\.KfSpawner\.profiles\['vision'\]\['owner'\]: it is"):
        read_declared("vision", {})


@pytest.mark.parametrize("name", ["Vision", "", "a_b", "-a", "a.b", "x" * 64, "default", "kube-x"])
def test_a_declaration_is_called_what_a_namespace_can_be(name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_declared(name, {"owner": "alice"})

    assert str(caught.value).startswith(f"c.KfSpawner.profiles[{name!r}]: ")


TEMPLATE = {"quota": {"pods": 10}, "image_profiles": ["cpu"], "default_limits": {"cpu": "1"}}


def test_everyone_has_a_profile_of_their_own() -> None:
    assert make_personal("Ada Lovelace", TEMPLATE) == Profile(
        name=namespace_name("Ada Lovelace"),
        owner=Owner("User", "Ada Lovelace"),
        quota={"hard": {"pods": "10"}},
        image_profiles=("cpu",),
        default_limits={"cpu": "1"},
        display_name="Ada Lovelace",
    )


@given(st.text(min_size=1, max_size=255))
def test_whoever_signs_in_has_one(user: str) -> None:
    try:
        profile = make_personal(user, TEMPLATE)
    except ProfileRefused:
        assert user.startswith("system:")
        return
    assert read_profile(make_profile(profile)) == profile


@pytest.mark.parametrize("user", ["x" * 255, "😀", "../", "{username}", "default", "$(HOME)"])
def test_odd_names_have_one_too(user: str) -> None:
    assert make_personal(user, {}).owner == Owner("User", user)


@pytest.mark.parametrize("user", ["", "system:admin", "system:serviceaccount:a:b", "\udcff"])
def test_nobody_of_such_a_name_has_one(user: str) -> None:
    with pytest.raises(ProfileRefused) as caught:
        make_personal(user, {})

    assert caught.value.reason == "OwnerRefused"
    assert str(caught.value).startswith(f"making a Profile for {user!r}: ")


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ({"owner": "alice"}, "'owner' is not a field of it; the fields are quota, image_profiles"),
        ({"quota": {"pods": "x"}}, "['quota'], pods: 'x' is not"),
        ([], "it is list"),
    ],
)
def test_a_template_is_refused(template: Any, told: str) -> None:
    with pytest.raises(InputError) as caught:
        make_personal("alice", template)

    assert str(caught.value).startswith("c.KfSpawner.personal_profile")
    assert told in str(caught.value)
