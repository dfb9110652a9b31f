"""The local overlay: one password for all, small servers, GPUs that may be only counted."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821

# Any user name, with the password that was made when the node was brought up.
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["KFSPAWNER_PASSWORD"]
c.SharedPasswordAuthenticator.allow_all = True
c.SharedPasswordAuthenticator.admin_users = set()

# What drives the demonstration and the tests: nobody's sign-in, a token of its own.
c.JupyterHub.services += [{"name": "admin-cli", "api_token": os.environ["KFSPAWNER_ADMIN_TOKEN"]}]
c.JupyterHub.load_roles += [
    {
        "name": "admin-cli",
        "description": "Make users, start and stop their servers, and use them",
        "services": ["admin-cli"],
        "scopes": [
            "admin:users",
            "admin:groups",
            "admin:servers",
            "access:servers",
            "tokens",
            "read:hub",
        ],
    }
]

# The node's own registry speaks plain HTTP, and never leaves this machine.
c.KfSpawner.registry_plain_http = os.environ["KFSPAWNER_REGISTRY_PLAIN_HTTP"] == "1"
# What the machine trusts that deployed this, people's servers trust.
c.KfSpawner.private_ca = True

# On the node's own NFS server, or the default StorageClass of another cluster.
c.KfSpawner.home = {"capacity": "2Gi"}
if os.environ["KFSPAWNER_NFS_SERVER"]:
    c.KfSpawner.home |= {
        "server": os.environ["KFSPAWNER_NFS_SERVER"],
        "path": os.environ["KFSPAWNER_NFS_PATH"],
        "folder_capacity": "2Gi",
    }

# One to try sharing with: its owner is alice, and bob works in it too.
c.KfSpawner.profiles = {
    "vision": {
        "display_name": "Vision team",
        "owner": "alice",
        "members": {"bob": "edit", "carol": "view"},
        "groups": {"vision": "edit"},
        "quota": {
            "requests.cpu": "4",
            "requests.memory": "8Gi",
            "requests.nvidia.com/gpu": "1",
            "requests.storage": "20Gi",
            "persistentvolumeclaims": "10",
            "pods": "20",
        },
        "default_limits": {"cpu": "500m", "memory": "512Mi"},
    },
}

# Small enough for several servers on two cores.
for profile in c.KfSpawner.image_profiles.values():
    profile["cpu"] = {"min": 0.5, "max": 2, "default": 1, "guarantee": 0.1}
    profile["memory"] = {"min": "512M", "max": "2G", "default": "1G", "guarantee": "256M"}

c.KfSpawner.image_profiles["gpu"]["simulated"] = os.environ["KFSPAWNER_SIMULATED_GPUS"] == "1"
