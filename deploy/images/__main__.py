"""``python3 -m deploy.images``: build, push or pin the images."""

from __future__ import annotations

import argparse
import os
import sys
import time

from deploy.errors import DeployError
from deploy.images import build, build_all, push
from deploy.images.lock import lock
from deploy.node.layout import REGISTRY

_WORDS = {
    "build": "build what this machine lacks",
    "push": "send what was built to the registry",
    "all": "build and send what the registry lacks",
    "lock": "pin the newest versions of what the images install",
}


def main(words: list[str] | None = None) -> int:
    """Do what the command line says; print each image's reference by digest."""
    parser = argparse.ArgumentParser(prog="python3 -m deploy.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in _WORDS.items():
        command = commands.add_parser(name, help=what)
        if name in ("push", "all"):
            ours = f"{REGISTRY}/kfspawner"
            command.add_argument("--registry", default=os.environ.get("REGISTRY", ours))
            command.add_argument("--plain-http", action="store_true", help="registry without TLS")
    given = parser.parse_args(words)
    begun = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        if given.command == "build":
            build(report=report)
        elif given.command == "lock":
            lock(report)
        else:
            bring = push if given.command == "push" else build_all
            plain_http = given.plain_http or given.registry.startswith(f"{REGISTRY}/")
            digests = bring(given.registry, plain_http=plain_http, report=report)
            for name, reference in digests.items():
                print(f"{name}={reference}")
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was built stays", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
