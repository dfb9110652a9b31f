"""The images, what each is made from, and the tags that follow from it.

A tag is a hash of the image's files, arguments and base: whoever has the tag
has the image, and nothing needs to be built or sent.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.errors import DeployError

CHECKOUT = Path(__file__).resolve().parents[2]
CONTEXT = CHECKOUT / "images"
# Where images are called by their own name, before they go to a registry.
LOCAL = "localhost/kfspawner"
# What a machine without Debian's tools starts from.
PUBLIC_BASE = "quay.io/jupyter/minimal-notebook:python-3.11"
PUSHED = ("base", "hub", "cpu", "gpu")

# What an image's packages are made from, the slow layer.
_PACKAGES = ("requirements*.txt", "requirements*.sh", "package*.json")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", re.MULTILINE)
# What Debian's 1.13.1 calls itself.
_DEBIAN_TORCH = "1.13.0a0"
_IGNORED = {"__pycache__", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class Choices:
    """What may be chosen about the images; each has an environment variable.

    Attributes
    ----------
    base
        ``KFSPAWNER_BASE_IMAGE``: the image that `base` starts from; empty for
        a Debian made on this machine, or `PUBLIC_BASE` where none can be made.
    torch
        ``KFSPAWNER_TORCH``: PyTorch in `cpu` and `gpu`, ``none``, ``pypi`` or
        ``debian``.
    torch_index
        ``KFSPAWNER_TORCH_INDEX``: the index that ``pypi`` takes it from, such
        as PyTorch's own with builds for CPU; empty for pip's.
    accelerator
        ``KFSPAWNER_ACCELERATOR``: ``simulated`` or ``cuda``, what `gpu` is
        built for.
    """

    base: str = ""
    torch: str = "none"
    torch_index: str = ""
    accelerator: str = "simulated"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Choices:
        """Return the choices that `environ` makes.

        Raises
        ------
        DeployError
            If one is not among those offered.
        """
        made = cls(
            base=environ.get("KFSPAWNER_BASE_IMAGE", ""),
            torch=environ.get("KFSPAWNER_TORCH", "none"),
            torch_index=environ.get("KFSPAWNER_TORCH_INDEX", ""),
            accelerator=environ.get("KFSPAWNER_ACCELERATOR", "simulated"),
        )
        _check_choice("KFSPAWNER_TORCH", made.torch, ("none", "pypi", "debian"))
        _check_choice("KFSPAWNER_ACCELERATOR", made.accelerator, ("simulated", "cuda"))
        return made


@dataclass(frozen=True)
class Image:
    """One image to build.

    Attributes
    ----------
    name
        Its directory below ``images/`` and its name in the registry.
    base
        Another image's name, a reference from outside, or empty for none.
    arguments
        The build arguments beside BASE.
    tag
        The hash of all that it is made from.
    """

    name: str
    base: str
    tag: str
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def local(self) -> str:
        """Its reference in this machine's own storage."""
        return f"{LOCAL}/{self.name}:{self.tag}"

    def reference(self, prefix: str) -> str:
        """Return its reference in the registry at `prefix`."""
        return f"{prefix.rstrip('/')}/{self.name}:{self.tag}"


def make_plan(choices: Choices, checkout: Path = CHECKOUT) -> dict[str, Image]:
    """Return the images of `checkout`, each after its base."""
    context = checkout / "images"
    verify = context / "verify.py"
    pins = read_pins(context / "cpu" / "requirements.txt")
    frameworks = {"FRAMEWORKS": describe_frameworks(pins, choices.torch)}
    plan: dict[str, Image] = {}

    def add(name: str, base: str, arguments: Mapping[str, str], *more: Path) -> None:
        under = plan[base].tag if base in plan else base
        words = [f"{key}={value}" for key, value in sorted(arguments.items())]
        files = hash_files(checkout, [*files_below(context / name), *more])
        plan[name] = Image(name, base, _hash([name, under, *words, files]), arguments)

    def packages(name: str, *more: str) -> dict[str, str]:
        files = [path for pattern in _PACKAGES for path in (context / name).glob(pattern)]
        return {"REQUIREMENTS": _hash([hash_files(checkout, files), *more])}

    def project(name: str) -> dict[str, str]:
        # All that the layer over the packages is made from: the tools' own caches look at this.
        files = [*project_files(checkout), *files_below(context / name), verify]
        return {"PROJECT": hash_files(checkout, files)}

    if not choices.base:
        add("debian", "", {})
    add("base", choices.base or "debian", packages("base"))
    add("hub", "base", {**packages("hub"), **project("hub")}, verify)
    # An index's address may hold a sign-in: only its hash becomes part of the image.
    cpu = {**packages("cpu", choices.torch_index), "TORCH": choices.torch}
    add("cpu", "base", {**cpu, **project("cpu"), **frameworks}, verify)
    add("gpu", "cpu", {**packages("gpu"), "ACCELERATOR": choices.accelerator, **frameworks})
    return plan


def describe_frameworks(pins: Mapping[str, str], torch: str) -> str:
    """Return what an image's label says: ``scikit-learn=… tensorflow=…``."""
    versions = {"scikit-learn": pins["scikit-learn"], "tensorflow": pins["tensorflow-cpu"]}
    if torch != "none":
        versions["torch"] = pins["torch"] if torch == "pypi" else _DEBIAN_TORCH
    return " ".join(f"{name}={version}" for name, version in versions.items())


def read_pins(path: Path) -> dict[str, str]:
    """Return the versions that a requirements file, and any for PyTorch beside it, pin."""
    beside = path.with_name("requirements-torch.txt")
    text = path.read_text("utf-8") + (beside.read_text("utf-8") if beside.exists() else "")
    return {name.lower(): version for name, version in _PIN.findall(text)}


def project_files(checkout: Path) -> Iterator[Path]:
    """Yield what the project's own wheel is made from, less its long description."""
    yield checkout / "pyproject.toml"
    yield from files_below(checkout / "kfspawner")


def files_below(directory: Path) -> list[Path]:
    """Return the files that lie in `directory` for people, in a fixed order."""
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and not _IGNORED.intersection(path.relative_to(directory).parts)
    )


def hash_files(root: Path, files: Iterable[Path]) -> str:
    """Return a hash of the paths below `root`, contents and executable bits of `files`."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        mode = "x" if os.access(path, os.X_OK) and path.stat().st_mode & 0o100 else "-"
        digest.update(f"{path.relative_to(root)}\0{mode}{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _hash(words: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def _check_choice(name: str, made: str, offered: tuple[str, ...]) -> None:
    if made not in offered:
        raise DeployError(
            f"choosing {name}={made}", "it is not offered", f"take one of {', '.join(offered)}"
        )
