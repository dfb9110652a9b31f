"""The one exception of the tools in this directory.

They run on the machine's own Python, before anything is installed, so they
do not import `kfspawner`; their messages have the same three parts.
"""

from __future__ import annotations


class DeployError(Exception):
    """A step of bringing kfspawner up failed.

    Parameters
    ----------
    doing
        The action and its object.
    cause
        What happened.
    way_out
        What the reader can do about it.
    """

    def __init__(self, doing: str, cause: str, way_out: str) -> None:
        super().__init__(f"{doing}: {cause}; {way_out}")
