"""Whoever asks for more than is offered, by whichever way, gets nothing, and costs nothing."""

from __future__ import annotations

from contextlib import closing, suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.person import Person, Refused
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import People
from tests.cluster.process import memory_of

BOMB = "{userid:>1000000000}"
MEGABYTE = "x" * 1_000_000
ELSEWHERE = ("//evil.example", "///evil.example", "/\\evil.example", "https://evil.example/")


@pytest.fixture(scope="module")
def attacker(people: People) -> Person:
    """Somebody who is signed in, and has no server."""
    return people.new()


@pytest.fixture(scope="module")
def victim(people: People) -> Person:
    """Somebody else, who has a profile of their own."""
    person = people.new()
    person.send("GET", "/hub/spawn", "opening the spawn page")
    return person


def check_nothing(refused: Refused, person: Person, cluster: Cluster) -> None:
    """Check that a person was told what was wrong, shortly, and has nothing of it."""
    assert refused.status == 400
    assert len(refused.message) < 700
    assert "Traceback" not in refused.message
    assert not person.running()
    assert not cluster.pods(namespace_name(person.name))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_profile": BOMB}, "image_profile="),
        ({"image_profile": "cpu\n"}, "image_profile="),
        ({"image_profile": "../cpu"}, "image_profile="),
        ({"image_profile": f"cpu@sha256:{'0' * 64}"}, "image_profile="),
        ({"image_profile": ["cpu"]}, "image_profile="),
        ({"image_profile": {"cpu": 1}}, "image_profile="),
        ({"image_profile": MEGABYTE}, "image_profile="),
        ({"cpu": "1"}, "cpu="),
        ({"cpu": True}, "cpu="),
        ({"cpu": BOMB}, "cpu="),
        ({"cpu": 10**400}, "cpu="),
        ({"memory": 10**4000}, "memory="),
        ({"memory": BOMB}, "memory="),
        ({"memory": "1G\n"}, "memory="),
        ({"memory": [1]}, "memory="),
        ({"gpu": 1.0}, "gpu="),
        ({"image": "evil.example/image:1"}, "there is no such option"),
        ({"image--unlisted-choice": f"quay.io/x:{BOMB}"}, "there is no such option"),
        ({"namespace": "kube-system"}, "there is no such option"),
        ({MEGABYTE: 1}, "there is no such option"),
        ({"profile": BOMB}, "profile="),
        ({"profile": "../kfspawner"}, "profile="),
        ({"profile": "kfspawner"}, "profile="),
        ({"profile": MEGABYTE}, "profile="),
        ({"profile": {"name": "vision"}}, "profile="),
    ],
    ids=lambda it: str(it)[:40],
)
def test_options_that_are_not_offered(
    options: dict[str, Any], said: str, attacker: Person, cluster: Cluster
) -> None:
    with pytest.raises(Refused) as by_api:
        attacker.start(options)

    check_nothing(by_api.value, attacker, cluster)
    assert said in by_api.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"image_profile": BOMB},
        {"image_profile": "cpu\nevil"},
        {"image_profile": "cpu", "cpu.cpu": BOMB},
        {"image_profile": "cpu", "cpu.memory": "1G\n1G"},
        {"image_profile": "cpu", "image": "evil.example/image:1"},
        {"instead": f"image_profile={BOMB}"},
        {"instead": MEGABYTE},
        {"image_profile": MEGABYTE},
        {MEGABYTE: "1"},
        {f"field-{number}": "1" for number in range(5_000)},
    ],
    ids=lambda it: str(it)[:40],
)
def test_forms_that_are_not_offered(
    fields: dict[str, str], attacker: Person, cluster: Cluster
) -> None:
    with pytest.raises(Refused) as by_form:
        attacker.send_form(fields)

    # JupyterHub renews the token against forged requests after some of these.
    attacker.send("GET", "/hub/spawn", "opening the spawn page")
    check_nothing(by_form.value, attacker, cluster)


def test_profiles_of_others_are_as_if_they_were_not_there(
    attacker: Person, victim: Person, cluster: Cluster
) -> None:
    said = []
    for name in (namespace_name(victim.name), "nobody-has-this-one"):
        with pytest.raises(Refused) as refused:
            attacker.start({"profile": name})
        check_nothing(refused.value, attacker, cluster)
        said.append(refused.value.message.replace(name, "it"))

    assert said[0] == said[1]
    assert not cluster.pods(namespace_name(victim.name))


def test_a_name_of_a_megabyte_is_not_even_read(attacker: Person) -> None:
    host = urlsplit(attacker.hub_url).netloc
    for path in (f"/hub/spawn/{attacker.name}/{MEGABYTE}", f"/hub/spawn/{MEGABYTE}"):
        headers = {"Cookie": attacker.cookie("/hub/spawn")}
        # The proxy may hang up at once.
        with closing(HTTPConnection(host, timeout=30)) as line, suppress(ConnectionError):
            line.request("GET", path, headers=headers)
            assert 400 <= line.getresponse().status < 500
    attacker.send("GET", "/hub/spawn", "opening the spawn page")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_cannot_send_the_form(site: str, attacker: Person) -> None:
    headers = {
        "Origin": "http://evil.example",
        "Referer": "http://evil.example/",
        "Sec-Fetch-Site": site,
        "Sec-Fetch-Mode": "navigate",
    }
    for path in ("/hub/spawn", f"/hub/spawn/{attacker.name}"):
        with pytest.raises(Refused) as refused:
            attacker.send(
                "POST", path, "sending the form", data={"image_profile": "cpu"}, headers=headers
            )
        assert refused.value.status == 403
    assert not attacker.running()


def test_a_page_of_another_site_learns_nothing_from_the_form(attacker: Person) -> None:
    answer = attacker.send("GET", "/hub/spawn", "opening the spawn page")

    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_nobody_is_sent_elsewhere(people: People, attacker: Person) -> None:
    person = people.new()
    person.send_form({"image_profile": "cpu"})
    person.wait_ready()
    pages = ("/hub/login", "/hub/spawn", f"/hub/spawn-pending/{person.name}")
    try:
        for page in pages:
            for target in ELSEWHERE:
                answer = person.send(
                    "GET", page, "going on", params={"next": target}, follow_redirects=False
                )
                went = urlsplit(answer.headers.get("Location", ""))
                assert went.netloc in ("", urlsplit(person.hub_url).netloc), (page, target)
                assert not went.path.startswith(("//", "/\\"))
    finally:
        person.stop()


def test_the_hubs_memory_stays(attacker: Person, cluster: Cluster) -> None:
    def attack(times: int) -> None:
        for number in range(times):
            for options in ({"profile": MEGABYTE + str(number)}, {"memory": BOMB + str(number)}):
                with pytest.raises(Refused):
                    attacker.start(options)
            with pytest.raises(Refused):
                attacker.send_form({f"{MEGABYTE}{number}": "1"})

    # What waits for the garbage collector, and what the process keeps for the next one.
    attack(40)
    before, _ = memory_of(cluster, "hub")
    # 120 MB are sent.
    attack(40)
    after, _ = memory_of(cluster, "hub")

    assert after < before + 30
