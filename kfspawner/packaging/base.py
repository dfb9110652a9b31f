"""What an image came with, so that what a person installs since can be told from it.

The build of an image ends with ``python -m kfspawner.packaging.base``. It
keeps a copy of each distribution's RECORD: pip writes a new one with all that
it does, and a copy still names the files that an upgrade has removed. Owners
and times do not tell: people install into the image's own environment.
"""

from __future__ import annotations

import csv
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LISTED = Path("/opt/kfspawner/packages")


def own_site() -> Path:
    """Return the directory that this Python's packages are installed in."""
    return Path(sysconfig.get_path("purelib"))


def distributions(site: Path) -> Iterator[Path]:
    """Yield where the metadata of each distribution in `site` is, by name."""
    for path in sorted(site.glob("*-info")):
        if path.suffix in {".dist-info", ".egg-info"}:
            yield path


def read_record(metadata: Path) -> bytes:
    """Return a distribution's RECORD; nothing where an old tool wrote none."""
    try:
        return (metadata / "RECORD").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def recorded_files(record: bytes) -> Iterator[str]:
    """Yield the paths that a RECORD names, relative to the site it is in."""
    for row in csv.reader(record.decode("utf-8", "surrogateescape").splitlines()):
        if row:
            yield row[0]


def list_packages(site: Path, listed: Path) -> None:
    """Keep, in the directory `listed`, what is installed in `site`, and nothing of before."""
    listed.mkdir(parents=True, exist_ok=True)
    for old in listed.iterdir():
        old.unlink()
    for metadata in distributions(site):
        (listed / metadata.name).write_bytes(read_record(metadata))


if __name__ == "__main__":
    list_packages(own_site(), LISTED)
