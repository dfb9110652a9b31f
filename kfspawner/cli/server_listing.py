"""What there is to say of servers: in a line each, or all of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kfspawner.cli.listing import align
from kfspawner.errors import InputError
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.resources import Selection
from kfspawner.quantity import read_quantity, show_bytes, show_quantity
from kfspawner.servers.server import Server, explain, read_server, select_servers

_HEADER = ("PERSON", "SERVER", "PROFILE", "IMAGE PROFILE", "STATE", "SINCE", "RESOURCES", "NODE")
# What stands for the name of a person's default server, here and on the command line.
DEFAULT = "-"


async def find_servers(api: Api, profile: str = "") -> list[tuple[Server, Object]]:
    """Return every server with its pod, of one profile or of all, by person.

    Raises
    ------
    ClusterError
        If this account may not read them.
    """
    now = datetime.now(UTC)
    pods = [pod async for page, _ in api.pages(select_servers(profile)) for pod in page]
    found = [(read_server(pod, now), pod) for pod in pods]
    return sorted(found, key=lambda it: (it[0].person, it[0].name, it[0].profile))


def choose(found: Sequence[tuple[Server, Object]], person: str, name: str) -> tuple[Server, Object]:
    """Return the one server that is meant.

    Parameters
    ----------
    found
        Those that there are.
    person
        Whose.
    name
        Which of theirs; `DEFAULT` for the default one, empty for the only one.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    doing = f"looking for a server of {person}"
    theirs = [it for it in found if it[0].person == person]
    wanted = "" if name == DEFAULT else name
    fits = [it for it in theirs if not name or it[0].name == wanted]
    if len(fits) == 1:
        return fits[0]
    called = ", ".join(f"{it.name or DEFAULT} in {it.profile}" for it, _ in theirs)
    if fits:
        raise InputError(
            doing,
            f"{person} has {len(fits)} that could be meant: {called}",
            "say which, as in `alice gpu`, or `alice -` for the default server; add --profile if "
            "two have one name",
        )
    if theirs:
        raise InputError(doing, f"there is none called {name}, but {called}", "give one of these")
    raise InputError(
        doing,
        f"nobody called {person!r} has a server here",
        "see `kfspawner servers list` for those there are",
    )


async def read_events(api: Api, server: Server) -> list[Object]:
    """Return what was reported of a server's pod, the latest last."""
    about = f"involvedObject.kind=Pod,involvedObject.name={server.pod}"
    selection = Selection("Event", server.profile, fields=about)
    events = [it async for page, _ in api.pages(selection) for it in page]
    return sorted((it for it in events if it["involvedObject"].get("uid") == server.uid), key=_time)


def _time(event: Object) -> str:
    return str(
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def make_table(servers: Iterable[Server]) -> str:
    """Return servers as a table, a line each."""
    return align([_HEADER, *(_row(it) for it in servers)])


def _row(it: Server) -> tuple[str, ...]:
    return (
        it.person or "?",
        it.name or DEFAULT,
        it.profile,
        it.image_profile or "?",
        it.state.value,
        f"{it.since:%Y-%m-%d %H:%M}",
        show_size(it.limits),
        it.node or DEFAULT,
    )


def show_size(limits: Mapping[str, str]) -> str:
    """Return what a server may use in a few words: ``2 CPU, 4Gi, 1 nvidia.com/gpu``."""
    words = []
    for name, amount in limits.items():
        number = read_quantity(amount)
        if name == "cpu":
            words.append(f"{show_quantity(number)} CPU")
        elif name == "memory":
            words.append(show_bytes(number))
        elif "/" in name and number:
            words.append(f"{show_quantity(number)} {name}")
    return ", ".join(words) or "no limit"


def describe(server: Server, pod: Object, events: Sequence[Object]) -> str:
    """Return all that there is to say of one server."""
    status = pod.get("status") or {}
    restarts = sum(int(it.get("restartCount", 0)) for it in status.get("containerStatuses") or ())
    lines = (
        ("State", f"{server.state.value}: {explain(pod, events, datetime.now(UTC))}"),
        ("Since", f"{server.since:%Y-%m-%d %H:%M} UTC"),
        ("Image profile", server.image_profile or "unknown"),
        ("Image", server.image),
        ("Resources", show_size(server.limits)),
        ("Pod", server.pod),
        ("Node", server.node or "none yet"),
        ("Address", str(status.get("podIP") or "none yet")),
        ("Restarts", str(restarts)),
    )
    title = str(server)
    return "\n".join([title, *(f"  {f'{name}:':15}{text}" for name, text in lines)])


def to_json(server: Server) -> dict[str, Any]:
    """Return a server as `-o json` writes it."""
    return {
        "person": server.person,
        "server": server.name,
        "profile": server.profile,
        "pod": server.pod,
        "image_profile": server.image_profile or None,
        "image": server.image,
        "state": server.state.value,
        "why": server.why,
        "since": server.since.isoformat(),
        "limits": dict(server.limits),
        "node": server.node or None,
    }
