"""A layer on a base: an image that a run starts from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kfspawner.errors import OptionRefused, RegistryError
from kfspawner.packaging.entrypoint import make_entrypoint
from kfspawner.packaging.layer import Layer, make_layer
from kfspawner.packaging.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from kfspawner.packaging.provenance import Provenance, without_provenance
from kfspawner.packaging.registry import Registry
from kfspawner.packaging.source import RUN_DIR, Source
from kfspawner.packaging.withheld import check_withheld
from kfspawner.reference import Reference

__all__ = ["Addition", "Ground", "Reference", "append", "make_config", "make_manifest", "package"]

BASE_LABEL = "kfspawner.io/base"
# On our layers in an OCI manifest: what each of them is.
LAYER_ANNOTATION = "io.kfspawner.layer"
SOURCE, DEPENDENCIES = "source", "dependencies"

# Whom a run is where the base would be root.
_USER = "1000:100"
_CONNECTIONS = 6
# An image is made of its base and its files alone: no time of its own.
_LONG_AGO = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Ground:
    """What a source stands on: an image, and what was installed on it since.

    Attributes
    ----------
    image
        The reference of an image with Python in it.
    layers
        What it lacks, the lowest first.
    env
        What its environment is to say of them.
    """

    image: str
    layers: Sequence[Layer] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Addition:
    """What an image has over its base.

    Attributes
    ----------
    layers
        On those of the base, the lowest first.
    command
        The arguments that it runs, the first one the program.
    env
        Environment variables, in place of the base's of the same names.
    provenance
        Where the code came from. It is in labels and annotations, for all
        who may pull the image.
    """

    layers: Sequence[Layer]
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    provenance: Provenance = Provenance()  # noqa: RUF009 -- frozen


def package(
    source: Source,
    base: str | Ground,
    repository: str,
    *,
    provenance: Provenance = Provenance(),  # noqa: B008 -- frozen
    plain_http: bool = False,
    tag: str | None = None,
) -> Reference:
    """Put `source` on the image `base`, push that, and return it by digest.

    Parameters
    ----------
    source
        What the image is to run.
    base
        The reference of an image with Python in it, or what stands on one.
    repository
        ``registry/repository`` to push to.
    provenance
        Where the source came from; its labels tell.
    plain_http
        Whether that registry speaks HTTP without TLS.
    tag
        A name for the image in the repository, so that the registry's
        clean-up does not take it for refuse.

    Raises
    ------
    SourceRefused
        If the source's files cannot be in an image, or one may be a credential.
    OptionRefused
        If `base` or `repository` is not a reference of its kind.
    RegistryError
        If a registry does not answer, refuses, or has no such base.
    """
    ground = Ground(base) if isinstance(base, str) else base
    check_withheld(source.files)
    target = Reference.parse(repository if tag is None else f"{repository}:{tag}")
    if target.digest or target.tag != tag:
        raise OptionRefused(
            f"pushing to {repository!r}", "it names an image", "give a repository, without a tag"
        )
    with (
        make_layer(source.files) as layer,
        Registry(target.registry, plain_http=plain_http) as registry,
    ):
        return append(
            registry,
            Reference.parse(ground.image),
            Addition([*ground.layers, layer], source.command, ground.env, provenance),
            target.repository,
            tag=tag,
        )


def append(
    registry: Registry,
    base: Reference,
    addition: Addition,
    target_repository: str,
    *,
    tag: str | None = None,
) -> Reference:
    """Push an image of `base` and `addition`; return it by digest.

    The base's layers are not looked into: the registry mounts them, or they
    are copied as they are where they come from another one, which is then
    asked as anybody. The manifest comes last, so that an image is there whole
    or not at all.

    Raises
    ------
    RegistryError
        If a registry does not answer, refuses, or has no such base.
    """
    with contextlib.ExitStack() as stack:
        same = base.registry == registry.host
        origin = registry if same else stack.enter_context(Registry(base.registry))
        found = origin.resolve(base)
        base = base.at(found.digest)
        config = _read_config(origin, base, found)
        new_config = _dump(make_config(config, addition, base))
        manifest = make_manifest(found, addition, new_config, base)

        def bring(blob: Descriptor) -> None:
            if registry.has_blob(target_repository, blob.digest):
                return
            if not (same and registry.mount_blob(target_repository, blob.digest, base.repository)):
                registry.copy_blob(target_repository, blob, origin, base.repository)

        def stop() -> None:
            registry.stop()
            origin.stop()

        needed = {blob.digest: blob for blob in found.layers}
        _all_at_once(
            [
                *(
                    partial(registry.push_layer, target_repository, layer)
                    for layer in addition.layers
                ),
                *(partial(bring, blob) for blob in needed.values()),
            ],
            stop,
        )
        registry.push_blob(target_repository, new_config)
        registry.push_manifest(target_repository, manifest, tag)
    return Reference(registry.host, target_repository, digest=manifest.digest)


def make_config(
    base: Mapping[str, Any], addition: Addition, reference: Reference
) -> dict[str, Any]:
    """Return the config of an image with `addition` on the image that `base` configures.

    It runs the command in ``RUN_DIR`` under an init that passes signals on,
    without whatever else the base's entrypoint would start, and Python's output
    is not held back. It runs as the base's user, unless that is root.
    """
    settings = dict(base.get("config") or {})
    user = str(settings.get("User") or "root")
    labels = without_provenance(settings.get("Labels") or {})
    settings |= {
        "Entrypoint": make_entrypoint(settings.get("Entrypoint") or []),
        "Cmd": list(addition.command),
        "User": _USER if user.partition(":")[0].strip("0") in {"", "root"} else user,
        "WorkingDir": RUN_DIR,
        "Env": _merge_env(settings.get("Env") or [], addition.env),
        "Labels": {**labels, **addition.provenance.labels, BASE_LABEL: str(reference)},
    }
    diff_ids = [layer.diff_id for layer in addition.layers]
    entry = {"created": base.get("created") or _LONG_AGO, "created_by": f"kfspawner {RUN_DIR}"}
    return {
        **base,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [*base["rootfs"]["diff_ids"], *diff_ids]},
        "history": [*(base.get("history") or []), *(entry for _ in diff_ids)],
    }


def _merge_env(base: Sequence[str], own: Mapping[str, str]) -> list[str]:
    kept = [each for each in base if each.partition("=")[0] not in own]
    added = [f"{name}={value}" for name, value in sorted(own.items())]
    if not any(each.startswith("PYTHONUNBUFFERED=") for each in [*kept, *added]):
        added.append("PYTHONUNBUFFERED=1")
    return [*kept, *added]


def make_manifest(
    base: Manifest, addition: Addition, config: bytes, reference: Reference
) -> Manifest:
    """Return the manifest of an image with `config`, and `addition` on the layers of `base`.

    It is of the base's own kind, OCI's or Docker's; the base's descriptors
    are in it as they were. Only OCI's says which layer is what, the source the
    topmost, and where that came from: Docker's has no place for it.
    """
    docker = base.is_docker
    own = []
    for place, layer in enumerate(addition.layers, 1):
        fields: dict[str, Any] = {
            "mediaType": DOCKER_LAYER if docker else layer.media_type,
            "digest": layer.digest,
            "size": layer.size,
        }
        if not docker:
            what = SOURCE if place == len(addition.layers) else DEPENDENCIES
            fields["annotations"] = {LAYER_ANNOTATION: what}
        own.append(Descriptor.parse(fields))
    described = Descriptor.of(DOCKER_CONFIG if docker else OCI_CONFIG, config)
    blobs = (*base.layers, *own)
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": described.fields,
        "layers": [blob.fields for blob in blobs],
    }
    if not docker:
        document["annotations"] = {
            **addition.provenance.annotations,
            "org.opencontainers.image.base.name": f"{reference.registry}/{reference.repository}",
            "org.opencontainers.image.base.digest": reference.digest,
        }
    return Manifest(_dump(document), media_type, described, blobs)


def _read_config(origin: Registry, base: Reference, found: Manifest) -> dict[str, Any]:
    content = origin.read_blob(base.repository, found.config)
    try:
        config = json.loads(content)
        whole = len(config["rootfs"]["diff_ids"]) == len(found.layers)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise RegistryError(
            f"reading the image {base}",
            "its config does not fit its layers",
            "choose another image, or push this one again",
        )
    return dict(config)


def _all_at_once(jobs: Sequence[partial[None]], stop: Callable[[], None]) -> None:
    """Run `jobs` in threads; the first failure, or an interrupt, stops the others."""
    with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="kfspawner-push") as pool:
        try:
            done, _ = wait([pool.submit(job) for job in jobs], return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
