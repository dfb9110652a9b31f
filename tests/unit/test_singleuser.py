"""What a server does without when it starts, and that nothing it does differs for it."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from kfspawner.singleuser import start
from tests.fakes.hub import FakeHub, pod_of

PUT_OFF = "from kfspawner.singleuser import later, start; later.put_off(start.MODULES)\n"
# What a real start of the hub's code on the notebook's side imports.
IMPORTS = "import jupyterhub.log, jupyterhub.services.auth, jupyterhub.utils, jsonschema\n"
LOG = """
import json, logging, sys
from types import SimpleNamespace
from tornado.web import StaticFileHandler
from jupyterhub.log import CoroutineLogFormatter, log_request

logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(levelname)s %(message)s")

def serve(kind, status, uri, seconds, **more):
    headers = {"Authorization": "token s3cret", "Cookie": "sid=s3cret; other=s3cret"}
    request = SimpleNamespace(
        uri=uri, headers=headers, method="GET", remote_ip="10.0.0.1", request_time=lambda: seconds
    )
    handler = kind.__new__(kind)
    handler.__dict__.update(request=request, get_status=lambda: status, **more)
    log_request(handler)

class Page(SimpleNamespace):
    current_user = {"name": "alice"}

for status in (200, 304, 404, 500, 503):
    serve(Page, status, "/lab?token=s3cret&a=b&_xsrf=s3cret", 0.5)
serve(Page, 302, "/oauth_callback?code=s3cret", 0.5, _headers={"Location": "/?state=s3cret"})
serve(Page, 304, "/slow", 2)
serve(Page, 200, "/hub/api/authorizations/token/s3cret", 0.5)
class Static(StaticFileHandler):
    current_user = None

serve(Static, 200, "/static/a.js", 0.001)
"""
FORMATS = """
from jsonschema import Draft7Validator, Draft202012Validator

for validator in (Draft7Validator, Draft202012Validator):
    for form in ("iri", "iri-reference", "uri", "uri-reference", "date-time"):
        for value in ("https://example.org/ü", "https://example.org/u", "//x", "a b", "%zz", "", 3):
            errors = validator({"format": form}, format_checker=validator.FORMAT_CHECKER)
            print(form, repr(value), [it.message for it in errors.iter_errors(value)])
"""
SCOPES = """
from jupyterhub.services.auth import check_scopes

for held in (["access:servers!user=x"], ["access:servers"], ["access:servers!server=y/"], []):
    for needed in ({"access:servers!server=x/"}, {"access:servers!user=x"}, {"access:servers"}):
        print(held, needed, sorted(check_scopes(needed, held)))
"""


def python(code: str) -> str:
    """Return what `code` prints in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_hubs_database_and_the_grammar_are_not_loaded() -> None:
    heavy = "{'alembic', 'lark', 'requests.sessions', 'sqlalchemy.sql', 'jupyterhub.spawner'}"
    said = f"import sys; print(*sorted({heavy} & set(sys.modules)))"

    assert python(PUT_OFF + IMPORTS + said).split() == []
    # Each is what stock loads, or this test would say nothing.
    assert set(python(IMPORTS + said).split()) >= {"alembic", "lark", "sqlalchemy.sql"}


@pytest.mark.parametrize("code", [LOG, FORMATS, SCOPES], ids=["log", "formats", "scopes"])
def test_what_it_says_is_what_stock_says(code: str) -> None:
    ours = python(PUT_OFF + IMPORTS + code)

    assert ours == python(IMPORTS + code)
    assert ours.count("\n") > 8


def test_no_secret_is_in_a_log() -> None:
    said = python(PUT_OFF + IMPORTS + LOG)

    assert "s3cret" not in said
    assert "200 GET /lab?token=[secret]&a=b&_xsrf=[secret] (alice@10.0.0.1) 500.00ms" in said


def test_whoever_asks_for_the_database_has_it() -> None:
    use = (
        "import jupyterhub.utils as utils; from jupyterhub import orm\n"
        "db = orm.new_session_factory('sqlite:///:memory:')()\n"
        "db.add(orm.User(name='alice')); db.commit()\n"
        "from sqlalchemy.exc import SQLAlchemyError\n"
        "from jupyterhub.handlers.pages import HealthCheckHandler\n"
        "import jupyterhub.log as log\n"
        "print([it.name for it in db.query(orm.User)], utils.SQLAlchemyError is SQLAlchemyError,\n"
        "      log.HealthCheckHandler is HealthCheckHandler)\n"
    )

    assert python(PUT_OFF + IMPORTS + use) == "['alice'] True True\n"


# The command.


class Server:
    """JupyterHub's application, as far as `main` knows it."""

    did: ClassVar[list[str]] = []

    @classmethod
    def initialize_server(cls, argv: list[str]) -> str:
        cls.did.append(f"initialized with {argv}, collecting: {gc.isenabled()}")
        if "broken" in argv:
            raise SystemExit(1)
        return "server"

    @classmethod
    def launch_instance(cls) -> None:
        cls.did.append(f"started {cls.initialize_server(argv=sys.argv[1:])}")
        cls.did.append(f"collecting: {gc.isenabled()}")


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a server did that is started by `main`."""
    did: list[str] = []
    monkeypatch.setattr(Server, "did", did)
    monkeypatch.setattr(Server, "initialize_server", Server.initialize_server)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "argv", ["kfspawner-singleuser", "--debug"])
    hub = SimpleNamespace(main=Server.launch_instance)
    monkeypatch.setitem(sys.modules, "jupyterhub.singleuser", hub)
    yield did
    gc.enable()
    gc.unfreeze()


def test_garbage_is_collected_once_the_server_is_there(did: list[str]) -> None:
    start.main()

    assert did == [
        "initialized with ['--debug'], collecting: False",
        "started server",
        "collecting: True",
    ]


def test_garbage_is_collected_however_the_start_ends(
    did: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["kfspawner-singleuser", "broken"])

    with pytest.raises(SystemExit):
        start.main()
    assert gc.isenabled()


def test_another_application_collects_from_its_beginning(
    did: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SimpleNamespace(main=lambda: did.append(f"other, collecting: {gc.isenabled()}"))
    monkeypatch.setitem(sys.modules, "jupyterhub.singleuser", other)

    start.main()
    assert did == ["other, collecting: True"]


@pytest.mark.parametrize(
    ("installed", "runs"),
    [
        (("kfspawner-singleuser", "jupyterhub-singleuser"), "kfspawner-singleuser"),
        (("jupyterhub-singleuser",), "jupyterhub-singleuser"),
    ],
    ids=["our image", "an image of their own"],
)
async def test_every_image_starts_by_what_it_has(
    hub: FakeHub, tmp_path: Path, installed: tuple[str, ...], runs: str
) -> None:
    for name in installed:
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
    pod = await pod_of(hub.make_spawner(args=["--debug", "--name=a b"]))
    (container,) = pod["spec"]["containers"]
    shell, *rest = container["args"]

    assert shell == "sh"
    env = {"PATH": f"{tmp_path}{os.pathsep}/usr/bin:/bin"}
    run = await asyncio.create_subprocess_exec("/bin/sh", *rest, stdout=subprocess.PIPE, env=env)
    said, _ = await run.communicate()
    assert said.decode() == f"{runs} --debug --name=a b\n"


async def test_a_command_of_the_administrators_is_taken_as_it_is(hub: FakeHub) -> None:
    pod = await pod_of(hub.make_spawner(cmd=["start-my-own"]))

    assert pod["spec"]["containers"][0]["args"] == ["start-my-own"]
