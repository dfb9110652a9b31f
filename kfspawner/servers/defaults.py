"""KubeSpawner's own traits, with the defaults that kfspawner gives them."""

from __future__ import annotations

from typing import Any

from kubespawner import KubeSpawner
from traitlets import default

from kfspawner.labels import MANAGED_BY
from kfspawner.names import home_claim_name, namespace_name, server_pod_name
from kfspawner.profiles.manifests import EDITOR_ACCOUNT, make_labels

HOME = "/home/jovyan"
# Our images start the server by a quicker way; whoever brings an image of their own need not.
_COMMAND = (
    'command -v kfspawner-singleuser >/dev/null && exec kfspawner-singleuser "$@"; '
    'exec jupyterhub-singleuser "$@"'
)


def make_directory_container(image: str, sub_path: str) -> dict[str, Any]:
    """Return the container that makes a person's directory in a claim that people share.

    It runs before the server and as the same user: what kubelet makes is root's.

    Parameters
    ----------
    image
        The server's.
    sub_path
        The directory, below the claim.
    """
    where = "/run/home"
    return {
        "name": "home",
        "image": image,
        "command": ["mkdir", "-p", "-m", "0700", f"{where}/{sub_path}"],
        "volumeMounts": [{"name": "home", "mountPath": where}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "100m", "memory": "64Mi"},
        },
    }


class Defaults(KubeSpawner):  # type: ignore[misc]
    """KubeSpawner with a namespace per profile and pods that pass Pod Security `restricted`.

    Each default can be configured otherwise, as in KubeSpawner itself.
    """

    # Whose it is.

    @default("enable_user_namespaces")
    def _default_enable_user_namespaces(self) -> bool:
        return True

    @default("user_namespace_template")
    def _default_user_namespace_template(self) -> str:
        # Made of letters, digits and hyphens: nothing in it can be taken for a template.
        # It is where a server is until its profile is chosen.
        return namespace_name(self.user.name)

    @default("pod_name_template")
    def _default_pod_name_template(self) -> str:
        return server_pod_name(self.user.name, self.name)

    @default("pvc_name_template")
    def _default_pvc_name_template(self) -> str:
        return home_claim_name(self.user.name)

    @default("storage_pvc_ensure")
    def _default_storage_pvc_ensure(self) -> bool:
        return True

    @default("remember_pvc_name")
    def _default_remember_pvc_name(self) -> bool:
        # The name follows from the person's; a remembered one might be gone.
        return False

    @default("delete_pvc")
    def _default_delete_pvc(self) -> bool:
        # The home of a deleted person is archived.
        return True

    @default("cmd")
    def _default_cmd(self) -> list[str]:
        return ["sh", "-c", _COMMAND, "sh"]

    @default("working_dir")
    def _default_working_dir(self) -> str:
        return HOME

    @default("start_timeout")
    def _default_start_timeout(self) -> int:
        # A large image on a new node, or a wait for a GPU.
        return 600

    @default("http_timeout")
    def _default_http_timeout(self) -> int:
        return 60

    @default("slow_spawn_message_threshold")
    def _default_slow_spawn_message_threshold(self) -> int:
        # Never: asking for patience would cover what the server waits for.
        return 0

    @default("extra_labels")
    def _default_extra_labels(self) -> dict[str, str]:
        return make_labels(self.user.name)

    # What it may do.

    @default("service_account")
    def _default_service_account(self) -> str:
        return EDITOR_ACCOUNT

    @default("automount_service_account_token")
    def _default_automount_service_account_token(self) -> bool:
        # The notebook submits runs with it.
        return True

    @default("uid")
    def _default_uid(self) -> int:
        return 1000

    @default("gid")
    def _default_gid(self) -> int:
        return 100

    @default("fs_gid")
    def _default_fs_gid(self) -> int:
        return 100

    @default("allow_privilege_escalation")
    def _default_allow_privilege_escalation(self) -> bool:
        return False

    @default("container_security_context")
    def _default_container_security_context(self) -> dict[str, Any]:
        return {"capabilities": {"drop": ["ALL"]}}

    @default("pod_security_context")
    def _default_pod_security_context(self) -> dict[str, Any]:
        return {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            "fsGroupChangePolicy": "OnRootMismatch",
        }

    @default("extra_pod_config")
    def _default_extra_pod_config(self) -> dict[str, Any]:
        return {"enableServiceLinks": False}

    @default("extra_container_config")
    def _default_extra_container_config(self) -> dict[str, Any]:
        # The end of the log of a server that crashes stands in the pod's status.
        return {"terminationMessagePolicy": "FallbackToLogsOnError"}

    @default("common_labels")
    def _default_common_labels(self) -> dict[str, str]:
        return {"app.kubernetes.io/name": "jupyterhub", **MANAGED_BY}
