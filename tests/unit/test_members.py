"""Members: RoleBindings as Kubeflow writes them, and who may do what."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.errors import ProfileRefused
from kfspawner.profiles.members import (
    Member,
    make_member_binding,
    read_member,
    read_members,
    role_of,
)
from kfspawner.profiles.profile import Owner, Profile, Role

# As Kubeflow's access management writes it.
BINDING: dict[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {
        "name": "user-bob-clusterrole-edit",
        "namespace": "vision",
        "annotations": {"user": "bob", "role": "edit"},
    },
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "kubeflow-edit",
    },
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
}


def test_a_member_is_written_as_kubeflow_does() -> None:
    assert make_member_binding("vision", "bob", Role.EDIT) == BINDING


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255),
    st.sampled_from(Role),
)
def test_whoever_is_made_a_member_is_one(user: str, role: Role) -> None:
    try:
        binding = make_member_binding("vision", user, role)
    except ProfileRefused:
        assert user.startswith("system:")
        return
    assert read_member(binding) == Member(user, role)


@pytest.mark.parametrize("user", ["", "system:admin", "system:serviceaccount:a:b", "\ud83d"])
def test_nobody_of_such_a_name_is_made_a_member(user: str) -> None:
    with pytest.raises(ProfileRefused) as caught:
        make_member_binding("vision", user, Role.VIEW)

    assert str(caught.value).startswith(f"making {user!r} a member of vision: ")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "annotations"), None),
        (("metadata", "annotations", "user"), None),
        (("metadata", "annotations", "user"), "carol"),
        (("metadata", "annotations", "role"), None),
        (("metadata", "annotations", "role"), "admin"),
        (("metadata", "annotations", "role"), "owner"),
        (("roleRef", "kind"), "Role"),
        (("roleRef", "name"), "kubeflow-view"),
        (("roleRef", "name"), "cluster-admin"),
        (("roleRef", "name"), "edit"),
        (("roleRef",), None),
        (("subjects",), None),
        (("subjects",), []),
        (("subjects",), [*BINDING["subjects"], *BINDING["subjects"]]),
        (("subjects", 0, "kind"), "Group"),
        (("subjects", 0, "kind"), "ServiceAccount"),
        (("subjects", 0, "name"), "carol"),
        # The owner's: who that is, the Profile itself says.
        (("metadata", "name"), "namespaceAdmin"),
    ],
)
def test_a_binding_that_contradicts_itself_makes_no_member(
    path: tuple[str | int, ...], value: object
) -> None:
    assert read_member(BINDING) == Member("bob", Role.EDIT)
    binding = copy.deepcopy(BINDING)
    parent: Any = binding
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value

    assert read_member(binding) is None


def test_kubernetes_own_names_are_no_members() -> None:
    name = "system:serviceaccount:other:default"
    binding = copy.deepcopy(BINDING)
    binding["metadata"]["annotations"]["user"] = name
    binding["subjects"][0]["name"] = name

    assert read_member(binding) is None


def test_of_two_roles_the_higher_one_counts() -> None:
    bindings = [
        make_member_binding("vision", user, role)
        for user, role in [
            ("bob", Role.VIEW),
            ("bob", Role.ADMIN),
            ("bob", Role.EDIT),
            ("carol", Role.VIEW),
        ]
    ]

    expected = {"bob": Role.ADMIN, "carol": Role.VIEW}
    assert read_members([*bindings, {"metadata": {"name": "other"}}]) == expected
    assert read_members(reversed(bindings)) == expected


ALICES = Profile(
    "vision",
    Owner("User", "alice"),
    groups={"team": Role.EDIT, "guests": Role.VIEW, "alice": Role.ADMIN},
    members={"dora": Role.ADMIN},
)
LEADS = Profile("vision", Owner("Group", "leads"))
BOUND = {"bob": Role.VIEW, "dora": Role.VIEW, "team": Role.ADMIN}


@pytest.mark.parametrize(
    ("user", "groups", "profile", "expected"),
    [
        ("alice", [], ALICES, Role.ADMIN),
        ("Alice", [], ALICES, None),
        ("bob", [], ALICES, Role.VIEW),
        ("bob", ["guests"], ALICES, Role.VIEW),
        ("bob", ["guests", "team"], ALICES, Role.EDIT),
        ("carol", ["team"], ALICES, Role.EDIT),
        ("carol", {"guests"}, ALICES, Role.VIEW),
        ("carol", ["strangers"], ALICES, None),
        # Declared counts before the controller has written a binding.
        ("dora", [], ALICES, Role.ADMIN),
        # A person's name is no group's, nor the other way round.
        ("eve", ["bob", "dora"], ALICES, None),
        ("team", [], ALICES, Role.ADMIN),
        ("guests", [], ALICES, None),
        ("eve", ["leads"], LEADS, Role.ADMIN),
        ("leads", [], LEADS, None),
        ("alice", [], LEADS, None),
    ],
)
def test_who_may_do_what(
    user: str, groups: list[str], profile: Profile, expected: Role | None
) -> None:
    assert role_of(user, groups, profile, BOUND) is expected


def test_the_owner_of_one_profile_is_nobody_in_another() -> None:
    other = Profile("other", Owner("User", "bob"))

    assert role_of("alice", ["leads", "team"], other, {}) is None
