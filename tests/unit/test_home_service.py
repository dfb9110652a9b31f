"""The provisioner's process, and what becomes of files whatever happens to them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfspawner.errors import ClusterUnreachable, ExportUnreachable
from kfspawner.homes import service as service_module
from kfspawner.homes.mounter import Mounter
from kfspawner.homes.place import Place
from kfspawner.homes.plan import Standing, Step
from kfspawner.homes.service import Service
from kfspawner.profiles import pace
from tests.fakes.homes import ALICE, CLAIM, IDS, SERVER, VOLUME, Homes, killed, make_namespace
from tests.fakes.starts import free_port

BOB, CAROL = Place("vision", "bob"), Place("vision", "carol")
OUTAGE = ClusterUnreachable("watching", "the Kubernetes API did not answer", "try again")
SILENCE = ExportUnreachable("measuring vision/alice", "no answer", "see whether it runs")
FOREVER = 10_000


async def until(holds: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Homes:
    monkeypatch.setattr(pace, "SOON", 0.001)
    monkeypatch.setattr(pace, "LATE", 0.01)
    # Only who asks for it, has it measured.
    monkeypatch.setattr(service_module, "_MEASURE_SECONDS", 3600)
    return Homes(tmp_path)


@pytest.fixture
def measured(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure every volume at once."""
    monkeypatch.setattr(service_module, "_MEASURE_SECONDS", 0.01)


class Running:
    """The process, once it is started; it ends with the test."""

    def __init__(self, homes: Homes) -> None:
        self.port = free_port()
        mounter = Mounter(homes.api, SERVER)
        self.service = Service(homes.api, homes.provisioner, mounter, SERVER)
        self.task: asyncio.Task[object] | None = None

    async def start(self) -> None:
        self.task = asyncio.create_task(self.service.run(self.port))
        await asyncio.sleep(0.05)

    async def end(self) -> None:
        if self.task:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task


@pytest.fixture
async def running(homes: Homes) -> AsyncIterator[Running]:
    made = Running(homes)
    yield made
    await made.end()


def has_volume(homes: Homes, place: Place = ALICE) -> Callable[[], bool]:
    return lambda: (VOLUME, "", place.volume) in homes.api.objects


async def test_what_was_there_before_and_what_comes_is_provisioned(
    homes: Homes, running: Running
) -> None:
    homes.claim(ALICE)
    await running.start()
    await until(has_volume(homes, ALICE))

    homes.claim(BOB)
    await until(has_volume(homes, BOB))
    assert homes.directories() == ["vision/alice", "vision/bob"]


async def test_it_goes_on_from_step_to_step(homes: Homes, running: Running) -> None:
    await running.start()
    homes.claim()
    await until(has_volume(homes))
    homes.bind()
    (homes.root / "vision/alice/notes.txt").write_text("mine")

    homes.ask(CLAIM, ALICE.claim, "archive", "vision")
    await until(homes.archives)
    await until(lambda: not has_volume(homes)())
    assert (CLAIM, "vision", ALICE.claim) not in homes.api.objects

    homes.ask(VOLUME, homes.archives()[0], "restore")
    await until(lambda: not homes.archives())
    assert list(homes.files("notes.txt")) == [homes.root / "vision/alice/notes.txt"]


@pytest.mark.parametrize("kind", ["Namespace", CLAIM, VOLUME])
async def test_what_is_not_known_yet_is_not_taken_as_gone(
    homes: Homes, running: Running, kind: str
) -> None:
    homes.claim()
    await homes.settle()
    homes.claim(BOB)
    homes.api.calls.clear()
    answers = homes.api.late[kind] = asyncio.Event()
    await running.start()
    assert homes.api.writes() == []

    answers.set()
    await until(has_volume(homes, BOB))
    assert homes.archives() == []


@pytest.mark.parametrize("kind", ["Namespace", VOLUME])
async def test_what_stands_still_holds_nobody_up_and_is_not_taken_as_gone(
    homes: Homes, running: Running, kind: str
) -> None:
    homes.claim(BOB)
    await homes.settle()
    homes.api.refusals[f"watch {kind}"] = [OUTAGE] * FOREVER
    await running.start()
    homes.claim()
    await until(has_volume(homes))
    assert homes.directories() == ["vision/alice", "vision/bob"]


async def test_it_goes_on_as_soon_as_the_api_answers_again(homes: Homes, running: Running) -> None:
    homes.api.refusals["watch Namespace"] = [OUTAGE]
    await running.start()
    homes.claim()
    await until(has_volume(homes), seconds=1)


async def test_one_that_fails_does_not_keep_the_others(
    homes: Homes,
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (homes.root / BOB.directory).mkdir(parents=True)
    (homes.root / BOB.directory / "theirs").touch()
    homes.claim(BOB, owner_ids=f"{IDS[0] + 1}:{IDS[1] + 1}")
    take = homes.provisioner.take

    async def take_most(step: Step, standing: Standing) -> None:
        if standing.claim and standing.claim.place == CAROL:
            raise ValueError("a defect")
        await take(step, standing)

    monkeypatch.setattr(homes.provisioner, "take", take_most)
    homes.claim(CAROL)
    await running.start()
    homes.claim(ALICE)
    await until(has_volume(homes, ALICE))

    await until(lambda: "trouble" in homes.notes(CLAIM, BOB.claim, "vision"))
    assert list(homes.volumes()) == [ALICE.volume]
    assert "a defect" in caplog.text
    assert running.task
    assert not running.task.done()


async def test_what_failed_is_tried_again(
    homes: Homes, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.service._queue, "_shortest", 0.01)
    homes.api.refusals[f"create {VOLUME}"] = [OUTAGE, OUTAGE]
    homes.claim()
    await running.start()
    await until(has_volume(homes))
    await until(lambda: "trouble" not in homes.notes(CLAIM, ALICE.claim, "vision"))


@pytest.mark.usefixtures("measured")
async def test_what_is_in_each_volume_is_measured(homes: Homes, running: Running) -> None:
    for place in (ALICE, BOB):
        homes.claim(place)
    await homes.settle()
    await running.start()
    for place in (ALICE, BOB):
        await until(lambda place=place: "used-bytes" in homes.notes(VOLUME, place.volume))  # type: ignore[misc]


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    "error",
    [
        SILENCE,
        RecursionError("too deep"),
    ],
)
async def test_one_that_cannot_be_measured_does_not_keep_the_others(
    homes: Homes, running: Running, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    measure = homes.export.measure

    def measure_most(directory: str) -> Any:
        if directory == ALICE.directory:
            raise error
        return measure(directory)

    monkeypatch.setattr(homes.export, "measure", measure_most)
    for place in (ALICE, BOB):
        homes.claim(place)
    await homes.settle()
    await running.start()

    try:
        await until(lambda: "used-bytes" in homes.notes(VOLUME, BOB.volume), seconds=1)
        assert running.task
        assert not running.task.done()
    finally:
        if running.task and running.task.done():
            ended, running.task = running.task, None
            assert ended.exception()


async def test_it_answers_as_long_as_it_lives(homes: Homes, running: Running) -> None:
    await running.start()
    url = f"http://127.0.0.1:{running.port}/healthz"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert (response.status, await response.text()) == (200, "ok")
        await running.end()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)


# Anything may happen, in any order, and anybody may be killed at any of it.


@dataclass
class History:
    """What happens to one place, and which files must still be there."""

    homes: Homes
    files: dict[str, str] = field(default_factory=dict)
    given_back: bool = False
    count: int = 0
    space: tuple[str, str, str] = ("Namespace", "", "vision")

    def happen(self, event: str) -> None:
        """Do what somebody does."""
        self.count += 1
        api, claim = self.homes.api, (CLAIM, "vision", ALICE.claim)
        match event:
            case "start" if claim not in api.objects and self.space in api.objects:
                self.homes.claim()
            case "write" if self.bound():
                self.write()
            case "delete claim" if claim in api.objects:
                api.remove(CLAIM, ALICE.claim, "vision")
            case "archive" if claim in api.objects:
                self.homes.ask(CLAIM, ALICE.claim, "archive", "vision")
            case "archive volume" if (VOLUME, "", ALICE.volume) in api.objects:
                self.homes.ask(VOLUME, ALICE.volume, "archive")
            case "restore" | "purge":
                self.ask(event)
            case _:
                self.turn(event)

    def turn(self, event: str) -> None:
        """Do what somebody does to the profile."""
        match event, self.space in self.homes.api.objects:
            case "end profile", True:
                self.homes.api.finish("vision")
            case ("begin profile", False) | ("get label", True):
                self.homes.api.put(make_namespace())
            case "lose label", True:
                self.homes.api.put(make_namespace(team="vision"))

    def ask(self, request: str) -> None:
        """Ask for the newest archive to be given back, or the oldest to go."""
        archives = self.homes.archives()
        if archives and not any(it.asked for it in self.homes.standings().values()):
            name = archives[-1 if request == "restore" else 0]
            self.homes.ask(VOLUME, name, request)
            if request == "purge":
                self.homes.now += timedelta(days=31)
                inside = self.homes.root / self.homes.volumes()[name]
                for it in inside.glob("file-*"):
                    del self.files[it.name]
            else:
                self.given_back = True

    def bound(self) -> bool:
        """Say whether a pod could mount it."""
        claim = self.homes.api.objects.get((CLAIM, "vision", ALICE.claim), {})
        return (VOLUME, "", claim.get("spec", {}).get("volumeName")) in self.homes.api.objects

    def write(self) -> None:
        """Write a file as a pod would, which bears the namespace that it was written in."""
        name, uid = f"file-{self.count}", self.uid()
        (self.homes.root / self.homes.volumes()[ALICE.volume] / name).write_text(uid)
        self.files[name] = uid

    def uid(self) -> str:
        """Return the namespace that there is now."""
        return str(self.homes.api.objects[self.space]["metadata"]["uid"])

    def check(self) -> None:
        """Say that each directory has its volume, each volume its files, and that none is lost."""
        homes = self.homes
        found = {it.name: it.read_text() for it in homes.root.rglob("file-*")}
        assert len(list(homes.root.rglob("file-*"))) == len(found)
        assert found == self.files
        paths = sorted(homes.volumes().values())
        assert len(set(paths)) == len(paths)
        # One that was begun and never used is taken by whoever comes next.
        unused = set(homes.directories()) - set(paths)
        assert set(paths) <= set(homes.directories())
        assert not any(True for it in unused for _ in (homes.root / it).rglob("file-*"))
        standing = homes.standings().get(ALICE.volume)
        if standing and standing.claim and standing.namespace and standing.namespace.is_profiles:
            assert self.bound()
        if self.space not in homes.api.objects:
            assert standing is None or standing.volume is None
        elif not self.given_back:
            here = {it.read_text() for it in (homes.root / ALICE.directory).glob("file-*")}
            assert here <= {self.uid()}


EVENTS = (
    *("start", "write", "delete claim", "archive", "archive volume", "end profile"),
    *("begin profile", "lose label", "get label", "restore", "purge"),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(1, 10)), max_size=16))
def test_no_file_is_lost_whatever_happens(events: list[tuple[str, int]]) -> None:
    async def live(root: Path) -> None:
        history = History(Homes(root, retention=timedelta(days=30)))
        for event, at in events:
            history.happen(event)
            # 1: nobody runs then.
            with killed(history.homes.api, at):
                await history.homes.settle()
        await history.homes.settle()
        history.check()

    with tempfile.TemporaryDirectory() as root:
        asyncio.run(live(Path(root)))
