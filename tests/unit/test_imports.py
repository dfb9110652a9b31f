"""Who may import whom, as DESIGN.md says it, read from the source and not from sys.modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import kfspawner

PACKAGE = Path(__file__).parents[2] / "kfspawner"

# What each room may import of the package, besides its own files. `kfspawner`
# is the package's root itself, for its version.
LEAVES = {"kfspawner", "errors", "names", "labels", "quantity", "quota", "reference"}
ROOMS = {
    "errors": set[str](),
    "names": {"errors"},
    "labels": set[str](),
    "quantity": set[str](),
    "quota": {"errors", "labels", "quantity"},
    "reference": {"errors"},
    "context": LEAVES,
    "cluster": LEAVES | {"context"},
    "profiles": LEAVES | {"context"},
    "homes": LEAVES | {"context", "profiles"},
    "servers": LEAVES | {"context", "profiles", "homes"},
    "packaging": LEAVES,
    "training": LEAVES | {"context", "cluster", "packaging"},
    "notebook": LEAVES | {"context", "cluster", "packaging", "training"},
    "singleuser": set[str](),
    "hub": LEAVES | {"context", "profiles"},
    "cli": LEAVES | {"context", "cluster", "profiles", "homes", "servers", "training", "hub"},
}
HUB_SIDE = {"profiles", "homes", "servers", "hub"}
NOTEBOOK_SIDE = {"cluster", "packaging", "training", "notebook"}
# Installed for one side only: the other never names them.
HUB_ONLY = {"jupyterhub", "kubespawner", "kubernetes_asyncio", "oauthenticator", "jinja2", "kopf"}
NOTEBOOK_ONLY = {"IPython", "cloudpickle", "httpx", "kubernetes", "ipykernel", "pathspec"}
# The front: lazily, it gives what the notebook side offers.
FRONT = Path("__init__.py")


@dataclass(frozen=True)
class Import:
    """One imported module, and whether importing the file imports it."""

    module: str
    line: int
    at_once: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports(source: str, package: tuple[str, ...]) -> Iterator[Import]:
    """Yield what `source`, a module of `package`, imports anywhere in it."""
    tree = ast.parse(source)
    later = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types(node):
            later.update(id(inner) for inner in ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = _from(node, package)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # importlib is no way around.
            found = [node.value] if node.value.startswith("kfspawner.") else []
            found = [name for name in found if name.replace(".", "").isidentifier()]
        else:
            continue
        at_once = id(node) not in later and not isinstance(node, ast.Constant)
        yield from (Import(name, getattr(node, "lineno", 0), at_once) for name in found)


def _from(node: ast.ImportFrom, package: tuple[str, ...]) -> list[str]:
    base = node.module or ""
    if node.level:
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
    # `from kfspawner import errors` names a room, `from kfspawner import run` does not.
    if base == "kfspawner":
        return [f"kfspawner.{alias.name}" if alias.name in ROOMS else base for alias in node.names]
    return [base]


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def violations(folder: Path) -> list[str]:
    """Return every import in `folder` that crosses a line, as ``file:line: …``."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        package = ("kfspawner", *inside.parts[:-1])
        for item in imports(path.read_text(), package):
            fault = _front_fault(item) if inside == FRONT else _fault(_room(inside), item)
            if fault:
                found.append(f"{inside.as_posix()}:{item.line}: {fault}")
    return found


def _room(inside: Path) -> str:
    return inside.parts[0].removesuffix(".py")


def _front_fault(item: Import) -> str:
    if item.at_once and item.top not in sys.stdlib_module_names:
        return f"importing kfspawner imports {item.module}"
    return ""


def _fault(room: str, item: Import) -> str:
    if room not in ROOMS:
        return f"{room} is no room of DESIGN.md"
    if item.top == "kfspawner":
        parts = item.module.split(".")
        wanted = parts[1] if len(parts) > 1 else "kfspawner"
        return "" if wanted == room or wanted in ROOMS[room] else f"{room} imports {wanted}"
    forbidden = {
        "not of the standard library": room in (LEAVES | {"singleuser"}) - {"kfspawner"}
        and item.top not in sys.stdlib_module_names,
        "which a hub does not have": room not in NOTEBOOK_SIDE | {"cli"}
        and item.top in NOTEBOOK_ONLY,
        "which a notebook does not have": room not in HUB_SIDE | {"cli"} and item.top in HUB_ONLY,
        "and knows no Kubernetes": room == "packaging" and item.top == "kubernetes",
    }
    return next((f"{room} imports {item.top}, {why}" for why, hit in forbidden.items() if hit), "")


def test_package_keeps_to_the_lines() -> None:
    assert violations(PACKAGE) == []


def test_every_file_is_read() -> None:
    rooms = {_room(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert {"errors", "servers", "packaging", "training", "notebook"} <= rooms


@pytest.mark.parametrize(
    ("file", "code", "expected"),
    [
        ("servers/a.py", "import kfspawner.training.run", "servers imports training"),
        ("servers/a.py", "from ..packaging import package", "servers imports packaging"),
        ("servers/a.py", "def f():\n  from kfspawner import notebook", "servers imports notebook"),
        ("servers/a.py", "import_module('kfspawner.cluster')", "servers imports cluster"),
        ("profiles/a.py", "from kfspawner.homes.home import Home", "profiles imports homes"),
        ("packaging/a.py", "from kfspawner import context", "packaging imports context"),
        ("packaging/a.py", "import kubernetes.client", "and knows no Kubernetes"),
        ("training/a.py", "from kfspawner.notebook import display", "training imports notebook"),
        ("training/a.py", "import kfspawner.cli", "training imports cli"),
        ("notebook/a.py", "from kfspawner.servers.spawner import KfSpawner", "imports servers"),
        ("notebook/a.py", "import jupyterhub.utils", "notebook imports jupyterhub"),
        ("training/a.py", "from kubespawner import KubeSpawner", "training imports kubespawner"),
        ("servers/a.py", "import cloudpickle", "servers imports cloudpickle"),
        ("homes/a.py", "from IPython import get_ipython", "homes imports IPython"),
        ("servers/a.py", "if x:\n  import httpx", "servers imports httpx"),
        ("servers/a.py", "import kubernetes", "servers imports kubernetes"),
        ("context.py", "import httpx", "context imports httpx"),
        ("singleuser/a.py", "import tornado", "singleuser imports tornado"),
        ("errors.py", "import traitlets", "errors imports traitlets"),
        ("names.py", "from . import context", "names imports context"),
        ("__init__.py", "import kfspawner.notebook.magics", "importing kfspawner imports"),
        ("__init__.py", "from IPython import display", "importing kfspawner imports IPython"),
        ("attic/a.py", "import os", "attic is no room"),
    ],
)
def test_crossing_is_caught(tmp_path: Path, file: str, code: str, expected: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(f"import os\n{code}\n")
    found = violations(tmp_path)
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("servers/a.py", "from kfspawner.homes.home import Home"),
        ("servers/a.py", "from kfspawner import __version__"),
        ("packaging/a.py", "from kfspawner.packaging.layer import Layer\nimport httpx"),
        ("notebook/a.py", "from kfspawner.training.run import Run\nimport IPython"),
        ("__init__.py", "def __getattr__(name):\n  import kfspawner.notebook.magics"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, code: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(f"{code}\n")
    assert violations(tmp_path) == []


def _modules_after(code: str) -> set[str]:
    """Return the modules of other projects and rooms that a fresh Python has after `code`."""
    report = f"import sys; {code}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_neither_side() -> None:
    loaded = _modules_after("import kfspawner; kfspawner.__version__")
    assert not {name.partition(".")[0] for name in loaded} & (HUB_ONLY | NOTEBOOK_ONLY)
    assert not {name for name in loaded if name.startswith("kfspawner.")}


def test_loading_the_extension_imports_no_client() -> None:
    loaded = _modules_after("import kfspawner; kfspawner.load_ipython_extension")
    assert "kfspawner.notebook.magics" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"kubernetes", "httpx", "cloudpickle"}


def test_front_gives_what_it_says() -> None:
    code = (
        "import kfspawner; assert callable(kfspawner.run); assert kfspawner.Run.__name__ == 'Run'"
    )
    assert "kfspawner.training.run" in _modules_after(code)


def test_front_has_nothing_else() -> None:
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        kfspawner.runs  # noqa: B018
    assert {"Run", "run", "load_ipython_extension"} <= set(dir(kfspawner))
