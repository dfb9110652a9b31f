"""``python3 -m deploy.node {status|exec} …``: look at the node, and inside it."""

from __future__ import annotations

import os
import sys

from deploy.errors import DeployError
from deploy.node import lifecycle
from deploy.node.layout import Layout


def main(words: list[str]) -> int:
    """Run one command; return the exit status."""
    layout = Layout.from_env()
    command = words[0] if words else "status"
    if command == "status":
        return 0 if lifecycle.status(layout) else 1
    if command == "exec" and words[1:]:
        inside = words[2:] if words[1] == "--" else words[1:]
        os.execvp("nsenter", [*lifecycle.enter(layout), *inside])  # noqa: S606
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DeployError as error:
        sys.exit(str(error))
