"""What was installed since the image was built: the layer under a run's own code.

Distributions are told apart by their metadata. What pip put into the image's
environment goes to the same place in the run, and what it removed or replaced
there is gone in the run, too. What lies in the person's home is put elsewhere,
because the home is mounted over it, and Python is told where.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import site
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kfspawner.errors import SourceRefused
from kfspawner.packaging.base import (
    LISTED,
    distributions,
    own_site,
    read_record,
    recorded_files,
)
from kfspawner.packaging.editable import editable_modules, is_editable, is_pointer
from kfspawner.packaging.layer import Content, Deletion, Layer, make_layer
from kfspawner.packaging.native import missing_libraries

USER_BASE = "/opt/kfspawner/user"

_DOING = "packaging what was installed"
# The place that a distribution came from: its address may hold a password.
_LEFT = {"direct_url.json"}
_SHOWN = 3


@dataclass(frozen=True)
class Environment:
    """A Python, and where its packages are.

    Attributes
    ----------
    prefix
        Of the Python that the person uses.
    run_prefix
        Of the one that a run uses: the first of the image's PATH.
    site
        Where the person's Python has its packages.
    user_site, user_base
        Where ``pip install --user`` puts them; None where it does not.
    listed
        What `kfspawner.packaging.base` wrote when the image was built.
    began
        When the container began, in seconds since the epoch.
    """

    prefix: Path
    run_prefix: Path
    site: Path
    user_site: Path | None = None
    user_base: Path | None = None
    listed: Path = LISTED
    began: float = math.inf

    @classmethod
    def of_this_process(cls) -> Environment:
        """Return that of the kernel, or whatever this runs in."""
        python = shutil.which("python")
        prefix = Path(sys.prefix)
        run_prefix = Path(python).parent.parent if python else prefix
        found = cls(prefix, run_prefix, own_site(), began=_began())
        if not site.ENABLE_USER_SITE:
            return found
        user_site, user_base = Path(site.getusersitepackages()), Path(site.getuserbase())
        return replace(found, user_site=user_site, user_base=user_base)


@dataclass(frozen=True)
class Dependencies:
    """What a run needs besides the image and its own code.

    Attributes
    ----------
    installed
        Absolute paths in the run, and what is there.
    sources
        The same of editable installs, which change more often.
    env
        What Python is to be told by its environment.
    notes
        What the person is to know of it, a line each.
    """

    installed: Mapping[str, Content] = field(default_factory=dict)
    sources: Mapping[str, Content] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_dependencies(environment: Environment) -> Dependencies:
    """Return what was installed since the image of `environment` was built.

    An image that does not say what it came with is taken to have come with
    all that is not in the person's home; a note says what looks newer.

    Raises
    ------
    SourceRefused
        If the person uses a conda environment of their own, or metadata
        cannot be read.
    """
    prefix = environment.prefix
    if prefix.resolve() != environment.run_prefix.resolve():
        if (prefix / "conda-meta").is_dir():
            raise SourceRefused(
                _DOING,
                f"{prefix} is a conda environment of yours, and no run has it",
                "use the image's own kernel and install with pip, or have an image made of it",
            )
        note = f"{prefix} stays here: a run uses the image's own Python, {environment.run_prefix}"
        return Dependencies(notes=(note,))
    try:
        return _Search(environment).result()
    except OSError as error:
        raise SourceRefused(
            f"{_DOING}, reading {error.filename}",
            error.strerror or type(error).__name__,
            "make it readable, or install that package again",
        ) from error


class _Search:
    """Goes through the distributions of an environment, once."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._installed: dict[str, Content] = {}
        self._sources: dict[str, Content] = {}
        self._env: dict[str, str] = {}
        self._notes: list[str] = []

    def result(self) -> Dependencies:
        own, user = self._environment, self._environment.user_site
        if own.listed.is_dir():
            self._compare(own.site, own.listed)
        else:
            self._tell_newer()
        if user and own.user_base and user.is_dir():
            for metadata in distributions(user):
                self._take(metadata, own.user_base, Path(USER_BASE))
                self._env["PYTHONUSERBASE"] = USER_BASE
        return Dependencies(self._installed, self._sources, self._env, tuple(self._notes))

    def _compare(self, place: Path, listed: Path) -> None:
        came = {path.name: path for path in listed.iterdir()}
        gone: list[str] = []
        for metadata in distributions(place):
            copy = came.pop(metadata.name, None)
            before = copy.read_bytes() if copy else None
            if before == read_record(metadata):
                continue
            gone += recorded_files(before or b"")
            self._take(metadata, self._environment.prefix, self._environment.prefix)
        for copy in came.values():
            gone += recorded_files(copy.read_bytes())
        for path in gone:
            self._remove(place, path)

    def _tell_newer(self) -> None:
        own = self._environment
        newer = [path.stem for path in distributions(own.site) if path.stat().st_ctime > own.began]
        if newer:
            more = f" and {len(newer) - _SHOWN} more" if len(newer) > _SHOWN else ""
            self._notes.append(
                f"{', '.join(newer[:_SHOWN])}{more} in {own.site} stay here: the image does not "
                "say what it came with; install with pip install --user, or have it say so"
            )

    def _take(self, metadata: Path, old: Path, new: Path) -> None:
        """Take a distribution along whose files are below `old`, to below `new`."""
        record = read_record(metadata)
        if not record:
            self._notes.append(
                f"{metadata.name} stays here: it does not say which files are its own; "
                "install it again with pip"
            )
            return
        editable = is_editable(metadata)
        elsewhere = False
        for name in recorded_files(record):
            path = Path(os.path.normpath(metadata.parent / name))
            if path.suffix == ".pyc" or path.name in _LEFT or (editable and is_pointer(path)):
                continue
            if not path.is_relative_to(old):
                elsewhere = True
            elif path.is_file():
                place = (new / path.relative_to(old)).as_posix()
                self._installed[place] = path.resolve() if path.is_symlink() else path
        if elsewhere:
            self._notes.append(f"files of {metadata.name} outside of {old} stay here")
        if editable:
            files, notes = editable_modules(metadata)
            self._notes += notes
            top = new / metadata.parent.relative_to(old)
            self._sources |= {f"{top.as_posix()}/{path}": file for path, file in files.items()}

    def _remove(self, place: Path, name: str) -> None:
        """Have what is not there any more removed from the image, directories whole."""
        path = Path(os.path.normpath(place / name))
        prefix = self._environment.prefix
        if path.suffix == ".pyc" or path.exists() or not path.is_relative_to(prefix):
            return
        while path.parent != prefix and not path.parent.exists():
            path = path.parent
        self._installed[path.as_posix()] = Deletion()


def _began() -> float:
    """Return when the first process here began; never, where the kernel does not tell."""
    try:
        ticks = int(Path("/proc/1/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        ago = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return math.inf
    return time.time() - ago


class Layers:
    """Makes the layers of dependencies, and keeps the large one while nothing changes.

    It is in a temporary file without a name, which ends with this process.

    Attributes
    ----------
    warnings
        A line for each native library that the kept layer needs and the image lacks.
    """

    def __init__(self) -> None:
        self.warnings: tuple[str, ...] = ()
        self._stamp = ""
        self._kept: Layer | None = None

    def make(self, found: Dependencies, prefix: Path) -> Sequence[Layer]:
        """Return the layers of `found`, the lowest first; none where nothing was installed.

        Parameters
        ----------
        found
            What was installed.
        prefix
            Where the image's own packages are.

        Raises
        ------
        SourceRefused
            If a file cannot be read, or cannot be in an image.
        """
        layers: list[Layer] = []
        stamp = _stamp(found.installed)
        if stamp != self._stamp:
            self.close()
            if found.installed:
                self._kept = _make(found.installed)
                self.warnings = tuple(
                    f"{path} needs {library}, which the image lacks"
                    for library, path in sorted(missing_libraries(found.installed, prefix).items())
                )
            self._stamp = stamp
        if self._kept is not None:
            layers.append(self._kept)
        if found.sources:
            layers.append(_make(found.sources))
        return layers

    def close(self) -> None:
        """Let go of what is kept."""
        if self._kept is not None:
            self._kept.kept.close()
        self._kept, self._stamp, self.warnings = None, "", ()


def _make(files: Mapping[str, Content]) -> Layer:
    return make_layer({path.lstrip("/"): content for path, content in files.items()}, "/")


def _stamp(files: Mapping[str, Content]) -> str:
    """Return what changes when one of `files` does, without reading them."""
    stamp = hashlib.sha256()
    for line in _lines(files):
        stamp.update(line.encode("utf-8", "surrogateescape"))
    return stamp.hexdigest()


def _lines(files: Mapping[str, Content]) -> Iterator[str]:
    for path, content in sorted(files.items()):
        if isinstance(content, Path):
            found = content.stat()
            yield f"{path}\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n"
        else:
            yield f"{path}\0{content!r}\n"
