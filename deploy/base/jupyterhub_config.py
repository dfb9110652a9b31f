"""What the administrator edits. Files in jupyterhub_config.d/ come after it, in the order of names.

The deployment gives the addresses and secrets as environment variables; see
deploy/base/hub.yaml.
"""

import os
from pathlib import Path

from kfspawner.hub.database import SQLITE

c = get_config()  # type: ignore[name-defined]  # noqa: F821

NAMESPACE = os.environ.get("POD_NAMESPACE", "kfspawner")

# The hub's own address, and where the proxy and the servers find it.
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"
c.JupyterHub.hub_connect_url = f"http://hub.{NAMESPACE}.svc:8081"
c.JupyterHub.db_url = "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
c.JupyterHub.db_kwargs = SQLITE

# The proxy is a Deployment of its own: servers stay reachable while the hub restarts.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = f"http://proxy-api.{NAMESPACE}.svc:8001"
c.ConfigurableHTTPProxy.auth_token = os.environ["CONFIGPROXY_AUTH_TOKEN"]
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.cleanup_servers = False
# How soon a proxy that was restarted learns its routes again, in seconds.
c.JupyterHub.last_activity_interval = 30

# Where people's servers and files go.
c.JupyterHub.spawner_class = "kfspawner"
c.KfSpawner.registry_prefix = os.environ["KFSPAWNER_REGISTRY_PREFIX"]

# People's files, on the cluster's default StorageClass. On an NFS export, with
# deploy/homes:
#   {"server": "nfs.example", "path": "/export/homes", "capacity": "10Gi",
#    "folder_capacity": "100Gi"}
c.KfSpawner.home = {"capacity": "10Gi"}

# One person may run several servers: one in each of their profiles, or more.
c.JupyterHub.allow_named_servers = True
c.JupyterHub.named_server_limit_per_user = 8

# Everyone's own profile: a namespace, and what may be used in it. The keys of a
# quota are those of a Kubernetes ResourceQuota.
c.KfSpawner.personal_profile = {
    "quota": {
        "requests.cpu": "16",
        "requests.memory": "64Gi",
        "requests.nvidia.com/gpu": "1",
        "requests.storage": "50Gi",
        "persistentvolumeclaims": "5",
        "pods": "50",
    },
    "default_limits": {"cpu": "1", "memory": "1Gi"},
}

# Profiles that people share, by the name of their namespace:
#   "vision": {
#       "display_name": "Vision",
#       "owner": "alice",
#       "members": {"bob": "edit", "carol": "view"},
#       "groups": {"vision-team": "edit"},
#       "quota": {"requests.nvidia.com/gpu": "4", "requests.memory": "256Gi"},
#       "image_profiles": ["cpu", "gpu"],
#       "default_limits": {"cpu": "1", "memory": "2Gi"},
#   }
# Those made with kubectl count the same.
c.KfSpawner.profiles = {}

# What a server can be.
c.KfSpawner.image_profiles = {
    "cpu": {
        "display_name": "CPU",
        "description": "JupyterLab with scikit-learn and TensorFlow, for small models.",
        "image": os.environ["KFSPAWNER_IMAGE_CPU"],
        "cpu": {"min": 0.5, "max": 8, "default": 2, "guarantee": 0.5},
        "memory": {"min": "1G", "max": "16G", "default": "4G"},
    },
    "gpu": {
        "display_name": "GPU",
        "description": "The same with CUDA, for training. Holds its GPU until you stop the server.",
        "image": os.environ["KFSPAWNER_IMAGE_GPU"],
        "cpu": {"min": 1, "max": 16, "default": 4, "guarantee": 1},
        "memory": {"min": "2G", "max": "64G", "default": "16G"},
        "gpu": {"min": 1, "max": 1, "resource": "nvidia.com/gpu"},
    },
}

# An existing `c.KubeSpawner.profile_list` goes on working as `c.KfSpawner.profile_list`,
# beside these or in their place; images that people type may be limited:
#   c.KfSpawner.allowed_registries = ["quay.io/team", "docker.io"]

# What nobody uses is stopped. A server with a kernel or a terminal's job at work is in
# use; one with nothing but an open window is not. `kfspawner idle --help` tells more;
# `--demote gpu=cpu` starts GPU servers anew without a GPU, and needs the scope `servers`.
c.JupyterHub.services = [
    {
        "name": "idle",
        "command": [
            "kfspawner",
            "idle",
            "--after=24h",
            "--image-profile=gpu=4h",
            "--warning=10m",
        ],
        "environment": {
            "KFSPAWNER_HUB_URL": "http://127.0.0.1:8081",
            "JPY_COOKIE_SECRET": os.environ["JPY_COOKIE_SECRET"],
        },
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle",
        "description": "See which servers run and where, and stop them",
        "services": ["idle"],
        "scopes": ["list:users", "read:servers", "admin:server_state", "delete:servers"],
    }
]

for path in sorted(Path(__file__).with_name("jupyterhub_config.d").glob("*.py")):
    # In this file's own namespace, so that they can change what stands above.
    exec(compile(path.read_bytes(), path, "exec"))  # noqa: S102
