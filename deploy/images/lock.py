"""Pins what the images install: each requirements.txt from its requirements.in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from deploy.errors import DeployError
from deploy.images.plan import CHECKOUT
from deploy.images.work import Report

_PYTHON = (3, 11)
_NOT_PLAIN = re.compile(r"[-_.]+")
# An image's own packages, and the extra of pyproject.toml that it installs for.
_EXTRAS = {"base": "", "hub": "hub", "cpu": "notebook"}


def lock(report: Report = print, checkout: Path = CHECKOUT) -> None:
    """Write the newest versions that go together, for this Python, into the requirements files.

    Raises
    ------
    DeployError
        If this is not the images' Python, or pip finds no set that goes together.
    """
    if sys.version_info[:2] != _PYTHON:
        wanted = ".".join(map(str, _PYTHON))
        raise DeployError(
            "pinning the images' packages",
            f"this is Python {sys.version.split()[0]}",
            f"run it with Python {wanted}, which the images have",
        )
    project = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["project"]
    for name, extra in _EXTRAS.items():
        directory = checkout / "images" / name
        asked = project["optional-dependencies"][extra] if extra else []
        pins = _resolve(directory / "requirements.in", asked)
        _write(directory, pins)
        report(f"{name}: {len(pins)} packages")
    directory = checkout / "images" / "gpu"
    below = checkout / "images" / "cpu" / "requirements.txt"
    pinned = set(below.read_text("utf-8").splitlines())
    tensorflow = next(pin for pin in pinned if pin.startswith("tensorflow-cpu=="))
    same = f"tensorflow=={tensorflow.partition('==')[2]}"
    pins = [
        pin
        for pin in _resolve(directory / "requirements.in", [same, "-c", str(below)])
        if pin not in pinned
    ]
    _write(directory, pins)
    report(f"gpu: {len(pins)} packages over those of cpu")


def _resolve(wanted: Path, more: list[str]) -> list[str]:
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--quiet", "--report", "-", "-r", str(wanted), *more]
    # The oldest of this Python: the images' own may be older than the one at hand.
    command += ["--python-version", ".".join(map(str, _PYTHON)), "--only-binary", ":all:"]
    command += ["--target", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(
            f"pinning {wanted}",
            done.stderr.strip()[-800:].replace("\n", " | "),
            "loosen what it asks for, or see that pip reaches its package index",
        )
    found = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    names = [_NOT_PLAIN.sub("-", item["name"]).lower() for item in found]
    return sorted(f"{name}=={item['version']}" for name, item in zip(names, found, strict=True))


def _write(directory: Path, pins: list[str]) -> None:
    text = "# Written by `python3 -m deploy.images lock`.\n" + "".join(f"{pin}\n" for pin in pins)
    (directory / "requirements.txt").write_text(text, "utf-8")
