"""What is the first process of a run: something that passes signals on.

Linux keeps from the first process of a container every signal that it has not
asked for, so a Python there is not stopped by SIGTERM but killed at the end of
the grace period, and what its children leave behind stays.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from importlib.resources import files as package_files

# Init programs, and with which options they pass signals on to all below them.
_INITS = {
    "tini": ("-g", "--"),
    "tini-static": ("-g", "--"),
    "docker-init": ("-g", "--"),
    "dumb-init": ("--",),
    "catatonit": ("-g", "--"),
}


def make_entrypoint(base: Sequence[str]) -> list[str]:
    """Return the entrypoint of a run on a base with the entrypoint `base`.

    The base's own init is kept, without whatever else it would start. Where
    it has none, it is a few lines for the Python that every base has.
    """
    options = _INITS.get(posixpath.basename(base[0])) if base else None
    if options:
        return [base[0], *options]
    init = package_files(__package__).joinpath("init.py").read_text("utf-8")
    return ["python", "-ISc", init]
