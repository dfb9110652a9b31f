"""`kfspawner profiles add-member` and `remove-member`, with a cluster in memory."""

from __future__ import annotations

from typing import Any

import pytest

from kfspawner.errors import ClusterDenied, ObjectExists
from kfspawner.labels import MEMBERS_ANNOTATION
from kfspawner.profiles.api import Object
from kfspawner.profiles.members import make_member_binding
from kfspawner.profiles.profile import Role
from tests.fakes.api import FakeApi
from tests.fakes.cli import BINDING, declared, kf, members, profile, stand, unready


def test_adding_is_an_editor_unless_said_otherwise() -> None:
    api = FakeApi()
    stand(api, profile())

    result = kf(api, "profiles", "add-member", "vision", "bob")

    assert result.stdout == "bob has role edit in vision.\n"
    assert members(api) == {"bob": Role.EDIT}


def test_adding_twice_is_once() -> None:
    api = FakeApi()
    stand(api, profile(), make_member_binding("vision", "bob", Role.EDIT))

    result = kf(api, "profiles", "add-member", "vision", "bob")

    assert result.stdout == "bob has role edit in vision already.\n"
    assert api.writes() == []


def test_adding_a_binding_that_kubeflow_made_counts() -> None:
    api = FakeApi()
    binding = make_member_binding("vision", "bob", Role.EDIT)
    binding["metadata"]["name"] = "user-bob-example-org-clusterrole-edit"
    stand(api, profile(), binding)

    kf(api, "profiles", "add-member", "vision", "bob", "--role", "admin")

    assert members(api) == {"bob": Role.ADMIN}
    assert (BINDING, "vision", binding["metadata"]["name"]) not in api.objects


def test_adding_less_is_less() -> None:
    api = FakeApi()
    stand(
        api,
        profile(),
        make_member_binding("vision", "bob", Role.ADMIN),
        make_member_binding("vision", "carol", Role.ADMIN),
    )

    kf(api, "profiles", "add-member", "vision", "bob", "--role", "view")

    assert members(api) == {"bob": Role.VIEW, "carol": Role.ADMIN}


def test_adding_what_the_config_gives_stays() -> None:
    api = FakeApi()
    stand(
        api,
        profile(members='{"bob": "edit"}'),
        make_member_binding("vision", "bob", Role.EDIT),
    )

    result = kf(api, "profiles", "add-member", "vision", "bob", "--role", "view")

    assert "c.KfSpawner.profiles gives them edit, which is more" in result.stdout
    assert members(api) == {"bob": Role.EDIT}


def test_adding_needs_no_right_to_read_profiles() -> None:
    api = FakeApi()
    stand(api, profile())
    api.refusals["get Profile"] = [ClusterDenied("looking up vision", "forbidden", "ask")]

    assert kf(api, "profiles", "add-member", "vision", "bob").exit_code == 0
    assert members(api) == {"bob": Role.EDIT}


def test_adding_writes_nothing_in_a_namespace_that_is_not_ours() -> None:
    api = FakeApi()
    stand(api, unready("NamespaceTaken", "the namespace is not ours"))

    result = kf(api, "profiles", "add-member", "vision", "bob")

    assert result.exit_code == 1
    assert "vision is not ready: the namespace is not ours" in result.stderr
    assert api.writes() == []


@pytest.mark.parametrize(
    ("name", "user", "said"),
    [
        ("vision", "alice", "the profile is theirs"),
        ("vision", "system:admin", "Kubernetes' own"),
        ("vision", "", "is nobody's name"),
        ("gone", "bob", "there is no profile gone"),
    ],
)
def test_adding_refuses(name: str, user: str, said: str) -> None:
    api = FakeApi()
    stand(api, profile())

    result = kf(api, "profiles", "add-member", name, user)

    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert api.writes() == []


def test_adding_an_unknown_role() -> None:
    api = FakeApi()
    result = kf(api, "profiles", "add-member", "vision", "bob", "--role", "root")

    assert result.exit_code == 2
    assert "'root' is not one of 'view', 'edit', 'admin'" in result.stderr


def test_adding_a_binding_of_that_name_that_binds_another() -> None:
    api = FakeApi()
    binding = make_member_binding("vision", "bob", Role.EDIT)
    binding["subjects"][0]["name"] = "mallory"
    stand(api, profile(), binding)

    result = kf(api, "profiles", "add-member", "vision", "bob")

    assert result.exit_code == 1
    assert "makes nobody a member" in result.stderr
    assert members(api) == {}


@pytest.mark.parametrize("refused", ["create", "list RoleBinding", "delete"])
def test_changing_members_without_the_right_to(refused: str) -> None:
    api = FakeApi()
    stand(api, profile(), make_member_binding("vision", "bob", Role.VIEW))
    api.refusals[refused] = [ClusterDenied("doing it", "may not do it", "ask")]

    result = kf(api, "profiles", "add-member", "vision", "bob")

    assert result.exit_code == 1
    assert "adding bob to vision: may not do it; use the kubeconfig of an admin" in result.stderr


def test_adding_a_name_that_jupyterhub_does_not_keep() -> None:
    api = FakeApi()
    stand(api, profile())

    assert "lower case" in kf(api, "profiles", "add-member", "vision", "Bob").stdout


def test_removing_without_the_right_to() -> None:
    api = FakeApi()
    stand(api, profile(), make_member_binding("vision", "bob", Role.VIEW))
    api.refusals["delete"] = [ClusterDenied("doing it", "may not do it", "ask")]

    result = kf(api, "profiles", "remove-member", "vision", "bob")

    assert result.exit_code == 1
    assert "removing bob from vision: may not do it; use the kubeconfig" in result.stderr


def test_removing_takes_every_role() -> None:
    api = FakeApi()
    stand(
        api,
        profile(),
        make_member_binding("vision", "bob", Role.EDIT),
        make_member_binding("vision", "bob", Role.VIEW),
        make_member_binding("vision", "carol", Role.EDIT),
    )

    result = kf(api, "profiles", "remove-member", "vision", "bob")

    assert result.stdout == "bob is no longer a member of vision by name.\n"
    assert members(api) == {"carol": Role.EDIT}


def test_removing_what_the_config_gives_will_come_back() -> None:
    api = FakeApi()
    stand(
        api,
        profile(members='{"bob": "edit", "carol": "view"}'),
        make_member_binding("vision", "bob", Role.EDIT),
    )

    result = kf(api, "profiles", "remove-member", "vision", "bob")

    assert "will give it back when the hub starts" in result.stdout
    assert members(api) == {}
    assert declared(api) == {"carol": "view"}
    # The other way round, the controller could make the binding once more.
    assert [method for method, _ in api.writes()] == ["patch", "delete"]


def test_removing_the_last_of_the_config() -> None:
    api = FakeApi()
    stand(api, profile(members='{"bob": "edit"}'))

    kf(api, "profiles", "remove-member", "vision", "bob")

    assert MEMBERS_ANNOTATION not in api.objects["Profile", "", "vision"]["metadata"].get(
        "annotations", {}
    )


def test_removing_what_others_write_meanwhile_stays() -> None:
    api = FakeApi()
    stand(api, profile(members='{"bob": "edit", "carol": "view"}'))
    api.refusals["patch"] = [ObjectExists("changing vision", "was modified", "again")]

    assert kf(api, "profiles", "remove-member", "vision", "bob").exit_code == 0
    assert declared(api) == {"carol": "view"}
    assert len(api.called("patch")) == 2


def test_removing_a_binding_that_the_controller_was_quicker_to_delete() -> None:
    binding = make_member_binding("vision", "bob", Role.EDIT)

    class Quick(FakeApi):
        async def patch(self, *args: Any, **kwargs: Any) -> Object:
            patched = await super().patch(*args, **kwargs)
            self.remove(BINDING, binding["metadata"]["name"], "vision")
            return patched

    api = Quick()
    stand(api, profile(members='{"bob": "edit"}'), binding)

    assert kf(api, "profiles", "remove-member", "vision", "bob").exit_code == 0
    assert api.called("delete") == [(BINDING, "vision", binding["metadata"]["name"])]
    assert members(api) == {}


def test_removing_needs_no_right_to_read_profiles() -> None:
    api = FakeApi()
    stand(api, profile(), make_member_binding("vision", "bob", Role.EDIT))
    api.refusals["get Profile"] = [ClusterDenied("looking up vision", "forbidden", "ask")]

    result = kf(api, "profiles", "remove-member", "vision", "bob")

    assert result.exit_code == 0
    assert "it comes back" in result.stdout
    assert members(api) == {}


def test_removing_from_a_profile_that_cannot_be_read() -> None:
    api = FakeApi()
    broken = {**profile(), "spec": {"owner": {"kind": "Robot"}}}
    stand(api, broken, make_member_binding("vision", "bob", Role.EDIT))

    assert kf(api, "profiles", "remove-member", "vision", "bob").exit_code == 0
    assert members(api) == {}


def test_removing_touches_no_namespace_that_is_not_ours() -> None:
    api = FakeApi()
    taken = unready("NamespaceTaken", "it is not ours")
    stand(api, taken, make_member_binding("vision", "bob", Role.EDIT))

    kf(api, "profiles", "remove-member", "vision", "bob")

    assert api.called("delete") == []


@pytest.mark.parametrize(
    ("name", "user", "said"),
    [
        ("vision", "alice", "the profile is theirs"),
        ("vision", "dave", "whoever is in team is one by that group"),
        ("gone", "bob", "there is no profile gone"),
    ],
)
def test_removing_refuses(name: str, user: str, said: str) -> None:
    api = FakeApi()
    stand(api, profile(groups='{"team": "edit"}'))

    result = kf(api, "profiles", "remove-member", name, user)

    assert result.exit_code == 1
    assert said in result.stderr
    assert api.writes() == []
