"""JupyterHub on Kubernetes, and training runs from one cell.

The hub and the notebook install different things, so that importing this
imports neither; ``run``, ``Run`` and the IPython extension come when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfspawner.notebook.magics import load_ipython_extension
    from kfspawner.notebook.twin import run
    from kfspawner.training.run import Run

__all__ = ["Run", "__version__", "load_ipython_extension", "run"]

__version__ = "0.1.0"

_ELSEWHERE = {
    "Run": "kfspawner.training.run",
    "load_ipython_extension": "kfspawner.notebook.magics",
    "run": "kfspawner.notebook.twin",
}


def __getattr__(name: str) -> object:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ELSEWHERE})
