"""Servers that nobody uses: warned, then stopped, or started anew as something smaller.

A server with a kernel or a terminal's job at work is in use. So is one whose person
touches a key or the mouse; an open window alone is none. What does not say how it is
used is left as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kfspawner.errors import Error, HubError
from kfspawner.hub.api import HubApi, HubServer
from kfspawner.hub.asking import Activity, Servers
from kfspawner.hub.limits import Limits

_LOG = logging.getLogger(__name__)

# Servers that are asked at once.
_ASKED = 16
# How often it is looked whether a server has stopped, and the seconds in between.
_STOP_LOOKS = 120
_LOOK_SECONDS = 1.0

_Key = tuple[str, str, str]


@dataclass(frozen=True)
class Rules:
    """When a server that nobody uses is stopped.

    Attributes
    ----------
    limits
        After which spans.
    warning
        How long before that its person is told.
    demotions
        The image profiles whose servers start anew as another, by their keys.
    """

    limits: Limits
    warning: timedelta
    demotions: Mapping[str, str] = field(default_factory=dict)


class Idle:
    """Looks at all servers of a hub, again and again.

    Parameters
    ----------
    hub, servers
        The hub, and what its servers say themselves.
    rules
        When one is stopped.
    """

    def __init__(self, hub: HubApi, servers: Servers, rules: Rules) -> None:
        self._hub = hub
        self._servers = servers
        self._rules = rules
        self._asked = asyncio.Semaphore(_ASKED)
        # Since when each is warned, by whose it is, its name and when it was started.
        self._warned: dict[_Key, datetime] = {}
        # Those that said nothing at the last look.
        self._silent: set[_Key] = set()

    async def follow(self, seconds: float) -> None:
        """Look every so many seconds, until this is cancelled."""
        while True:
            try:
                await self.look()
            except Error as error:
                _LOG.warning("%s", error)
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Look at each server once.

        Raises
        ------
        HubError
            If the hub does not say which there are.
        """
        found = [it async for it in self._hub.ready()]
        there = {_key(it) for it in found}
        self._warned = {key: since for key, since in self._warned.items() if key in there}
        self._silent &= there
        await asyncio.gather(*(self._look_at(it) for it in found))

    async def _look_at(self, server: HubServer) -> None:
        limit = self._rules.limits.of(server.profile, server.image_profile)
        if limit is None:
            return
        async with self._asked:
            try:
                activity = await self._servers.activity(server)
                self._silent.discard(_key(server))
                await self._judge(server, activity, limit)
            except HubError as error:
                if _key(server) not in self._silent:
                    _LOG.warning("%s", error)
                self._silent.add(_key(server))

    async def _judge(self, server: HubServer, activity: Activity, limit: timedelta) -> None:
        now = datetime.now(UTC)
        key = _key(server)
        if activity.busy or now < activity.last + limit - self._rules.warning:
            if self._warned.pop(key, None):
                await self._servers.tell(server, "")
            return
        warned = self._warned.setdefault(key, now)
        # Everybody is warned in time, also where the service was away for hours.
        due = max(activity.last + limit, warned + self._rules.warning)
        if now < due:
            await self._servers.tell(server, self._warn(server, now - activity.last, due - now))
            return
        await self._end(server, now - activity.last)

    def _warn(self, server: HubServer, idle: timedelta, left: timedelta) -> str:
        anew = self._rules.demotions.get(server.image_profile)
        then = f" and starts anew as {anew}" if anew else ""
        return (
            f"Nobody has used this server for {show_span(idle)}. It is stopped in "
            f"{show_span(left)}{then}, unless you use it before. Your files stay; what is in "
            f"memory is lost."
        )

    async def _end(self, server: HubServer, idle: timedelta) -> None:
        anew = self._rules.demotions.get(server.image_profile)
        _LOG.info(
            "Stopping %s, which nobody has used for %s%s",
            server,
            show_span(idle),
            f"; it starts anew as {anew}" if anew else "",
        )
        gone = await self._hub.stop(server.person, server.name)
        if not anew:
            return
        if not gone:
            await self._until_gone(server)
        # Its sizes were those of the other image profile.
        options = {"profile": server.profile, "image_profile": anew}
        await self._hub.start(server.person, server.name, options)

    async def _until_gone(self, server: HubServer) -> None:
        for _ in range(_STOP_LOOKS):
            if not await self._hub.has(server.person, server.name):
                return
            await asyncio.sleep(_LOOK_SECONDS)
        raise HubError(
            f"starting {server} anew",
            f"it has not stopped in {_STOP_LOOKS * _LOOK_SECONDS:.0f} s",
            "its person can start it when it has",
        )


def _key(server: HubServer) -> _Key:
    return server.person, server.name, server.started


def show_span(span: timedelta) -> str:
    """Return a span of time as people say it: ``3 h 50 min``."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 90:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = [f"{hours} h"] if hours else []
    return " ".join([*parts, f"{minutes} min"] if minutes or not hours else parts)
