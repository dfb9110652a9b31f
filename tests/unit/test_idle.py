"""Servers that nobody uses: what is asked, said and done, with a hub in memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kfspawner.errors import HubError
from kfspawner.hub import idle
from kfspawner.hub.api import HubApi, HubServer
from kfspawner.hub.asking import Activity, Servers
from kfspawner.hub.idle import Idle, Rules, show_span
from kfspawner.hub.limits import Limits, read_limits

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def server(person: str = "alice", image_profile: str = "gpu", **known: Any) -> HubServer:
    facts = {"name": "", "started": "today", "profile": "vision", "url": "http://there/"}
    options = {"cpu": 4, "gpu": 1, "image_profile": image_profile}
    return HubServer(
        person=person, image_profile=image_profile, options=options, **{**facts, **known}
    )


class FakeHub(HubApi):
    """A hub with these servers."""

    def __init__(self, *servers: HubServer) -> None:
        self.servers = list(servers)
        self.did: list[tuple[Any, ...]] = []
        # How often a server is still there after it was told to stop.
        self.lingers = 0

    async def ready(self) -> AsyncGenerator[HubServer, None]:
        for it in self.servers:
            yield it

    async def has(self, person: str, server: str) -> bool:
        self.did.append(("has", person, server))
        self.lingers -= 1
        return self.lingers >= 0

    async def stop(self, person: str, server: str) -> bool:
        self.did.append(("stop", person, server))
        self.servers = [it for it in self.servers if (it.person, it.name) != (person, server)]
        return not self.lingers

    async def start(self, person: str, server: str, options: Mapping[str, Any]) -> None:
        self.did.append(("start", person, server, dict(options)))


class FakeServers(Servers):
    """What servers say, by person, and what they are told."""

    def __init__(self) -> None:
        self.said: dict[str, Activity | HubError] = {}
        self.told: list[tuple[str, str]] = []

    async def activity(self, server: HubServer) -> Activity:
        said = self.said[server.person]
        if isinstance(said, HubError):
            raise said
        return said

    async def tell(self, server: HubServer, text: str) -> None:
        self.told.append((server.person, text))


class World:
    """A hub, its servers, a clock, and who looks at them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *servers: HubServer, **rules: Any) -> None:
        self.now = START
        self.hub = FakeHub(*servers)
        self.servers = FakeServers()
        for it in servers:
            self.servers.said[it.person] = Activity(START)
        given = {"limits": Limits(all=4 * HOUR), "warning": 10 * MINUTE, **rules}
        self.idle = Idle(self.hub, self.servers, Rules(**given))
        clock = type("Clock", (), {"now": lambda _self, _zone: self.now})()
        monkeypatch.setattr(idle, "datetime", clock)
        monkeypatch.setattr(idle, "_LOOK_SECONDS", 0.0)

    async def look(self, after: timedelta) -> None:
        """Look, that long after everybody was last seen."""
        self.now = START + after
        await self.idle.look()


async def test_who_is_idle_is_warned_and_then_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, server())

    await world.look(3 * HOUR)
    assert not world.servers.told
    await world.look(4 * HOUR - 10 * MINUTE)
    await world.look(4 * HOUR - 5 * MINUTE)
    said = (
        "Nobody has used this server for {}. It is stopped in {}, unless you use it before. "
        "Your files stay; what is in memory is lost."
    )
    assert world.servers.told == [
        ("alice", said.format("3 h 50 min", "10 min")),
        ("alice", said.format("3 h 55 min", "5 min")),
    ]
    assert not world.hub.did
    await world.look(4 * HOUR)
    assert world.hub.did == [("stop", "alice", "")]


async def test_who_comes_back_is_not_stopped_and_the_warning_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, server())
    await world.look(4 * HOUR - 5 * MINUTE)

    world.servers.said["alice"] = Activity(START + 4 * HOUR - 4 * MINUTE)
    await world.look(4 * HOUR)
    await world.look(4 * HOUR + MINUTE)

    assert [text for _, text in world.servers.told][1:] == [""]
    assert not world.hub.did
    # And is warned anew.
    await world.look(8 * HOUR - 10 * MINUTE)
    await world.look(8 * HOUR - 4 * MINUTE)
    assert not world.hub.did
    await world.look(8 * HOUR)
    assert world.hub.did == [("stop", "alice", "")]


async def test_what_is_busy_is_in_use_however_long_ago_somebody_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, server())
    world.servers.said["alice"] = Activity(START, "a kernel is at work")

    for hours in (4, 5, 100):
        await world.look(hours * HOUR)

    assert not world.servers.told
    assert not world.hub.did


async def test_nobody_is_stopped_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, server())

    # The service was away, or the limit is new.
    await world.look(9 * HOUR)
    await world.look(9 * HOUR + 9 * MINUTE)
    assert not world.hub.did
    assert "It is stopped in 10 min" in world.servers.told[0][1]
    await world.look(9 * HOUR + 10 * MINUTE)
    assert world.hub.did == [("stop", "alice", "")]


async def test_another_start_is_warned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, server())
    await world.look(9 * HOUR)

    world.hub.servers = [server(started="later")]
    await world.look(9 * HOUR + 10 * MINUTE)

    assert not world.hub.did


async def test_limits_are_those_of_each_server(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        monkeypatch,
        server("alice"),
        server("bob", "cpu"),
        server("carol", "other"),
        limits=read_limits(None, [("gpu", HOUR), ("cpu", 8 * HOUR)], []),
        warning=timedelta(0),
    )

    await world.look(HOUR)
    assert world.hub.did == [("stop", "alice", "")]
    await world.look(8 * HOUR)
    assert world.hub.did[1:] == [("stop", "bob", "")]
    await world.look(1000 * HOUR)
    assert len(world.hub.did) == 2


async def test_a_demoted_server_comes_back_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    named = server(name="big")
    world = World(monkeypatch, named, server("bob", "cpu"), demotions={"gpu": "cpu"})
    world.hub.lingers = 3

    await world.look(4 * HOUR - MINUTE)
    told = dict(world.servers.told)
    assert "It is stopped in 10 min and starts anew as cpu, unless" in told["alice"]
    assert "starts anew" not in told["bob"]
    await world.look(5 * HOUR)

    assert [it for it in world.hub.did if it[1] == "alice" and it[0] != "has"] == [
        ("stop", "alice", "big"),
        # Its sizes were those of the other image profile.
        ("start", "alice", "big", {"profile": "vision", "image_profile": "cpu"}),
    ]
    assert ("stop", "bob", "") in world.hub.did
    assert not any(it[:2] == ("start", "bob") for it in world.hub.did)


async def test_one_that_does_not_stop_is_not_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(monkeypatch, server(), demotions={"gpu": "cpu"}, warning=timedelta(0))
    world.hub.lingers = 1000

    await world.look(5 * HOUR)

    assert not any(it[0] == "start" for it in world.hub.did)
    assert "has not stopped in" in caplog.text


async def test_what_does_not_answer_is_left_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(monkeypatch, server("alice"), server("bob"), warning=timedelta(0))
    world.servers.said["alice"] = HubError("asking alice's server", "it answers 404", "it stays")

    await world.look(5 * HOUR)
    await world.look(6 * HOUR)

    assert world.hub.did == [("stop", "bob", "")]
    assert caplog.messages.count("asking alice's server: it answers 404; it stays") == 1


async def test_a_hub_that_is_away_is_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(monkeypatch, server())
    looked = 0

    async def look() -> None:
        nonlocal looked
        looked += 1
        if looked == 3:
            raise RuntimeError("enough")
        raise HubError("asking the hub", "it did not answer", "wait")

    monkeypatch.setattr(world.idle, "look", look)
    caplog.set_level(logging.WARNING)
    with pytest.raises(RuntimeError, match="enough"):
        await world.idle.follow(0.0)
    assert caplog.messages == ["asking the hub: it did not answer; wait"] * 2


@pytest.mark.parametrize(
    ("profile", "image_profile", "expected"),
    [
        ("nlp", "cpu", 24 * HOUR),
        ("nlp", "gpu", 4 * HOUR),
        ("vision", "cpu", 8 * HOUR),
        ("vision", "gpu", 4 * HOUR),
        ("vision", "big", 2 * HOUR),
        ("audio", "gpu", 12 * HOUR),
    ],
)
def test_which_limit_holds(profile: str, image_profile: str, expected: timedelta) -> None:
    limits = read_limits(
        24 * HOUR,
        [("gpu", 4 * HOUR), ("big", 2 * HOUR)],
        [("vision", 8 * HOUR), ("audio/gpu", 12 * HOUR)],
    )
    assert limits.of(profile, image_profile) == expected


def test_without_any_limit_there_is_none() -> None:
    assert read_limits(None, [], []).of("vision", "gpu") is None


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (timedelta(seconds=-1), "0 s"),
        (timedelta(seconds=20), "20 s"),
        (timedelta(seconds=90), "2 min"),
        (timedelta(minutes=59, seconds=40), "1 h"),
        (4 * HOUR, "4 h"),
        (3 * HOUR + 50 * MINUTE, "3 h 50 min"),
        (100 * HOUR, "100 h"),
    ],
)
def test_spans_of_time(span: timedelta, shown: str) -> None:
    assert show_span(span) == shown
