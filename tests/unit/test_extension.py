"""The server extension in a real Jupyter Server: who may ask what, and what counts as use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from deploy.kernel import close_websocket
from kfspawner.context import KEY_HEADER, KEY_VARIABLE
from kfspawner.notebook.use import LONGEST, Use, at_work, last_use
from tests.fakes.starts import free_port

TOKEN, KEY = "of-the-person", "of-the-server"
EXTENSION = '{"kfspawner.notebook.extension": true}'


def wait(what: str, condition: Any, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server tells how its kernels are reached."""
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Iterator[httpx.Client]:
    """A client of a Jupyter Server that has the extension and a key."""
    home = tmp_path_factory.mktemp("home")
    port = free_port()
    config = home / "config"
    config.mkdir()
    (config / "jupyter_server_config.json").write_text(
        f'{{"ServerApp": {{"jpserver_extensions": {EXTENSION}}}}}'
    )
    environ = {
        **os.environ,
        KEY_VARIABLE: KEY,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "SHELL": "/bin/sh",
    }
    command = (
        *(sys.executable, "-m", "jupyter_server", f"--port={port}", "--no-browser"),
        *(f"--IdentityProvider.token={TOKEN}", "--allow-root", f"--ServerApp.root_dir={home}"),
        # As JupyterHub has it: what is not let in by name is let in by nobody's absence.
        "--ServerApp.allow_unauthenticated_access=False",
    )
    log = home / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait("it answers", lambda: client.get("/api").status_code)
            yield client
    finally:
        process.terminate()
        process.wait(30)
        print(log.read_text())


def idle(server: httpx.Client, method: str = "GET", key: str = KEY, **more: Any) -> httpx.Response:
    """Ask as the hub's service."""
    return server.request(method, "/kfspawner/idle", headers={KEY_HEADER: key}, **more)


def person(server: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response:
    """Ask as the person."""
    return server.request(method, path, headers={"Authorization": f"token {TOKEN}"}, **more)


def notice(server: httpx.Client) -> str:
    return str(person(server, "GET", "/kfspawner/notice").json()["text"])


def last(server: httpx.Client) -> datetime:
    return datetime.fromisoformat(idle(server).json()["last_activity"])


def test_only_whoever_has_the_key_is_told(server: httpx.Client) -> None:
    for key in ("", "wrong", TOKEN):
        assert idle(server, key=key).status_code == 403
        assert idle(server, "PUT", key, json={"text": "evil"}).status_code == 403
    assert person(server, "GET", "/kfspawner/idle").status_code == 403
    assert server.get("/kfspawner/notice").status_code == 403
    assert server.post("/kfspawner/notice").status_code == 403
    # And the key is no way to anything else.
    for path in ("/api/contents", "/kfspawner/notice"):
        assert server.get(path, headers={KEY_HEADER: KEY}).status_code == 403
    assert notice(server) == ""


def test_a_notice_is_shown_until_the_person_is_there(server: httpx.Client) -> None:
    before = last(server)
    assert idle(server, "PUT", json={"text": "It is stopped"}).status_code == 204
    assert notice(server) == "It is stopped"
    assert last(server) == before

    assert person(server, "POST", "/kfspawner/notice").json() == {"text": ""}

    assert notice(server) == ""
    assert last(server) > before


def test_a_notice_is_taken_back(server: httpx.Client) -> None:
    idle(server, "PUT", json={"text": "It is stopped"})
    assert idle(server, "PUT", json={"text": ""}).status_code == 204
    assert notice(server) == ""


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"text": 1}', b'{"text": "' + b"x" * (LONGEST + 1) + b'"}']
)
def test_what_is_no_notice_is_refused(server: httpx.Client, body: bytes) -> None:
    assert idle(server, "PUT", content=body).status_code == 400
    assert notice(server) == ""


def test_looking_is_no_use_and_neither_is_an_open_window(server: httpx.Client) -> None:
    before = last(server)

    for path in ("/kfspawner/notice", "/api/kernels", "/api/sessions", "/api/contents"):
        assert person(server, "GET", path).status_code == 200

    assert last(server) == before


def test_a_kernel_at_work_is_use(server: httpx.Client, runtime: Path) -> None:
    before = last(server)
    kernel = person(server, "POST", "/api/kernels", json={"name": "python3"}).json()["id"]
    client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        client.execute("import time; time.sleep(600)")
        wait("it is busy", lambda: idle(server).json()["busy"] == "a kernel is at work")
        assert last(server) > before
    finally:
        client.stop_channels()
        person(server, "DELETE", f"/api/kernels/{kernel}")
    assert idle(server).json()["busy"] == ""


async def test_a_job_of_a_terminal_is_use_and_does_not_know_the_key(server: httpx.Client) -> None:
    name = person(server, "POST", "/api/terminals").json()["name"]
    url = f"ws{str(server.base_url)[4:]}/terminals/websocket/{name}"
    request = HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"})
    terminal = await websocket_connect(request)
    try:
        assert idle(server).json()["busy"] == ""
        line = f"sleep 600 & echo key=[${KEY_VARIABLE}]\r"
        await terminal.write_message(json.dumps(["stdin", line]))
        said = ""
        while "key=[]" not in said:
            what, *text = json.loads(str(await terminal.read_message()))
            said += "".join(map(str, text)) if what == "stdout" else ""
        assert KEY not in said
        assert idle(server).json()["busy"] == "a job of a terminal is at work"
    finally:
        await close_websocket(terminal)
        person(server, "DELETE", f"/api/terminals/{name}")
    assert idle(server).json()["busy"] == ""


START = datetime(2026, 11, 25, 12, tzinfo=UTC)


def moment(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.mark.parametrize("latest", ["used", "started", "kernel", "terminal", "other"])
def test_the_last_use_is_the_latest(latest: str) -> None:
    at = {name: moment(0) for name in ("used", "started", "kernel", "terminal", "other")}
    at[latest] = moment(1)
    settings = {
        "started": at["started"],
        "kernel_manager": SimpleNamespace(last_kernel_activity=at["kernel"]),
        "terminal_last_activity": at["terminal"],
        "last_activity_times": {"an extension": at["other"]},
        # What an open window asks for.
        "api_last_activity": moment(60),
    }

    assert last_use(Use(at["used"]), settings) == moment(1)


def test_who_is_there_needs_no_notice() -> None:
    use = Use(moment(0), "It is stopped")
    use.take(moment(1))
    assert use == Use(moment(1), "")


def test_what_is_at_work(tmp_path: Path) -> None:
    for pid, name, parent in ((10, "bash", 1), (11, "train.py", 10), (12, "odd) S 99", 10)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 0 0")
    (tmp_path / "13").mkdir()
    (tmp_path / "self").mkdir()
    still = [{"execution_state": "idle"}, {"execution_state": "starting"}, {}]

    assert at_work(still, [], tmp_path) == ""
    assert at_work(still, [11, 99], tmp_path) == ""
    assert at_work(still, [11, 10], tmp_path) == "a job of a terminal is at work"
    assert at_work([*still, {"execution_state": "busy"}], [], tmp_path) == "a kernel is at work"
