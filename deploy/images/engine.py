"""The container tool of this machine, and its command lines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DeployError
from deploy.images.plan import CONTEXT, Image

TOOLS = ("buildah", "podman", "docker")

# buildah gets namespaces of its own: whatever ends it, no mount and no process stays.
# A layer passes through temporary files twice, so these are in memory; what
# lasts, the caches of pip and npm and what is known of pushed blobs, is bound
# below the state directory.
_PRIVATE = """
set -e
state=$1 cache=$2; shift 2
mkdir -p "$state/tmp" "$state/blobs" "$cache" /var/lib/containers/cache
mount -t tmpfs -o size="$(awk '/MemAvailable/ {print int($2 / 2)}' /proc/meminfo)k",mode=0700 \
    kfspawner-build "$state/tmp"
mkdir "$state/tmp/buildah-cache"
mount --bind "$cache" "$state/tmp/buildah-cache"
mount --bind "$state/blobs" /var/lib/containers/cache
exec "$@"
"""


@dataclass(frozen=True)
class Lent:
    """Directories that a build may look into.

    Attributes
    ----------
    host
        This machine's settings; see `deploy.images.lend`.
    project
        A wheel of this checkout.
    """

    host: Path
    project: Path


@dataclass(frozen=True)
class Engine:
    """One of `TOOLS`, and where buildah keeps what it makes.

    podman and docker keep it where they always do.
    """

    tool: str
    state: Path

    @property
    def storage(self) -> Path:
        """Images, layers and working containers."""
        return self.state / "containers"

    def environment(self) -> dict[str, str]:
        """Return the environment to run the tool in."""
        if self.tool != "buildah":
            return {**os.environ, "DOCKER_BUILDKIT": "1"}
        return {
            **os.environ,
            "BUILDAH_ISOLATION": "chroot",
            "STORAGE_DRIVER": "overlay",
            "TMPDIR": str(self.storage / "tmp"),
        }

    def command(self, *words: str) -> list[str]:
        """Return the command line for the tool's own `words`."""
        if self.tool != "buildah":
            return [self.tool, *words]
        roots = ["--root", f"{self.storage}/root", "--runroot", f"{self.storage}/run"]
        return self.private("buildah", *roots, *words)

    def private(self, *command: str) -> list[str]:
        """Return `command` with mounts of its own, ``<storage>/tmp`` in memory, and our own end."""
        mortal = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"]
        unshare = ["--mount-proc", "--mount", "--propagation", "private"]
        directories = [str(self.storage), str(self.state / "cache" / "images")]
        return [*mortal, *unshare, "sh", "-c", _PRIVATE, "sh", *directories, *command]

    def build(self, image: Image, base: str, lent: Lent, context: Path = CONTEXT) -> list[str]:
        """Return the command that builds `image` on the reference `base`."""
        arguments = {**({"BASE": base} if base else {}), **image.arguments}
        words = ["build"] if self.tool != "docker" else ["buildx", "build", "--load"]
        if self.tool != "docker":
            words += ["--layers", "--format=oci", "--pull-never" if _is_local(base) else "--pull"]
        if self.tool == "buildah":
            words += ["--identity-label=false"]
        words += ["--network=host", f"--tag={image.local}"]
        words += [f"--file={CONTEXT / image.name / 'Containerfile'}"]
        words += [f"--build-context={name}={path}" for name, path in _contexts(lent).items()]
        words += [f"--build-arg={name}={value}" for name, value in arguments.items()]
        return self.command(*words, str(context))

    def push(
        self, image: Image, reference: str, digest_file: Path, *, plain_http: bool
    ) -> list[list[str]]:
        """Return the commands that send `image` to `reference`, in order.

        Its digest is then in `digest_file`, or with docker in what the last one prints.
        """
        if self.tool == "docker":
            return [["docker", "tag", image.local, reference], ["docker", "push", reference]]
        words = ["push", f"--tls-verify={str(not plain_http).lower()}"]
        # A third of the time of gzip, there and back.
        words += ["--compression-format=zstd", f"--digestfile={digest_file}"]
        words += [image.local, f"docker://{reference}"]
        return [self.command(*words)]

    def references(self) -> list[str]:
        """Return the command that prints the references in the storage, one a line."""
        if self.tool == "buildah":
            return self.command("images", "--noheading", "--format={{.Name}}:{{.Tag}}")
        return self.command("images", "--format={{.Repository}}:{{.Tag}}")

    def remove(self, references: list[str]) -> list[str]:
        """Return the command that removes images from the storage."""
        return self.command("rmi", *references)


def find_engine(state: Path, environ: Mapping[str, str] = os.environ) -> Engine:
    """Return the first of `TOOLS` that this machine has.

    Raises
    ------
    DeployError
        If it has none.
    """
    for tool in TOOLS:
        if shutil.which(tool, path=environ.get("PATH")):
            return Engine(tool, state)
    raise DeployError(
        "building the images",
        f"this machine has none of {', '.join(TOOLS)}",
        "install one, such as Debian's package buildah",
    )


def _is_local(base: str) -> bool:
    return not base or base.startswith("localhost/")


def _contexts(lent: Lent) -> dict[str, Path]:
    return {"host": lent.host, "project": lent.project}
