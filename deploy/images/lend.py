"""What this machine lends to a build: how it reaches its package indexes.

It is mounted into the build as ``/run/host`` and is no part of an image:

========= ==========================================================
env       for ``sh``: pip's and npm's settings, proxies, certificates
ca.crt    the certificate authorities that this machine trusts
npmrc     npm's configuration of this user
apt.conf  apt's transports; with sources.list, its Debian mirrors
wheels/   local directories that pip is told to find links in
========= ==========================================================
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.images.plan import CONTEXT

INSIDE = "/run/host"
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_PROXIES = re.compile(r"(https?|ftp|all|no)_proxy", re.IGNORECASE)
_SETTING = re.compile(
    r"^(?P<section>[^.]+)\.(?P<key>[^=]+)=(?P<quote>['\"])(?P<value>.*)(?P=quote)$"
)
# Settings of pip that name a file or directory of this machine, or how it talks here.
_STAY = {"cert", "client-cert", "cache-dir", "target", "prefix", "root", "user", "log", "python"}
_APT = re.compile(r'^(Acquire::(?:https?|ftp|Retries|Check-\w+(?:-\w+)*)\b[^ ]*) "(.+)";$')


def lend(directory: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Write what this machine lends into `directory`, which is empty."""
    settings = pip_settings(_pip_config(environ))
    settings |= {name: value for name, value in environ.items() if _PROXIES.fullmatch(name)}
    settings["KFSPAWNER_TORCH_INDEX"] = environ.get("KFSPAWNER_TORCH_INDEX", "")
    settings["PIP_CACHE_DIR"] = "/run/pip"
    settings["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    settings["PIP_ROOT_USER_ACTION"] = "ignore"
    settings["NPM_CONFIG_CACHE"] = "/run/npm"
    settings["NPM_CONFIG_UPDATE_NOTIFIER"] = "false"
    bundle = certificates(environ)
    if bundle:
        shutil.copyfile(bundle, directory / "ca.crt")
        for name in ("PIP_CERT", "SSL_CERT_FILE", "NPM_CONFIG_CAFILE", "NODE_EXTRA_CA_CERTS"):
            settings[name] = f"{INSIDE}/ca.crt"
    _lend_wheels(settings, directory / "wheels")
    npmrc = Path(environ.get("NPM_CONFIG_USERCONFIG", Path.home() / ".npmrc"))
    if npmrc.is_file():
        shutil.copyfile(npmrc, directory / "npmrc")
        settings["NPM_CONFIG_USERCONFIG"] = f"{INSIDE}/npmrc"
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(settings.items())]
    (directory / "env").write_text("".join(lines), "utf-8")
    (directory / "sources.list").write_text("".join(f"{line}\n" for line in debian_mirrors()))
    options = [f'{name} "{value}";\n' for name, value in apt_options()]
    if bundle:
        options.append(f'Acquire::https::CaInfo "{INSIDE}/ca.crt";\n')
    (directory / "apt.conf").write_text("".join(options))


def certificates(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of certificate authorities that this machine trusts."""
    for name in (environ.get("PIP_CERT"), environ.get("SSL_CERT_FILE"), *_BUNDLES):
        if name and Path(name).is_file():
            return Path(name)
    return None


def pip_settings(listed: str) -> dict[str, str]:
    """Return as environment variables what ``pip config list`` printed.

    The environment wins over a command's section of a file, and that over the
    section for all commands.
    """
    ranked: dict[str, tuple[int, str]] = {}
    for line in listed.splitlines():
        found = _SETTING.match(line)
        if not found:
            continue
        section, key = found["section"], found["key"].lstrip(".").lower().replace("_", "-")
        rank = {"global": 0, "install": 1, ":env:": 2}.get(section)
        if rank is None or key in _STAY:
            continue
        # Several values are lines in a file, words in the environment.
        value = " ".join(found["value"].replace("\\n", "\n").split())
        if rank >= ranked.get(key, (0, ""))[0]:
            ranked[key] = (rank, value)
    return {f"PIP_{key.upper().replace('-', '_')}": value for key, (_, value) in ranked.items()}


def debian_mirrors() -> list[str]:
    """Return the lines for bookworm of this machine's apt sources, or Debian's own."""
    plain = (CONTEXT / "debian" / "sources.list").read_text("utf-8").splitlines()
    if not shutil.which("apt-get"):
        return plain
    form = "$(CREATED_BY) $(ORIGIN) $(COMPONENT) $(REPO_URI) $(RELEASE)"
    shown = _print(["apt-get", "indextargets", "--format", form])
    mirrors = []
    for line in shown.splitlines():
        words = line.split()
        if words[:3] == ["Packages", "Debian", "main"] and words[4].startswith("bookworm"):
            mirrors.append(f"deb {words[3].rstrip('/')} {words[4]} main")
    return sorted(set(mirrors)) or plain


def apt_options() -> list[tuple[str, str]]:
    """Return how this machine's apt reaches its mirrors: proxies, timeouts, checks."""
    if not shutil.which("apt-config"):
        return []
    found = (_APT.match(line) for line in _print(["apt-config", "dump"]).splitlines())
    return [(match[1], match[2]) for match in found if match]


def _pip_config(environ: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(environ), check=False)
    return done.stdout


def _lend_wheels(settings: dict[str, str], directory: Path) -> None:
    """Take local directories of wheels along; what is not local stays as it is."""
    links = []
    for word in settings.pop("PIP_FIND_LINKS", "").split():
        place = Path(word.removeprefix("file://"))
        if not place.is_absolute():
            links.append(word)
        elif place.is_dir() and any(place.iterdir()):
            shutil.copytree(place, directory, dirs_exist_ok=True)
            links.append(f"{INSIDE}/wheels")
    if links:
        settings["PIP_FIND_LINKS"] = " ".join(dict.fromkeys(links))


def _print(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
