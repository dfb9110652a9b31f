"""Our own errors -> what JupyterHub shows on its pages and answers on its API."""

from __future__ import annotations

from html import escape

from jupyterhub.spawner import SpawnException

from kfspawner.errors import Error, OptionRefused, ProfileRefused


class StartRefused(SpawnException):  # type: ignore[misc]
    """A server is not started: the person's choice (400), or the cluster (503), is why.

    JupyterHub logs it without a traceback, and does not count it as a defect of its own.
    """

    def __init__(self, error: Error) -> None:
        asked = isinstance(error, OptionRefused | ProfileRefused)
        super().__init__(
            str(error), reason="options" if asked else "cluster", status_code=400 if asked else 503
        )
        self.jupyterhub_message = str(error)
        if "\n" in str(error):
            # The last lines of a log.
            self.jupyterhub_html_message = (
                f'<span style="white-space: pre-wrap">{escape(str(error))}</span>'
            )
