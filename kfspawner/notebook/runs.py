"""The runs of this server, and which of them this kernel started last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfspawner.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from kfspawner.packaging import Source
    from kfspawner.packaging.restore import Restored
    from kfspawner.training.run import Run
    from kfspawner.training.status import RunStatus
    from kfspawner.training.submission import RunOptions, Submitted

# Imports are where they are needed: the extension loads in every kernel, and
# the Kubernetes client takes longer to import than all else together.
# ruff: noqa: PLC0415


class Runs:
    """The runs in the namespace of the server that this kernel belongs to.

    Every method raises a ClusterError where the cluster refuses, and
    ContextMissing outside of a server.

    Attributes
    ----------
    last
        The name of the run that was started last from here, or None.
    """

    def __init__(self) -> None:
        self.last: str | None = None

    def start(self, source: Source, options: RunOptions) -> Submitted:
        """Package `source` and create a run of it."""
        from kfspawner.training.submission import start

        submitted = start(source, options)
        self.last = submitted.run.name
        return submitted

    def check(self, source: Source, options: RunOptions) -> None:
        """Refuse what `start` would refuse before it pushes anything."""
        from kfspawner.training.submission import check

        check(source, options)

    def attach(self, name: str | None = None) -> Run:
        """Return the run called `name`, or else the last one.

        Raises
        ------
        InputError
            If there is no last one.
        """
        from kfspawner.training.run import Run

        return Run.attach(self._choose(name))

    def restore(self, name: str | None, folder: Path | None) -> Restored:
        """Write the code of a run into `folder`, as `restore_run` does; of the last one for None.

        Raises
        ------
        InputError
            If there is no last one, or `restore_run` takes no such name or folder.
        RegistryError
            If its image cannot be read.
        """
        from kfspawner.training.restoring import restore_run

        return restore_run(self._choose(name), folder)

    def list(self) -> list[RunStatus]:
        """Return the status of every run of the namespace."""
        from kfspawner.cluster import Cluster
        from kfspawner.context import ServerContext
        from kfspawner.training.run import list_runs

        cluster = Cluster.in_namespace(ServerContext.from_env().namespace)
        return list_runs(cluster)

    def _choose(self, name: str | None) -> str:
        wanted = name or self.last
        if wanted is None:
            raise InputError(
                "choosing a run",
                "no name was given, and this kernel has started none",
                "give its name; %kf ls shows them",
            )
        return wanted


# One kernel is one process: the magic and its Python twin mean the same last run.
RUNS = Runs()
