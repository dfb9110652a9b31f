"""Names made from what people type: valid where they are used, and never shared."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.errors import NameRefused
from kfspawner.names import (
    LABEL_LIMIT,
    RUN_LIMIT,
    check_run_name,
    home_claim_name,
    member_binding_name,
    namespace_name,
    run_name,
    server_pod_name,
    slug,
)

# RFC 1123, as Kubernetes checks it.
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# What people are called: anything, and often things that look like labels.
PEOPLE = st.one_of(
    st.text(max_size=300),
    st.from_regex(r"[a-zA-Z0-9@._-]{0,70}", fullmatch=True),
    st.from_regex(r"[a-z0-9-]{1,70}", fullmatch=True),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alice", "alice"),
        ("a", "a"),
        ("team-3", "team-3"),
        ("x" * 63, "x" * 63),
    ],
)
def test_a_plain_label_stays_as_it_is(text: str, expected: str) -> None:
    assert slug(text) == expected


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("Alice", "alice---"),
        ("alice@example.org", "alice-example-org---"),
        ("", "x---"),
        ("../../etc/passwd", "etc-passwd---"),
        ("{username}", "username---"),
        ("system:admin", "system-admin---"),
        ("😀", "x---"),
        ("-alice", "alice---"),
        ("alice-", "alice---"),
        ("7up", "x-7up---"),
        ("a--b", "a-b---"),
        ("x" * 64, "xxx"),
        ("x" * 255, "xxx"),
        ("\udcff", "x---"),
    ],
)
def test_anything_else_gets_a_hash(text: str, begins: str) -> None:
    made = slug(text)
    assert made.startswith(begins)
    assert re.search(r"---[0-9a-f]{16}$", made)
    assert LABEL.fullmatch(made)


@given(PEOPLE, PEOPLE)
def test_two_people_never_share_a_name(one: str, other: str) -> None:
    for name in (slug, namespace_name, home_claim_name):
        assert (name(one) == name(other)) == (one == other)


@given(PEOPLE)
def test_nobody_can_be_called_what_a_hash_makes_of_another(person: str) -> None:
    made = slug(person)
    if made != person:
        assert slug(made) != made


@given(PEOPLE)
def test_names_are_valid_whatever_a_person_is_called(person: str) -> None:
    for name in (slug(person), slug(person, 30), namespace_name(person), home_claim_name(person)):
        assert LABEL.fullmatch(name)
        assert len(name) <= LABEL_LIMIT
    assert len(slug(person, 30)) <= 30


# A person, their server and the profile it runs in: a profile's name is its
# namespace's, and everyone's own is called after them.
Place = tuple[str, str, str]
PLACES = st.tuples(PEOPLE, st.one_of(st.just(""), PEOPLE), PEOPLE.map(namespace_name))


def cluster_names(place: Place) -> tuple[str, str, str]:
    """Return namespace, pod and claim of a server."""
    user, server, profile = place
    return profile, server_pod_name(user, server), home_claim_name(user)


@given(PLACES, PLACES)
def test_two_servers_never_share_all_names(one: Place, other: Place) -> None:
    assert (cluster_names(one) == cluster_names(other)) == (one == other)


@given(PEOPLE, PEOPLE, PEOPLE, PEOPLE)
def test_two_servers_in_one_namespace_never_share_a_pod(
    user: str, server: str, other_user: str, other_server: str
) -> None:
    same = (user, server) == (other_user, other_server)
    assert (server_pod_name(user, server) == server_pod_name(other_user, other_server)) == same


@given(PLACES)
def test_names_of_servers_are_valid(place: Place) -> None:
    for name in cluster_names(place):
        assert LABEL.fullmatch(name)
        assert len(name) <= LABEL_LIMIT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a-b", "c"), ("a", "b-c")),
        (("a", "b--c"), ("a--b", "c")),
        (("a", ""), ("", "a")),
        (("a b", ""), ("a", "b")),
        (("a", "b"), ("a b", "")),
        (('a", "b', "c"), ("a", 'b", "c')),
        (("a\\", "b"), ("a", "\\b")),
        (("\ud83d", "x"), ("\\ud83d", "x")),
    ],
)
def test_parts_do_not_run_together(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert server_pod_name(*one) != server_pod_name(*other)


@pytest.mark.parametrize(
    ("user", "server", "expected"),
    [
        ("alice", "", r"server-alice"),
        ("a@b.org", "", r"server-a-b-org---[0-9a-f]{16}"),
        ("alice", "gpu", r"named-alice-gpu---[0-9a-f]{16}"),
        ("x" * 255, "", r"server-x{37}---[0-9a-f]{16}"),
        ("😀", "../", r"named-ud83d-ude00---[0-9a-f]{16}"),
        ("{username}", "{servername}", r"named-username-servername---[0-9a-f]{16}"),
    ],
)
def test_a_pod_tells_whose_it_is(user: str, server: str, expected: str) -> None:
    assert re.fullmatch(expected, server_pod_name(user, server))


ROLE_NAMES = st.sampled_from(["view", "edit", "admin"])


@given(PEOPLE, ROLE_NAMES, PEOPLE, ROLE_NAMES)
def test_two_memberships_never_share_a_binding(
    user: str, role: str, other_user: str, other_role: str
) -> None:
    one, other = member_binding_name(user, role), member_binding_name(other_user, other_role)
    assert (one == other) == ((user, role) == (other_user, other_role))
    for name in (one, other):
        assert LABEL.fullmatch(name)
        assert len(name) <= LABEL_LIMIT
        # It is none of the bindings that the controller has other names for.
        assert name.startswith("user-")


def test_a_plain_member_has_kubeflows_binding() -> None:
    assert member_binding_name("bob", "edit") == "user-bob-clusterrole-edit"
    # Kubeflow's form would be user-b-b-clusterrole-edit for b-b too.
    assert member_binding_name("b@b", "edit") != member_binding_name("b-b", "edit")


def test_if_two_hashes_were_the_same_so_were_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only then: so whoever finds an object asks whose it is, before using it."""
    one, other = "ada@example.org", "ada-example-org"

    class Same:
        def __init__(self, text: bytes) -> None: ...

        def hexdigest(self) -> str:
            return "0" * 64

    monkeypatch.setattr(hashlib, "sha256", Same)

    assert namespace_name("Ada!") == namespace_name("Ada?") == "kf-ada---0000000000000000"
    assert home_claim_name("Ada!") == home_claim_name("Ada?")
    assert server_pod_name("Ada!", "x") == server_pod_name("Ada?", "x")
    assert member_binding_name("Ada!", "edit") == member_binding_name("Ada?", "edit")
    # A plain name has no hash to collide with.
    assert namespace_name(one) != namespace_name(other)


@pytest.mark.parametrize("person", ["kube-system", "default", "kfspawner", "kube-public"])
def test_nobody_owns_a_namespace_of_the_cluster(person: str) -> None:
    assert namespace_name(person) == f"kf-{person}"


@given(PEOPLE)
def test_a_run_has_a_name_that_a_run_can_bear(stem: str) -> None:
    assert check_run_name(run_name(stem))


def test_runs_of_one_stem_differ() -> None:
    assert len({run_name("digits") for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["digits", "a", "digits-2", "d--2", "x" * RUN_LIMIT])
def test_a_run_may_be_called(name: str) -> None:
    assert check_run_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "Digits", "digits_2", "2digits", "-d", "d-", "d.e", "d e", "ü", "x" * (RUN_LIMIT + 1)],
)
def test_a_run_may_not_be_called(name: str) -> None:
    with pytest.raises(NameRefused) as caught:
        check_run_name(name)
    message = str(caught.value)
    assert message.startswith(f"naming a run {name!r}")
    # The way out is one that works.
    offered = message.rpartition("--name ")[2]
    assert check_run_name(offered) == offered
