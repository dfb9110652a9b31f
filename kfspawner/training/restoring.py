"""The code of a run, back from the image that it started from."""

from __future__ import annotations

from pathlib import Path

from kfspawner.cluster import Cluster
from kfspawner.context import ServerContext
from kfspawner.errors import ObjectMissing
from kfspawner.labels import RUN_LABEL
from kfspawner.names import check_run_name
from kfspawner.packaging import Reference, Registry
from kfspawner.packaging.restore import Restored, restore

_DIGEST = "sha256:"


def restore_run(
    what: str,
    folder: Path | None = None,
    context: ServerContext | None = None,
    cluster: Cluster | None = None,
) -> Restored:
    """Write the code of a run into a folder.

    Parameters
    ----------
    what
        The name of a run, which may be deleted by now, or the image of one: its
        digest in the profile's repository, or a whole reference.
    folder
        A new or empty one; ``~/restored/<name or digest>`` unless given.
    context
        Whose server this is; this process' own unless given.
    cluster
        The namespace of that server; found by itself unless given.

    Raises
    ------
    InputError
        If `what` is neither, is no image of a run, or `folder` is in use.
    RegistryError
        If the registry does not answer, refuses, or has no such image.
    ClusterError
        If the cluster cannot be asked.
    """
    context = context or ServerContext.from_env()
    own = Reference.parse(context.repository)
    if what.startswith(_DIGEST):
        image = Reference.parse(f"{own}@{what}")
        stem = what.removeprefix(_DIGEST)[:12]
    elif "/" in what:
        image = Reference.parse(what)
        stem = (image.digest or image.version).removeprefix(_DIGEST)[:12]
    else:
        image = _image_of(check_run_name(what), own, context, cluster)
        stem = what
    plain = context.registry_plain_http and image.registry == own.registry
    with Registry(image.registry, plain_http=plain) as registry:
        return restore(registry, image, folder or Path(context.home) / "restored" / stem)


def _image_of(
    name: str, repository: Reference, context: ServerContext, cluster: Cluster | None
) -> Reference:
    """Return the image of a run; of one that is deleted, the one that was called after it."""
    cluster = cluster or Cluster.in_namespace(context.namespace)
    try:
        job = cluster.get_job(name)
    except ObjectMissing:
        return Reference.parse(f"{repository}:{name}")
    if RUN_LABEL not in (job["metadata"].get("labels") or {}):
        raise ObjectMissing(
            f"looking up run {name}",
            "there is a Job of that name, but it is no run",
            "%kf ls shows the runs there are",
        )
    (container, *_) = job["spec"]["template"]["spec"]["containers"]
    return Reference.parse(container["image"])
