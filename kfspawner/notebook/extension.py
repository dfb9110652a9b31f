"""The Jupyter Server extension: what the hub's services and JupyterLab's page ask of a server."""

from __future__ import annotations

import hmac
import json
import os
from typing import Any

from jupyter_server._tz import isoformat, utcnow
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import ensure_async, url_path_join
from tornado import web

from kfspawner.context import KEY_HEADER, KEY_VARIABLE
from kfspawner.notebook.use import LONGEST, Use, at_work, last_use


class _Handler(APIHandler):
    # That somebody asks is no use of the server.
    _track_activity = False

    def initialize(self, use: Use, key: str) -> None:
        """Take what all requests share."""
        self.use = use
        self.key = key


class IdleHandler(_Handler):
    """For a service of the hub, which has the server's key: is it used, and what to show."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Let in whoever has the key, and nobody else."""
        given = self.request.headers.get(KEY_HEADER, "")
        if not self.key or not hmac.compare_digest(given.encode(), self.key.encode()):
            raise web.HTTPError(403)

    def check_xsrf_cookie(self) -> None:
        """Ask for none: no browser sends the key by itself."""

    @allow_unauthenticated
    async def get(self) -> None:
        """Say when the server was last used, and what is at work."""
        kernels = await ensure_async(self.settings["kernel_manager"].list_kernels())
        terminals = getattr(self.settings.get("terminal_manager"), "terminals", {}).values()
        shells = [it.ptyproc.pid for it in terminals]
        last = isoformat(last_use(self.use, self.settings))
        self.finish(json.dumps({"last_activity": last, "busy": at_work(kernels, shells)}))

    @allow_unauthenticated
    async def put(self) -> None:
        """Take what is to be shown; an empty text for nothing."""
        body = self.get_json_body()
        text = body.get("text") if isinstance(body, dict) else None
        if not isinstance(text, str) or len(text) > LONGEST:
            raise web.HTTPError(400, f"give text, of at most {LONGEST} characters")
        self.use.notice = text
        self.set_status(204)
        self.finish()


class NoticeHandler(_Handler):
    """For the person's own page."""

    @web.authenticated
    async def get(self) -> None:
        """Return what is to be shown."""
        self.finish(json.dumps({"text": self.use.notice}))

    @web.authenticated
    async def post(self) -> None:
        """Take note that the person is there."""
        self.use.take(utcnow())
        self.finish(json.dumps({"text": self.use.notice}))


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "kfspawner.notebook.extension"}]


def _load_jupyter_server_extension(server: Any) -> None:
    # Kernels and terminals do not inherit the key.
    shared = {"use": Use(utcnow()), "key": os.environ.pop(KEY_VARIABLE, "")}
    base = server.web_app.settings["base_url"]
    server.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(base, "kfspawner", "idle"), IdleHandler, shared),
            (url_path_join(base, "kfspawner", "notice"), NoticeHandler, shared),
        ],
    )
