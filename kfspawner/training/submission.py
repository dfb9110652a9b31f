"""From a source to a run: what is checked, packaged and made, in this order."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kfspawner.cluster import Cluster
from kfspawner.context import ServerContext
from kfspawner.errors import ClusterError, OptionRefused, RunError
from kfspawner.names import check_run_name, run_name
from kfspawner.packaging import Ground, Reference, Source, package
from kfspawner.packaging.dependencies import (
    Dependencies,
    Environment,
    Layers,
    find_dependencies,
)
from kfspawner.packaging.provenance import Provenance, read_commit
from kfspawner.packaging.withheld import check_withheld
from kfspawner.training.allowance import check_started
from kfspawner.training.kinds import Resources, RunRequest
from kfspawner.training.run import Run, check_can_submit, submit

# Stands for the image that is not there yet.
_NO_DIGEST = f"sha256:{'0' * 64}"
# What KubeSpawner calls a server's container.
_SERVER = "notebook"
# What was installed seldom changes from one run to the next.
_INSTALLED = Layers()


@dataclass(frozen=True)
class RunOptions:
    """How a person wants a source run.

    Attributes
    ----------
    name
        What to call the run; made up after the source unless given.
    image
        The image to put the source on; the server's own unless given.
    cpu, memory
        Kubernetes quantities: ``"2"``, ``"4Gi"``.
    gpu
        How many whole GPUs.
    env
        Environment variables.
    """

    name: str | None = None
    image: str | None = None
    cpu: str | None = None
    memory: str | None = None
    gpu: int = 0
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Submitted:
    """A run that was just made.

    Attributes
    ----------
    run
        The run.
    image
        The image that it starts from, by digest.
    packaging_seconds
        How long it took to make and push that.
    notes
        What the person is to know of it, a line each.
    """

    run: Run
    image: Reference
    packaging_seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What nothing speaks against, before anything of it is pushed.

    Attributes
    ----------
    request
        What the cluster would take; its image is not there yet.
    cluster
        The namespace that it would be in.
    installed
        What goes along of what the person installed.
    prefix
        The environment that this is from.
    """

    request: RunRequest
    cluster: Cluster
    installed: Dependencies
    prefix: Path


def start(
    source: Source,
    options: RunOptions,
    context: ServerContext | None = None,
    cluster: Cluster | None = None,
) -> Submitted:
    """Package `source`, and make a run of it.

    What can be refused is refused before anything is pushed; a failure leaves
    nothing on the cluster and no empty folder behind.

    Parameters
    ----------
    source
        What to run.
    options
        How.
    context
        Whose run, and where; this process' own server unless given.
    cluster
        The namespace of that server; found by itself unless given.

    Raises
    ------
    InputError
        If an option or the source cannot be used.
    RegistryError
        If the image cannot be made.
    ClusterDenied
        If it is over the profile's quota: at once, with who uses what.
    ClusterError
        If the cluster refuses the run otherwise.
    """
    checked = check(source, options, context, cluster)
    request, cluster, installed = checked.request, checked.cluster, checked.installed
    context = request.context
    base = options.image or _own_image(context, cluster)
    with _outputs(Path(context.home) / "runs" / request.name):
        begun = time.monotonic()
        plain, tag = context.registry_plain_http, request.name
        layers = _INSTALLED.make(installed, checked.prefix)
        ground = Ground(base, layers, installed.env)
        told = _describe(source, context)
        image = package(
            source, ground, context.repository, provenance=told, plain_http=plain, tag=tag
        )
        seconds = time.monotonic() - begun
        run = submit(replace(request, image=str(image)), cluster)
        check_started(run.name, cluster)
    return Submitted(run, image, seconds, (*installed.notes, *_INSTALLED.warnings))


def check(
    source: Source,
    options: RunOptions,
    context: ServerContext | None = None,
    cluster: Cluster | None = None,
) -> Checked:
    """Find out whether `start` would make a run of `source`.

    The cluster is asked whether it would take that: quota, admission and
    rights. Nothing is pushed, and nothing is left anywhere.

    Raises
    ------
    InputError
        If an option or the source cannot be used.
    ClusterDenied
        If it is over the profile's quota: at once, with who uses what.
    ClusterError
        If the cluster refuses otherwise.
    """
    check_withheld(source.files)
    context = context or ServerContext.from_env()
    target = Reference.parse(context.repository)
    request = RunRequest(
        name=run_name(source.stem) if options.name is None else check_run_name(options.name),
        image=str(target.at(_NO_DIGEST)),
        command=source.command,
        context=context,
        resources=Resources.parse(options.cpu, options.memory, options.gpu),
        env=options.env,
    )
    if options.image is not None:
        Reference.parse(options.image)
    environment = Environment.of_this_process()
    installed = find_dependencies(environment)
    if options.image is not None:
        installed = _without(installed)
    cluster = cluster or Cluster.in_namespace(context.namespace)
    check_can_submit(request, cluster)
    return Checked(request, cluster, installed, environment.prefix)


def _describe(source: Source, context: ServerContext) -> Provenance:
    """Return what the image is to tell of its code: the commit is that of the folder it is from."""
    path = Path(source.path)
    commit, dirty = read_commit(path if path.is_dir() else path.parent)
    return Provenance(
        kind=source.kind,
        path=source.path,
        commit=commit,
        dirty=dirty,
        person=context.user,
        profile=context.namespace,
    )


def _without(installed: Dependencies) -> Dependencies:
    """Return what goes along where another image has packages of its own: only a note."""
    if not installed.installed:
        return Dependencies()
    return Dependencies(
        notes=("what you installed with pip stays here: it was for your server's own image",)
    )


@contextlib.contextmanager
def _outputs(folder: Path) -> Iterator[None]:
    """Have the folder that the run sees as /outputs; if the block fails, not an empty one.

    It must be there before the run: what kubelet makes is root's.
    """
    there = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OptionRefused(
            f"making {folder}",
            "there is a file of that name in the way",
            "choose another --name, or move the file",
        ) from error
    except OSError as error:
        raise RunError(
            f"making {folder} for the run's outputs",
            error.strerror or type(error).__name__,
            "make room in your home and try again",
        ) from error
    try:
        yield
    except BaseException:
        if not there:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _own_image(context: ServerContext, cluster: Cluster) -> str:
    """Return the image of this very server, by digest where that can be known.

    A tag may mean another image by now; the node says which one it took.
    """
    reference = Reference.parse(context.image)
    if reference.digest:
        return context.image
    try:
        statuses = cluster.get_pod(socket.gethostname())["status"]["containerStatuses"]
    except (ClusterError, KeyError):
        return context.image
    for status in statuses:
        # Without a repository it is the digest of the image's config, and no registry's.
        _, at, digest = str(status.get("imageID", "")).rpartition("@")
        if at and status.get("name") == _SERVER:
            return str(reference.at(digest))
    return context.image
