"""What a server knows of itself.

The spawner writes it as environment variables, the notebook reads it: the
one thing that the two sides share.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields

from kfspawner.errors import ContextMissing

_PREFIX = "KFSPAWNER_"

# What the hub's services show to a server, so that it believes them: in its
# environment, and in their requests.
KEY_VARIABLE = "KFSPAWNER_SERVER_KEY"
KEY_HEADER = "X-Kfspawner-Key"
# The hub's own secret, from which every server's key follows.
SECRET_VARIABLE = "JPY_COOKIE_SECRET"  # noqa: S105 - where it stands, not what it is

# What the text of a variable stands for, by the type of its field.
_READ: Mapping[str, Callable[[str], str | bool | int]] = {
    "str": str,
    "int": int,
    "bool": lambda text: text == "1",
}


def make_server_key(secret: str, person: str, server: str) -> str:
    """Return the key of one server, which tells nothing of another's.

    It opens what our server extension tells and takes, and nothing else. A token of
    the hub would be worth more to whoever has the server.
    """
    about = json.dumps(["server key", person, server]).encode()
    return hmac.new(secret.encode(), about, "sha256").hexdigest()


@dataclass(frozen=True)
class ServerContext:
    """The facts about one person's server that the notebook side needs.

    Attributes
    ----------
    user
        The person's JupyterHub name, as they typed it.
    namespace
        The namespace that their server and their runs live in.
    image
        The image reference that the server was started from.
    repository
        Where their run images go: ``registry.example/prefix/namespace/runs``.
    registry_plain_http
        True where that registry speaks HTTP without TLS.
    home_claim
        The PersistentVolumeClaim that holds their files.
    home
        Where the server mounts it, an absolute path.
    home_sub_path
        The directory of that claim that is theirs; empty where all of it is.
    mounts
        What else the server mounts, and its runs too: JSON, a list of claim, path and
        whether it is read-only.
    uid, gid
        The user and group that own those files; runs run as them too.
    ca_config_map
        A ConfigMap of the namespace with the certificate authorities that this
        network needs, under the key ``ca.crt``; empty where there is none.
    """

    user: str
    namespace: str
    image: str
    repository: str
    home_claim: str
    home: str = "/home/jovyan"
    registry_plain_http: bool = False
    ca_config_map: str = ""
    home_sub_path: str = ""
    mounts: str = "[]"
    uid: int = 1000
    gid: int = 100

    def to_env(self) -> dict[str, str]:
        """Return the environment variables that carry this context."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            _PREFIX + name.upper(): value if isinstance(value, str) else str(int(value))
            for name, value in values.items()
        }

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> ServerContext:
        """Return the context that `environ` carries.

        Raises
        ------
        ContextMissing
            If this process was not started by KfSpawner, or by an older one.
        """
        values: dict[str, str | bool | int] = {}
        missing = []
        for field in fields(cls):
            name = _PREFIX + field.name.upper()
            if name in environ:
                text = environ[name]
                values[field.name] = _READ[str(field.type)](text)
            elif field.default is MISSING:
                missing.append(name)
        if missing:
            raise ContextMissing(
                "reading this server's context",
                f"{', '.join(missing)} not in the environment",
                "run this in a notebook server that kfspawner started; if it is one, "
                "stop and start it from the hub's control panel",
            )
        return cls(**values)  # type: ignore[arg-type]
