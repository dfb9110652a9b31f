"""Profiles: read from objects and from the config, refused, and written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.errors import ProfileRefused
from kfspawner.labels import (
    DEFAULT_LIMITS_ANNOTATION,
    GROUPS_ANNOTATION,
    MEMBERS_ANNOTATION,
)
from kfspawner.profiles.plugins import Plugin, account_annotations, unknown_plugins
from kfspawner.profiles.profile import (
    MEMBER_LIMIT,
    Owner,
    Profile,
    Role,
    is_ready,
    make_profile,
    read_profile,
    why_not_ready,
)

AWS: dict[str, Any] = {
    "kind": "AwsIamForServiceAccount",
    "spec": {"awsIamRole": "arn:aws:iam::1:role/x"},
}


def make_object(
    spec: dict[str, Any] | None = None, name: str = "vision", **annotations: str
) -> dict[str, Any]:
    """Return a Profile as the API gives it; annotations by the last word of their key."""
    given = {f"kfspawner.io/{key.replace('_', '-')}": text for key, text in annotations.items()}
    owner = {"owner": {"kind": "User", "name": "alice"}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {"name": name, "uid": "1-2-3", "annotations": given},
        "spec": {**owner, **(spec or {})},
    }


def test_a_profile_of_kubeflows_is_read() -> None:
    profile = read_profile(
        {
            "apiVersion": "kubeflow.org/v1beta1",
            "kind": "Profile",
            "metadata": {"name": "vision"},
            "spec": {
                "owner": {"kind": "User", "name": "alice@example.org"},
                "plugins": [AWS],
                "resourceQuotaSpec": {
                    "hard": {"cpu": 2, "memory": "2048Mi", "requests.nvidia.com/gpu": "1"},
                    "scopes": ["NotTerminating"],
                },
            },
        }
    )

    assert profile == Profile(
        name="vision",
        owner=Owner("User", "alice@example.org"),
        quota={
            "hard": {"cpu": "2", "memory": "2Gi", "requests.nvidia.com/gpu": "1"},
            "scopes": ["NotTerminating"],
        },
        plugins=(Plugin(AWS["kind"], AWS["spec"]),),
    )
    assert profile.title == "vision"
    assert profile.offers("anything")


def test_what_kubeflow_has_no_field_for_stands_in_annotations() -> None:
    profile = read_profile(
        make_object(
            groups='{"team": "edit", "guests": "view"}',
            members='{"bob": "admin"}',
            image_profiles=" cpu , gpu,",
            default_limits='{"cpu": 0.5, "memory": "1024Mi"}',
            display_name="Vision 👁",
            delete_files="vision",
        )
    )

    assert profile.groups == {"team": Role.EDIT, "guests": Role.VIEW}
    assert profile.members == {"bob": Role.ADMIN}
    assert profile.image_profiles == ("cpu", "gpu")
    assert profile.default_limits == {"cpu": "500m", "memory": "1Gi"}
    assert profile.title == "Vision 👁"
    assert profile.uid == "1-2-3"
    assert profile.delete_files
    assert not profile.deleting
    assert [profile.offers(key) for key in ("cpu", "gpu", "tpu")] == [True, True, False]


def test_only_its_own_name_lets_the_files_go() -> None:
    assert not read_profile(make_object(delete_files="true")).delete_files


def test_a_profile_that_is_going_says_so() -> None:
    going = make_object()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert read_profile(going).deleting


@pytest.mark.parametrize("empty", [None, {}, {"hard": {}}, {"hard": None}, {"scopes": ["x"]}])
def test_without_hard_there_is_no_quota(empty: object) -> None:
    assert read_profile(make_object({"resourceQuotaSpec": empty})).quota == {}


def test_empty_annotations_say_nothing() -> None:
    empty = make_object(groups="", members="", image_profiles="", default_limits="")

    assert make_profile(read_profile(empty)) == make_profile(read_profile(make_object()))


OWNER = "spec.owner"


NO_QUANTITIES: list[Any] = ["8 cores", "", "-1", True, None, [], "1e99", "8Ei", "NaN"]


@pytest.mark.parametrize(
    ("obj", "reason", "told"),
    [
        (make_object({"owner": None}), "OwnerRefused", [OWNER, "None is no owner"]),
        (make_object({"owner": {}}), "OwnerRefused", [OWNER, "{} is no owner"]),
        *(
            (
                make_object({"owner": {"kind": kind, "name": "alice"}}),
                "OwnerRefused",
                [OWNER, f"kind {kind!r} owns nothing", "User or Group"],
            )
            for kind in ("ServiceAccount", "user", "", "Robot")
        ),
        (make_object({"owner": {"kind": "User"}}), "OwnerRefused", [OWNER, "None is nobody's"]),
        (
            make_object({"owner": {"kind": "User", "name": ""}}),
            "OwnerRefused",
            [OWNER, "'' is nobody's name"],
        ),
        *(
            (
                make_object({"owner": {"kind": kind, "name": name}}),
                "OwnerRefused",
                [OWNER, repr(name), "Kubernetes' own"],
            )
            for kind, name in [
                ("User", "system:admin"),
                ("User", "system:serviceaccount:kfspawner:hub"),
                ("Group", "system:authenticated"),
            ]
        ),
        (make_object(groups="{"), "Malformed", [GROUPS_ANNOTATION, "'{' is not JSON"]),
        (make_object(groups="[" * 100_000), "Malformed", [GROUPS_ANNOTATION, "is not JSON"]),
        (make_object(groups='["team"]'), "Malformed", [GROUPS_ANNOTATION, "it is list"]),
        (
            make_object(groups='{"team": "owner"}'),
            "Malformed",
            [GROUPS_ANNOTATION, "'owner' of 'team' is no role", "view, edit, admin"],
        ),
        (make_object(groups='{"team": ["edit"]}'), "Malformed", ["['edit'] of 'team' is no role"]),
        (
            make_object(groups='{"system:masters": "admin"}'),
            "Malformed",
            [GROUPS_ANNOTATION, "'system:masters'", "Kubernetes' own"],
        ),
        (make_object(members='{"": "edit"}'), "Malformed", [MEMBERS_ANNOTATION, "nobody's name"]),
        (
            make_object(members='{"system:admin": "edit"}'),
            "Malformed",
            [MEMBERS_ANNOTATION, "'system:admin'", "Kubernetes' own"],
        ),
        # Half of an emoji, which no API server takes.
        (make_object(members=r'{"\ud83d": "edit"}'), "Malformed", ["is no Unicode text"]),
        (
            make_object(default_limits='{"cpu": "1 core"}'),
            "Malformed",
            [f"{DEFAULT_LIMITS_ANNOTATION}, cpu: '1 core' is not", "500m"],
        ),
        (make_object(default_limits="4"), "Malformed", [DEFAULT_LIMITS_ANNOTATION, "it is int"]),
        *(
            (
                make_object({"resourceQuotaSpec": {"hard": {"requests.cpu": amount}}}),
                "Malformed",
                [f"spec.resourceQuotaSpec.hard, requests.cpu: {amount!r}"],
            )
            for amount in NO_QUANTITIES
        ),
        (
            make_object({"plugins": [{"spec": {}}]}),
            "Malformed",
            ["spec.plugins", "a plugin has no kind"],
        ),
        (
            make_object({"plugins": [{"kind": AWS["kind"], "spec": {"awsIamRole": ""}}]}),
            "Malformed",
            ["spec.plugins", "AwsIamForServiceAccount has no role", "spec.awsIamRole"],
        ),
        (make_object(name="vision.team"), "Malformed", ["'vision.team' cannot be the name"]),
        (make_object(name="x" * 64), "Malformed", ["cannot be the name of a namespace", "63"]),
        (make_object(name="../etc"), "Malformed", ["cannot be the name of a namespace"]),
        (make_object(name="default"), "NamespaceTaken", ["namespace default is the cluster's own"]),
        (make_object(name="kube-system"), "NamespaceTaken", ["kube-system is the cluster's own"]),
    ],
)
def test_an_object_is_refused(obj: dict[str, Any], reason: str, told: list[str]) -> None:
    with pytest.raises(ProfileRefused) as caught:
        read_profile(obj)

    assert caught.value.reason == reason
    message = str(caught.value)
    assert message.startswith(f"reading Profile {obj['metadata']['name']}")
    assert all(part in message for part in told), message
    # It stands in a condition and a log: whatever came, it is no novel.
    assert len(message) < 400


@pytest.mark.parametrize(
    ("groups", "members", "refused"),
    [
        (0, MEMBER_LIMIT, False),
        (MEMBER_LIMIT, 0, False),
        (1, MEMBER_LIMIT, True),
        (0, 10_000, True),
        (10_000, 0, True),
    ],
)
def test_a_profile_holds_so_many_members(groups: int, members: int, refused: bool) -> None:  # noqa: FBT001
    obj = make_object(
        groups=json.dumps({f"g{number}": "view" for number in range(groups)}),
        members=json.dumps({f"u{number}": "view" for number in range(members)}),
    )
    if not refused:
        assert len(read_profile(obj).members) == members
        return
    with pytest.raises(ProfileRefused, match=f"{groups + members} members and groups") as caught:
        read_profile(obj)
    assert caught.value.reason == "TooManyMembers"
    assert caught.value.way_out == "make the people a group, and the group a member"


def test_roles_have_an_order() -> None:
    assert [role.rank for role in (Role.VIEW, Role.EDIT, Role.ADMIN)] == [0, 1, 2]
    assert [role for role in Role if role.may_spawn] == [Role.EDIT, Role.ADMIN]


@pytest.mark.parametrize(
    ("status", "ready", "why"),
    [
        (None, False, "the controller has not looked at it yet"),
        ({}, False, "the controller has not looked at it yet"),
        ({"conditions": []}, False, "the controller has not looked at it yet"),
        # What Kubeflow's own controller leaves.
        ({"conditions": [{"type": "Failed", "message": "no"}]}, False, "the controller has not"),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, True, ""),
        (
            {"conditions": [{"type": "Ready", "status": "False", "message": "it is taken"}]},
            False,
            "it is taken",
        ),
        ({"conditions": [{"type": "Ready", "status": "False", "reason": "X"}]}, False, "X"),
        (
            {"conditions": [{"type": "Plugins", "status": "False"}, {"type": "Ready"}]},
            False,
            "the controller has not",
        ),
    ],
)
def test_the_controller_says_whether_it_is_ready(
    status: dict[str, Any] | None,
    ready: bool,  # noqa: FBT001
    why: str,
) -> None:
    obj = {**make_object(), "status": status}

    assert is_ready(obj) is ready
    assert why_not_ready(obj).startswith(why)
    assert bool(why_not_ready(obj)) is not ready


def test_plugins_are_known_or_not() -> None:
    plugins = [{"kind": "WorkloadIdentity"}, AWS, {"kind": "X", "spec": {"a": 1}}, {"kind": "X"}]
    profile = read_profile(make_object({"plugins": plugins}))

    assert unknown_plugins(profile) == ("WorkloadIdentity", "X")
    assert account_annotations(profile) == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}
    assert account_annotations(read_profile(make_object())) == {}


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: not name.startswith("system:")
)


ROLES = st.dictionaries(NAMES, st.sampled_from(Role), max_size=5)


@given(
    st.builds(
        Profile,
        name=st.from_regex(r"x[a-z0-9-]{0,60}[a-z0-9]", fullmatch=True),
        owner=st.builds(Owner, st.sampled_from(["User", "Group"]), NAMES),
        groups=ROLES,
        members=ROLES,
        image_profiles=st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True)).map(tuple),
        default_limits=st.dictionaries(NAMES, st.sampled_from(["1", "500m", "2Gi"]), max_size=3),
        display_name=st.one_of(st.just(""), NAMES),
        delete_files=st.booleans(),
    )
)
def test_what_is_written_is_read_back(profile: Profile) -> None:
    obj = json.loads(json.dumps(make_profile(profile)))

    assert read_profile(obj) == profile
    assert all(isinstance(text, str) for text in obj["metadata"]["annotations"].values())
