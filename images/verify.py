"""Proves, inside an image, what the image says of itself.

It reads ``/opt/kfspawner/image.json`` and ends with status 1 and one line at
the first claim that does not hold. It runs as the last step of each build, and
in a pod of each image.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

_ABOUT = Path("/opt/kfspawner/image.json")
_TIMEOUT_SECONDS = 120
# A framework's name in the claims, and the distributions that bring it.
_DISTRIBUTIONS = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "torch": ("torch",)}


class Untrue(Exception):
    """A claim does not hold."""


def _say(command: list[str]) -> str:
    """Return what `command` prints; raise Untrue if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Untrue(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise Untrue(f"{' '.join(command)} ended with {done.returncode}: {' | '.join(last)}")
    return done.stdout.strip()


def _same(what: str, found: object, claimed: object) -> None:
    if found != claimed:
        raise Untrue(f"{what} is {found}, not {claimed}")


def python(_: dict[str, Any]) -> None:
    """Python 3.11 in /opt/venv, which comes first."""
    _same("Python", sys.version_info[:2], (3, 11))
    _same("the environment", sys.prefix, "/opt/venv")
    _same("the first python on PATH", shutil.which("python"), "/opt/venv/bin/python")


def user(_: dict[str, Any]) -> None:
    """Runs as jovyan, uid 1000 and gid 100, and cannot become root."""
    _same("the user", (os.getuid(), os.getgid()), (1000, 100))
    _same("the name of uid 1000", _say(["id", "--user", "--name"]), "jovyan")
    _same("the language", os.environ.get("LANG"), "C.UTF-8")
    if os.access("/etc/passwd", os.W_OK):
        raise Untrue("/etc/passwd can be written")


def init(_: dict[str, Any]) -> None:
    """An init that reaps."""
    _say(["tini", "--version"])


def packages(_: dict[str, Any]) -> None:
    """Every package has what it requires, compiled."""
    _say([sys.executable, "-m", "pip", "check"])
    for name in ("jupyterhub", "kfspawner"):
        home = Path(importlib.import_module(name).__file__ or "").parent
        if not list(home.glob("__pycache__/*.pyc")):
            raise Untrue(f"{name} is not compiled")


def hub(_: dict[str, Any]) -> None:
    """The hub, KfSpawner among its spawners, and the proxy."""
    _same("jupyterhub --version", _say(["jupyterhub", "--version"]), version("jupyterhub"))
    found = tuple(entry_points(group="jupyterhub.spawners", name="kfspawner"))
    if len(found) != 1:
        raise Untrue(f"{len(found)} spawners called kfspawner among JupyterHub's, not 1")
    _same("the spawner's class", found[0].load().__name__, "KfSpawner")
    _say(["configurable-http-proxy", "--version"])


def notebook(_: dict[str, Any]) -> None:
    """JupyterLab as a hub's server, and kernels that know %kf."""
    _say(["jupyter", "lab", "--version"])
    _say(["jupyterhub-singleuser", "--version"])
    kernels = json.loads(_say(["jupyter", "kernelspec", "list", "--json"]))["kernelspecs"]
    if "python3" not in kernels:
        raise Untrue("there is no kernel called python3")
    asked = "print(*(kind for kind in ('line', 'cell') if get_ipython().find_magic('kf', kind)))"
    said = _say(["ipython", "--no-banner", "-c", asked])
    _same("what %kf is in a new kernel", said.splitlines()[-1:], ["line cell"])


def quick(_: dict[str, Any]) -> None:
    """A server starts without the hub's database and without the grammar of addresses."""
    _same(
        "kfspawner-singleuser --version",
        _say(["kfspawner-singleuser", "--version"]),
        _say(["jupyterhub-singleuser", "--version"]),
    )
    begin = (
        "import sys; from kfspawner.singleuser import later, start; later.put_off(start.MODULES);"
        "import jupyterhub.singleuser.extension, jupyterlab.labapp;"
        "print(*{'alembic', 'lark', 'sqlalchemy.sql', 'urllib3'} & set(sys.modules))"
    )
    _same("what it loads too soon", _say([sys.executable, "-c", begin]), "")


def notices(_: dict[str, Any]) -> None:
    """The server says whether it is used, and JupyterLab shows what it is told to show."""
    said = _say(["jupyter", "server", "extension", "list"]).splitlines()
    if not any("kfspawner.notebook.extension" in line and "OK" in line for line in said):
        raise Untrue("Jupyter Server does not load kfspawner.notebook.extension")
    places = importlib.import_module("jupyter_core.paths").jupyter_path("labextensions")
    found = importlib.import_module("jupyterlab_server.config").get_federated_extensions(places)
    if "kfspawner" not in found:
        raise Untrue("JupyterLab does not load kfspawner's page")


def listed(_: dict[str, Any]) -> None:
    """What is installed is what the image says it came with, so that a run adds nothing."""
    found = importlib.import_module("kfspawner.packaging.dependencies")
    added = found.find_dependencies(found.Environment.of_this_process())
    _same("what a run would add", sorted(added.installed)[:5], [])
    if not list(found.LISTED.glob("kfspawner-*")):
        raise Untrue(f"{found.LISTED} does not name kfspawner")
    try:
        (found.LISTED / "x").touch()
    except PermissionError:
        return
    raise Untrue(f"{found.LISTED} can be written")


def start(_: dict[str, Any]) -> None:
    """The entrypoint gives a home its examples, and runs what it is given."""
    with tempfile.TemporaryDirectory() as home:
        said = _say(["env", f"HOME={home}", "/opt/kfspawner/start.sh", "echo", "started"])
        _same("what start.sh runs", said, "started")
        if not list(Path(home).glob("examples/*.ipynb")):
            raise Untrue("start.sh left a new home without examples")


def frameworks(about: dict[str, Any]) -> None:
    """The versions that the image's label names."""
    for claim in about["frameworks"].split():
        name, _, claimed = claim.partition("=")
        found = []
        for distribution in _DISTRIBUTIONS.get(name, (name,)):
            try:
                # A local part, as in 2.9.0+cpu, says where a build comes from.
                found.append(version(distribution).partition("+")[0])
            except ModuleNotFoundError:
                continue
        _same(f"the version of {name}", found, [claimed])


def scikit_learn(_: dict[str, Any]) -> None:
    """One step of scikit-learn."""
    datasets = importlib.import_module("sklearn.datasets")
    linear = importlib.import_module("sklearn.linear_model")
    images, digits = datasets.load_digits(return_X_y=True)
    model = linear.SGDClassifier(random_state=0).partial_fit(images, digits, classes=range(10))
    if model.score(images, digits) < 0.5:  # chance is 0.1
        raise Untrue("one pass of SGDClassifier over the digits learned nothing")


def tensorflow(about: dict[str, Any]) -> None:
    """One step of TensorFlow, on the build that the image claims."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    tf = importlib.import_module("tensorflow")
    _same(
        "whether TensorFlow is built with CUDA",
        tf.test.is_built_with_cuda(),
        about["accelerator"] == "cuda",
    )
    model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    before = model.get_weights()[0].copy()
    loss = model.fit(tf.ones((8, 4)), tf.ones((8, 1)), epochs=1, verbose=0).history["loss"][0]
    if not loss >= 0 or (model.get_weights()[0] == before).all():
        raise Untrue(f"one step of TensorFlow changed no weight (loss {loss})")


def torch(about: dict[str, Any]) -> None:
    """One step of PyTorch, where the image has it."""
    if "torch=" not in about["frameworks"]:
        return
    found = importlib.import_module("torch")
    layer = found.nn.Linear(4, 1)
    before = layer.weight.detach().clone()
    optimizer = found.optim.SGD(layer.parameters(), lr=0.1)
    ((layer(found.ones(8, 4)) - 1) ** 2).mean().backward()
    optimizer.step()
    if found.equal(before, layer.weight.detach()):
        raise Untrue("one step of PyTorch changed no weight")


_EVERY: list[Callable[[dict[str, Any]], None]] = [python, user, init, packages]
_NOTEBOOK = [
    *_EVERY,
    notebook,
    quick,
    notices,
    listed,
    start,
    frameworks,
    scikit_learn,
    tensorflow,
    torch,
]
CLAIMS = {"hub": [*_EVERY, hub], "cpu": _NOTEBOOK, "gpu": _NOTEBOOK}


def main() -> int:
    """Prove each claim of the image that this runs in."""
    about = json.loads(_ABOUT.read_text("utf-8"))
    for claim in CLAIMS[about["image"]]:
        said = (claim.__doc__ or claim.__name__).strip().rstrip(".")
        try:
            claim(about)
        except Untrue as error:
            print(f"{about['image']}: not true: {said}: {error}", file=sys.stderr)
            return 1
        except Exception as error:  # noqa: BLE001 -- whatever breaks, the claim is not proved
            print(
                f"{about['image']}: not proved: {said}: {type(error).__name__}: {error}",
                file=sys.stderr,
            )
            return 1
        print(f"{about['image']}: {said}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
