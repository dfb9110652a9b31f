"""``kfspawner-singleuser``: JupyterHub's own server for one person, with less to load first.

What is put off below is most of what stock ``jupyterhub-singleuser`` loads before it
answers, and next to nothing of it is used in a server for one person: the hub's
database, and the grammar of international web addresses, which is compiled when it is
imported.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Any

from kfspawner.singleuser.later import Later, put_off

MODULES = (
    # jsonschema's formats `iri`, `uri` and the like.
    Later("rfc3987_syntax", functions=("is_valid_syntax",), home="rfc3987_syntax.syntax_helpers"),
    Later("rfc3986_validator", functions=("validate_rfc3986",)),
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
    # Nothing that is loaded for good is garbage: look for some once the server starts.
    gc.disable()
    singleuser = import_module("jupyterhub.singleuser")
    try:
        _collect_from_start(import_module("jupyter_server.serverapp").ServerApp)
    except (ImportError, AttributeError):
        gc.enable()
    singleuser.main()


def _collect_from_start(app: Any) -> None:
    start = app.start

    def collecting(self: Any) -> None:
        gc.freeze()
        gc.enable()
        start(self)

    app.start = collecting
