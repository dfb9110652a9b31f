"""The labels and annotations by which kfspawner knows what is whose."""

from __future__ import annotations

# On all that kfspawner makes.
MANAGED_BY = {"app.kubernetes.io/managed-by": "kfspawner"}

# On what belongs to one person: the slug of the name, and the name itself,
# which a label value cannot always hold.
USER_LABEL = "kfspawner.io/user"
USER_ANNOTATION = "kfspawner.io/user-name"

# On a server's pod, by KubeSpawner: the person's name.
USERNAME_ANNOTATION = "hub.jupyter.org/username"

# On a run and its pods: the run's name.
RUN_LABEL = "kfspawner.io/run"

# On a Profile's namespace: the Profile's name, the slug of its owner's name,
# and the Profile's uid. A namespace that was there before is taken over only
# if it bears the second.
PROFILE_LABEL = "kfspawner.io/profile"
OWNER_LABEL = "kfspawner.io/owner"
UID_ANNOTATION = "kfspawner.io/profile-uid"

# On a Profile, for what kubeflow.org/v1 has no field for.
GROUPS_ANNOTATION = "kfspawner.io/groups"
MEMBERS_ANNOTATION = "kfspawner.io/members"
IMAGE_PROFILES_ANNOTATION = "kfspawner.io/image-profiles"
DEFAULT_LIMITS_ANNOTATION = "kfspawner.io/default-limits"
DISPLAY_NAME_ANNOTATION = "kfspawner.io/display-name"
# Its value is the Profile's name: who writes it wants the files gone too.
DELETE_FILES_ANNOTATION = "kfspawner.io/delete-files"

# On what is too large to be read again and again: a digest of what it should say.
DIGEST_ANNOTATION = "kfspawner.io/digest"

# On the RoleBinding of a member, as Kubeflow's access management writes them.
MEMBER_USER_ANNOTATION = "user"
MEMBER_ROLE_ANNOTATION = "role"
