"""KfSpawner: KubeSpawner's traits and hooks, with kfspawner's answers."""

from __future__ import annotations

import json
import os
from typing import Any

from kfspawner.context import KEY_VARIABLE, SECRET_VARIABLE, ServerContext, make_server_key
from kfspawner.errors import Error
from kfspawner.profiles.answers import mapped
from kfspawner.profiles.manifests import CA_CONFIG_MAP, CA_KEY
from kfspawner.servers.choosing import CA_DIRECTORY
from kfspawner.servers.defaults import HOME
from kfspawner.servers.refused import StartRefused
from kfspawner.servers.starting import Starting

_CA_FILE = f"{CA_DIRECTORY}/{CA_KEY}"
# What pip, requests, OpenSSL, curl and Node read the authorities from.
_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)


class KfSpawner(Starting):
    """Spawns each server into the namespace of a profile that its person may use.

    Everything that KubeSpawner configures can be set here too; the defaults
    pass Pod Security `restricted`. In the order of a start, these hooks are
    overridden: those of `Choosing` and of `Starting`, `get_env`, and those of `Pods`.
    """

    # What is made on the cluster.

    async def start(self) -> str:
        """Start the server and return its URL; what goes wrong reads as one paragraph."""
        try:
            with mapped(self._doing):
                return await self._start_in_time()
        except Error as error:
            if self._options:
                self._refused[self.user.name] = self._options
            raise StartRefused(error) from error

    def get_env(self) -> dict[str, Any]:
        """Return the server's environment: JupyterHub's, the certificates', and our context."""
        env: dict[str, Any] = super().get_env()
        uid, gid = self._ids
        context = ServerContext(
            user=self.user.name,
            namespace=self.namespace,
            image=self.image,
            repository=f"{self.registry_prefix.rstrip('/')}/{self.namespace}/runs",
            home_claim=self.pvc_name,
            home_sub_path=self.home_source.sub_path_of(self.user.name),
            home=HOME,
            mounts=json.dumps([[it.claim, it.path, it.read_only] for it in self._mounted]),
            registry_plain_http=self.registry_plain_http,
            uid=uid,
            gid=gid,
            ca_config_map=CA_CONFIG_MAP if self.private_ca else "",
        )
        env.update(context.to_env())
        # Kubernetes replaces $(NAME) in values; a person may be called that.
        for name in ("KFSPAWNER_USER", "JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME"):
            env[name] = str(env[name]).replace("$", "$$")
        if secret := os.environ.get(SECRET_VARIABLE):
            env[KEY_VARIABLE] = make_server_key(secret, self.user.name, self.name)
        if self.private_ca:
            env.update(dict.fromkeys(_CA_VARIABLES, _CA_FILE))
        return env
