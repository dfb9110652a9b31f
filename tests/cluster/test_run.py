"""Cells and scripts that become runs, and what one does with them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from deploy.kernel import Kernel, Output
from deploy.person import Person
from kfspawner.labels import RUN_LABEL
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, Object, until

# Little enough that it finds a place beside whatever else runs on a small node.
SMALL = "--cpu 200m --memory 256Mi"


@pytest.fixture(scope="module")
def kernel(person: Person) -> Iterator[Kernel]:
    """One notebook's kernel for the whole module."""
    with person.kernel() as connected:
        yield connected


@pytest.fixture(scope="module")
def namespace(person: Person) -> str:
    """Where the person's runs are."""
    return namespace_name(person.name)


def job_of(cluster: Cluster, namespace: str, name: str) -> Object:
    """Return the Job of the run `name`."""
    (job,) = [it for it in cluster.jobs(namespace) if it["metadata"]["labels"][RUN_LABEL] == name]
    return job


def conditions(job: Object) -> set[str]:
    """Return the conditions of a Job that hold."""
    found = job["status"].get("conditions", ())
    return {str(it["type"]) for it in found if it["status"] == "True"}


def test_a_cell_becomes_a_run(
    kernel: Kernel, person: Person, cluster: Cluster, namespace: str
) -> None:
    earlier = "factor = 21\ndef twice(x):\n    return 2 * x\nclass Unused:\n    pass"
    assert not kernel.execute(earlier).error
    cell = f"""%%kf run --name first {SMALL} --env GREETING=hello
import os, pathlib, time
for number in range(4):
    print(f"line {{number}}")
    time.sleep(1)
said = f"{{twice(factor)}} {{os.getuid()}} {{os.getgid()}} {{os.environ['GREETING']}}"
pathlib.Path("/outputs/result.txt").write_text(said)
"""
    seen: list[tuple[float, str]] = []

    def note(output: Output) -> None:
        seen.extend((time.monotonic(), line) for line in output.text.splitlines())

    execution = kernel.execute(cell, note)
    assert not execution.error, execution.text
    lines = [line for _, line in seen]
    assert [line for line in lines if line.startswith("line ")] == [f"line {n}" for n in range(4)]
    assert re.fullmatch(r"run first Succeeded in \d+\.\d s", lines[-1])

    # They came while it ran, not when it had ended.
    moments = {line: moment for moment, line in seen}
    assert moments["line 3"] - moments["line 0"] > 2

    assert person.read("runs/first/result.txt") == "42 1000 100 hello"
    job = job_of(cluster, namespace, "first")
    assert "Complete" in until(
        lambda: conditions(job_of(cluster, namespace, "first")), "the Job has ended"
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert re.fullmatch(rf"\S+/{namespace}/runs@sha256:[0-9a-f]{{64}}", container["image"])
    assert f": {container['image']}" in execution.text
    (pod,) = cluster.pods(namespace, f"{RUN_LABEL}=first")
    (status,) = pod["status"]["containerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 0
    assert status["imageID"].endswith(container["image"].partition("@")[2])
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000
    assert job["spec"]["backoffLimit"] == 0


def test_the_image_is_the_servers_own_and_one_layer(
    cluster: Cluster, namespace: str, kernel: Kernel, person: Person
) -> None:
    execution = kernel.execute(f"%%kf run --name layer {SMALL}\nimport sys; print(sys.prefix)")
    assert "/opt/venv" in execution.text
    (container,) = job_of(cluster, namespace, "layer")["spec"]["template"]["spec"]["containers"]
    code = (
        "from kfspawner.context import ServerContext\n"
        "from kfspawner.packaging import Reference\n"
        "from kfspawner.packaging.registry import Registry\n"
        "context = ServerContext.from_env()\n"
        "base, run = map(Reference.parse, (context.image, "
        f"{container['image']!r}))\n"
        "with Registry(run.registry, plain_http=context.registry_plain_http) as registry:\n"
        "    below, above = registry.resolve(base).layers, registry.resolve(run).layers\n"
        "print(above[:-1] == below, len(above) - len(below), above[-1].size < 50_000)"
    )
    assert kernel.execute(code).text == "True 1 True\n"


def test_what_was_installed_goes_along_and_is_sent_once(
    cluster: Cluster, namespace: str, kernel: Kernel
) -> None:
    install = """import subprocess, sys, zipfile
with zipfile.ZipFile("/tmp/extra-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("extra.py", "answer = 42")
    about = "extra-1.dist-info"
    wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: extra\\nVersion: 1\\n")
    purely = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    wheel.writestr(f"{about}/WHEEL", purely)
    wheel.writestr(f"{about}/RECORD", "")
pip = [sys.executable, "-m", "pip"]
subprocess.run([*pip, "install", "-q", "--no-index", wheel.filename], check=True)
"""
    assert not kernel.execute(install).error
    try:
        cell = "import extra; print(extra.answer, extra.__file__.startswith('/opt/venv/'))"
        for name in ("with-extra", "with-extra-again"):
            execution = kernel.execute(f"%%kf run --name {name} {SMALL}\n{cell}")
            assert "42 True" in execution.text
    finally:
        remove = "subprocess.run([*pip, 'uninstall', '-qy', 'extra'], check=True)"
        assert not kernel.execute(remove).error
    images = [
        job_of(cluster, namespace, name)["spec"]["template"]["spec"]["containers"][0]["image"]
        for name in ("with-extra", "with-extra-again")
    ]
    code = (
        "from kfspawner.context import ServerContext\n"
        "from kfspawner.packaging import Reference\n"
        "from kfspawner.packaging.registry import Registry\n"
        "plain = ServerContext.from_env().registry_plain_http\n"
        f"one, other = map(Reference.parse, {images!r})\n"
        "with Registry(one.registry, plain_http=plain) as registry:\n"
        "    print(registry.resolve(one).layers[:-1] == registry.resolve(other).layers[:-1])"
    )
    assert kernel.execute(code).text == "True\n"


def test_a_failing_cell_fails(
    kernel: Kernel, person: Person, cluster: Cluster, namespace: str
) -> None:
    cell = f"""%%kf run --name failing {SMALL}
print("about to fail")
raise ValueError("no such colour")
"""
    execution = kernel.execute(cell)
    assert execution.error == "RunFailed"
    assert "about to fail\n" in execution.text
    assert "ValueError: no such colour" in execution.text
    last = execution.outputs[-1]
    assert last.kind == "error"
    assert last.text.startswith("run failing Failed: exit code 1")
    assert "%kf status failing" in last.text
    assert "\n" not in last.text
    assert "Failed" in until(
        lambda: conditions(job_of(cluster, namespace, "failing")), "the Job has ended"
    )

    details = kernel.execute("%kf status failing").text
    assert re.search(r"state +Failed", details)
    assert re.search(r"exit code +1", details)
    # The log can be read again, with what came last.
    again = kernel.execute("%kf logs failing").text
    assert again.splitlines()[0] == "about to fail"
    assert again.splitlines()[-1] == "ValueError: no such colour"


def test_the_exit_code_is_the_runs(kernel: Kernel) -> None:
    execution = kernel.execute(f"%%kf run --name seven {SMALL}\nimport sys; sys.exit(7)")
    assert execution.error == "RunFailed"
    assert "run seven Failed: exit code 7" in execution.text


def test_an_interrupt_detaches_and_the_run_goes_on(
    kernel: Kernel, cluster: Cluster, namespace: str
) -> None:
    cell = f"""%%kf run --name long {SMALL}
import time
for number in range(12):
    print(f"tick {{number}}")
    time.sleep(0.5)
"""

    def interrupt(output: Output) -> None:
        if "tick 2" in output.text:
            kernel.interrupt()

    execution = kernel.execute(cell, interrupt)
    assert not execution.error, execution.text
    assert "detached from long; it goes on. %kf logs -f long to re-attach" in execution.text
    assert "tick 11" not in execution.text
    assert not conditions(job_of(cluster, namespace, "long"))

    again = kernel.execute("%kf logs -f long")
    assert not again.error
    ticks = [line for line in again.text.splitlines() if line.startswith("tick")]
    assert ticks == [f"tick {number}" for number in range(12)]
    assert "run long Succeeded" in again.text


def test_detach_list_stop_and_remove(
    kernel: Kernel, person: Person, cluster: Cluster, namespace: str
) -> None:
    cell = f"""%%kf run --name idle --detach {SMALL}
import pathlib, time
pathlib.Path("/outputs/begun").touch()
time.sleep(600)
"""
    execution = kernel.execute(cell)
    assert not execution.error, execution.text
    assert "%kf logs -f idle to attach" in execution.text
    until(lambda: "begun" in person.listing("runs/idle"), "the run has begun")
    # The node tells the API server a moment after the fact.
    until(lambda: re.search(r"\bidle +Running\b", kernel.execute("%kf ls").text), "it is listed")
    refused = kernel.execute("%kf rm idle")
    assert refused.error == "RunError"
    assert "removing run idle: it is Running; %kf stop idle first" in refused.text

    # Without a name, the last run of this kernel is meant.
    assert kernel.execute("%kf stop").text == "run idle stopped\n"
    pods = f"{RUN_LABEL}=idle"
    until(lambda: not cluster.pods(namespace, pods), "the run's pod is gone", 60)
    assert re.search(r"\bidle +Stopped\b", kernel.execute("%kf ls").text)

    assert "run idle deleted; its outputs stay in" in kernel.execute("%kf rm").text
    names = {job["metadata"]["name"] for job in cluster.jobs(namespace)}
    assert "idle" not in names
    assert person.listing("runs/idle") == {"begun"}
    gone = kernel.execute("%kf status idle")
    assert gone.error == "ObjectMissing"
    assert "Traceback" not in gone.text


def test_a_script_with_arguments_and_a_module_beside_it(kernel: Kernel, person: Person) -> None:
    person.write("shared.py", "def describe(words):\n    return ' '.join(reversed(words))\n")
    script = "import sys\nfrom shared import describe\nprint(describe(sys.argv[1:]))\n"
    person.write("train.py", script)
    execution = kernel.execute(f"%kf run --name scripted {SMALL} train.py --lr 0.1 'a b'")
    assert not execution.error, execution.text
    assert "a b 0.1 --lr\n" in execution.text
    assert "run scripted Succeeded" in execution.text


def test_the_python_twin(kernel: Kernel) -> None:
    code = """import kfspawner
base = 3
run = kfspawner.run(code="print(base ** 2)", name="twin", cpu="200m", memory="256Mi")
print(list(run.logs(follow=True)))
status = run.wait(60)
print(status.state, status.exit_code, run.name)
"""
    execution = kernel.execute(code)
    assert not execution.error, execution.text
    assert execution.text == "['9']\nSucceeded 0 twin\n"
