"""``python -m deploy.demo``: the main job, done as a person would do it.

Signs in as alice, starts a CPU server, executes the example notebook in her
kernel, and believes nothing: accuracy comes from the run's log, its state and
image from the Job in the cluster.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubernetes import client, config

from deploy.errors import DeployError
from deploy.kernel import Execution, Output
from deploy.person import Person
from deploy.steps import Steps
from kfspawner.names import namespace_name

USER = "alice"
NOTEBOOK = "examples/digits.ipynb"

_RUN_LABEL = "kfspawner.io/run"
_ACCURACY = re.compile(r"accuracy=(\d+(?:\.\d+)?)")
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_CELL_SECONDS = 600
_SETTLE_SECONDS = 30
_UNFINISHED = "not finished"


@dataclass(frozen=True)
class Settings:
    """What `make env` exports."""

    hub_url: str
    password: str

    @classmethod
    def from_env(cls) -> Settings:
        """Return the settings of the environment; DeployError names what is missing."""
        names = ("KFSPAWNER_HUB_URL", "KFSPAWNER_PASSWORD", "KUBECONFIG")
        missing = [name for name in names if not os.environ.get(name)]
        if missing:
            raise DeployError(
                "starting the demonstration",
                f"{', '.join(missing)} not in the environment",
                'use `make demo`, or `eval "$(make --silent env)"` first',
            )
        return cls(os.environ["KFSPAWNER_HUB_URL"], os.environ["KFSPAWNER_PASSWORD"])


@dataclass(frozen=True)
class Run:
    """A run as the cluster knows it."""

    name: str
    state: str
    image: str


class Lines:
    """Say text line by line, however it arrives."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._rest = ""

    def feed(self, output: Output) -> None:
        """Say the whole lines of `output`; a display is always whole."""
        whole = output.text if output.kind == "stream" else f"{output.text}\n"
        *lines, self._rest = (self._rest + whole).split("\n")
        for line in lines:
            if line.strip():
                self._say(line)

    def flush(self) -> None:
        """Say what is left without its line's end."""
        if self._rest.strip():
            self._say(self._rest)
        self._rest = ""


def demonstrate(settings: Settings, steps: Steps) -> str:
    """Do the whole job and return the line that sums it up.

    Raises
    ------
    DeployError
        If anything is not as it should be.
    """
    with Person(settings.hub_url, USER) as alice:
        with steps.step(f"{USER} signs in"):
            alice.sign_in(settings.password)
        if alice.running():
            with steps.step("her server of the last time stops"):
                alice.stop()
        with steps.step("she chooses a CPU server, and it starts"):
            alice.send_form({"image_profile": "cpu"})
            alice.wait_ready(lambda event: steps.say(event.message))
        before = {run.name for run in _runs()}
        execution, seconds = _execute_notebook(alice, steps)
        with steps.step("the cluster is asked how the run ended"):
            run = _new_run(before)
            outputs = alice.listing(f"runs/{run.name}")
            steps.say(f"~/runs/{run.name}: {', '.join(sorted(outputs)) or 'empty'}")
    accuracy = _ACCURACY.findall(execution.text)
    _expect(run.state == "Succeeded", f"the run {run.name} is {run.state} in the cluster")
    _expect(bool(accuracy), f"no accuracy in the log of the run {run.name}")
    _expect(bool(_DIGEST.fullmatch(run.image)), f"the run's image {run.image} has no digest")
    _expect(bool(outputs), f"the run {run.name} left nothing in ~/runs/{run.name}")
    return (
        f"demo: run {run.name} {run.state} accuracy={accuracy[-1]} "
        f"image={run.image} in {seconds:.1f} s"
    )


def _execute_notebook(alice: Person, steps: Steps) -> tuple[Execution, float]:
    """Execute every cell; return what came of the one that was a run, and how long it took."""
    with steps.step(f"she opens ~/{NOTEBOOK}"):
        cells = alice.cells(NOTEBOOK)
        kernel = alice.kernel(NOTEBOOK)
    submitted = None
    with kernel:
        for number, code in enumerate(cells, start=1):
            lines = Lines(steps.say)
            begun = time.monotonic()
            title = f"cell {number} of {len(cells)}: {code.strip().splitlines()[0][:60]}"
            with steps.step(title):
                execution = kernel.execute(code, lines.feed, _CELL_SECONDS)
                lines.flush()
            _expect(not execution.error, f"cell {number} ended in {execution.error}")
            if code.lstrip().startswith("%%kf"):
                submitted = execution, time.monotonic() - begun
    if submitted is None:
        raise _unexpected("no cell of it is a run")
    return submitted


def _new_run(before: set[str]) -> Run:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        new = [run for run in _runs() if run.name not in before]
        if len(new) != 1:
            names = ", ".join(run.name for run in new) or "none"
            raise _unexpected(f"one new run was expected in the cluster, and there are: {names}")
        # A Job is said to be finished a moment after its pod has ended.
        if new[0].state != _UNFINISHED or time.monotonic() > deadline:
            return new[0]
        time.sleep(0.2)


def _runs() -> list[Run]:
    """Return the runs in the person's namespace, from their Jobs."""
    found = client.BatchV1Api().list_namespaced_job(namespace_name(USER), label_selector=_RUN_LABEL)
    return [
        Run(
            job.metadata.labels[_RUN_LABEL],
            _state(job),
            job.spec.template.spec.containers[0].image,
        )
        for job in found.items
    ]


def _state(job: Any) -> str:
    true = {it.type for it in job.status.conditions or () if it.status == "True"}
    if "Complete" in true:
        return "Succeeded"
    return "Failed" if "Failed" in true else _UNFINISHED


def _expect(condition: object, otherwise: str) -> None:
    if not condition:
        raise _unexpected(otherwise)


def _unexpected(cause: str) -> DeployError:
    return DeployError(
        f"demonstrating ~/{NOTEBOOK}", cause, "the lines above say more; so does `make status`"
    )


def main() -> int:
    """Demonstrate; return the exit status."""
    settings = Settings.from_env()
    config.load_kube_config()
    summary = demonstrate(settings, Steps())
    print(f"\nhub: {settings.hub_url}")
    print(f"sign in: {USER}, password {settings.password}")
    print(summary)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DeployError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; the server runs on, and so does a run that was submitted")
