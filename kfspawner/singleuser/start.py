"""``kfspawner-singleuser``: JupyterHub's own server for one person, with less to load first.

What is put off below is most of what stock ``jupyterhub-singleuser`` loads before it
answers, and next to nothing of it is used in a server for one person: the hub's
database, and the grammar of international web addresses, which is compiled when it is
imported.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from importlib import import_module
from typing import Any

from kfspawner.singleuser.later import Later, put_off

MODULES = (
    # jsonschema's formats `iri` and `iri-reference`.
    Later("rfc3987_syntax", functions=("is_valid_syntax",), home="rfc3987_syntax.syntax_helpers"),
    # jupyterhub.log and jupyterhub.metrics belong to the hub first.
    Later("jupyterhub.handlers"),
    Later("jupyterhub.handlers.pages", classes=("HealthCheckHandler",)),
    Later("jupyterhub.orm"),
    Later("jupyterhub.roles"),
    Later("sqlalchemy"),
    Later("sqlalchemy.exc", classes=("SQLAlchemyError",)),
    # JupyterLab's lists of extensions that are allowed or blocked, fetched if there are any.
    Later("requests"),
)


def main() -> None:
    """Run ``jupyterhub-singleuser`` with its own arguments and environment."""
    put_off(MODULES)
    # What is loaded now is kept: look for garbage only once all of it is there.
    gc.disable()
    run = import_module("jupyterhub.singleuser").main
    app: Any = getattr(run, "__self__", None)
    if hasattr(app, "initialize_server"):
        app.initialize_server = _then_collect(app.initialize_server)
    else:
        gc.enable()
    run()


def _then_collect(initialize: Callable[..., Any]) -> Callable[..., Any]:
    def initialized(*args: Any, **kwargs: Any) -> Any:
        try:
            return initialize(*args, **kwargs)
        finally:
            gc.freeze()
            gc.enable()

    return initialized
