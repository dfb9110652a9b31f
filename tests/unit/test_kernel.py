"""%kf in a real kernel: what a front end receives, and what the stop button does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[2]
PATIENCE = 60

# Runs that need no cluster, behind the magic that `%load_ext kfspawner` registers.
PREPARE = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
%load_ext kfspawner
from kfspawner.notebook import runs
from tests.fakes.training import FakeRun, FakeRuns, make_status
fake = FakeRuns()
runs.RUNS.start = fake.start
runs.RUNS.attach = fake.attach
runs.RUNS.list = fake.list
"""


@dataclass
class Reply:
    """What came of one cell."""

    status: str
    outputs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(each["text"] for each in self.outputs if "text" in each)

    @property
    def error(self) -> dict[str, Any]:
        return next(each for each in self.outputs if "traceback" in each)


class Kernel:
    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.interrupt = manager.interrupt_kernel
        self._client = client

    def run(self, code: str, on_text: Callable[[str], None] = lambda _: None) -> Reply:
        message = self._client.execute(code)
        outputs = []
        try:
            while True:
                got = self._client.get_iopub_msg(timeout=PATIENCE)
                if got["parent_header"].get("msg_id") != message:
                    continue
                kind, content = got["msg_type"], got["content"]
                if kind in {"stream", "error", "display_data", "execute_result"}:
                    outputs.append(content)
                    on_text(content.get("text", ""))
                if kind == "status" and content["execution_state"] == "idle":
                    break
        except Empty:
            pytest.fail(f"the kernel is silent after {outputs}")
        # What was asked to see whether it is up may still be answered.
        while (reply := self._client.get_shell_msg(timeout=PATIENCE))["parent_header"][
            "msg_id"
        ] != message:
            continue
        return Reply(reply["content"]["status"], outputs)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    manager = KernelManager()
    manager.start_kernel(cwd=str(ROOT))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        made = Kernel(manager, client)
        assert made.run(PREPARE).status == "ok"
        yield made
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_succeeded_run_is_plain_lines(kernel: Kernel) -> None:
    kernel.run("fake.next = FakeRun([make_status()], ['epoch=1 accuracy=0.9'])")
    reply = kernel.run("%%kf run --name digits\nprint(1)")
    assert reply.status == "ok"
    lines = reply.text.splitlines()
    assert lines[0].startswith("packaged in 0.3 s: registry.example/kf-alice/runs@sha256:abcdef")
    assert lines[1:] == [
        "run digits-x7k2p created; outputs in ~/runs/digits-x7k2p/",
        "epoch=1 accuracy=0.9",
        "run digits-x7k2p Succeeded in 12.0 s",
    ]


def test_failed_run_is_an_error_of_one_paragraph(kernel: Kernel) -> None:
    kernel.run("fake.next = FakeRun([make_status(state='Failed', reason='exit code 1')], ['boom'])")
    reply = kernel.run("%%kf run\nprint(1)")
    assert reply.status == "error"
    said = (
        "run digits-x7k2p Failed: exit code 1; it ran for 12.0 s, its log is above, "
        "%kf status digits-x7k2p shows the rest"
    )
    assert reply.error == {"ename": "RunFailed", "evalue": said, "traceback": [said]}
    assert reply.text.endswith("boom\n")


def test_mistake_is_an_error_of_one_paragraph(kernel: Kernel) -> None:
    reply = kernel.run("%%kf run --gpu many\nprint(1)")
    said = "reading --gpu 'many': a run takes whole GPUs; give a number such as 1"
    assert reply.status == "error"
    assert reply.outputs == [{"ename": "OptionRefused", "evalue": said, "traceback": [said]}]


def test_stop_button_detaches(kernel: Kernel) -> None:
    kernel.run(
        "fake.next = FakeRun([make_status(state='Running')], ['first'] + ['more'] * 600,"
        " before_line=lambda: time.sleep(0.1))"
    )
    pressed: list[str] = []

    def press(text: str) -> None:
        if "first" in text and not pressed:
            pressed.append(text)
            kernel.interrupt()

    reply = kernel.run("%%kf run\nprint(1)", press)
    assert pressed
    assert reply.status == "ok"
    assert reply.text.splitlines()[-1] == (
        "detached from digits-x7k2p; it goes on. %kf logs -f digits-x7k2p to re-attach, "
        "%kf stop digits-x7k2p to stop it."
    )
    assert kernel.run("print(fake.known['digits-x7k2p'].calls)").text == "['logs follow=True']\n"


def test_list_is_text_and_html(kernel: Kernel) -> None:
    kernel.run("fake.known = {'a': FakeRun([make_status('a')])}")
    reply = kernel.run("%kf ls")
    assert reply.status == "ok"
    [shown] = reply.outputs
    assert set(shown["data"]) == {"text/plain", "text/html"}
    assert "Succeeded" in shown["data"]["text/plain"]


def test_clients_log_nothing_into_the_cell(kernel: Kernel) -> None:
    # httpx logs each URL that it asks, at INFO: no notebook shows that by itself.
    reply = kernel.run(
        "import logging, httpx\n"
        "logging.getLogger('httpx').info('HTTP Request: GET http://registry.example')"
    )
    assert (reply.status, reply.outputs) == ("ok", [])
