"""The labels and annotations by which kfspawner knows what is whose."""

from __future__ import annotations

# On all that kfspawner makes.
MANAGED_BY = {"app.kubernetes.io/managed-by": "kfspawner"}

# On what belongs to one person: the slug of the name, and the name itself,
# which a label value cannot always hold.
USER_LABEL = "kfspawner.io/user"
USER_ANNOTATION = "kfspawner.io/user-name"

# On a server's pod, by KubeSpawner: the person's name, and the server's; as a label,
# the slug of the latter.
USERNAME_ANNOTATION = "hub.jupyter.org/username"
SERVERNAME_ANNOTATION = SERVERNAME_LABEL = "hub.jupyter.org/servername"

# On a server's pod: the namespace of the hub that started it.
HUB_LABEL = "kfspawner.io/hub"

# On a server's pod: the key of its image profile.
IMAGE_PROFILE_ANNOTATION = "kfspawner.io/image-profile"

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

# On a volume that the provisioner made: what is in it ("home", "folder" or
# "archive"), and on which Profile's namespace it was made for, of several of one
# name after each other.
VOLUME_LABEL = "kfspawner.io/volume"
NAMESPACE_UID_ANNOTATION = "kfspawner.io/namespace-uid"

# On a Profile, by the hub: what its servers mount besides homes, as JSON.
MOUNTS_ANNOTATION = "kfspawner.io/mounts"

# On a person's own Profile, by the hub or the administrator: the uid that is theirs
# in every profile, "20001".
PERSON_UID_ANNOTATION = "kfspawner.io/person-uid"

# On a home's claim: the uid and gid that own the directory, "1000:100".
OWNER_IDS_ANNOTATION = "kfspawner.io/owner-ids"

# On a claim or a volume: what the provisioner is asked to do with it, and what
# keeps it from doing that.
REQUEST_ANNOTATION = "kfspawner.io/request"
TROUBLE_ANNOTATION = "kfspawner.io/trouble"

# On a volume whose directory is archived, or about to be: under which name, and when.
ARCHIVED_AS_ANNOTATION = "kfspawner.io/archived-as"
ARCHIVED_AT_ANNOTATION = "kfspawner.io/archived-at"

# On the volume of an archive: whose it is to be, ``<profile>/<person>``.
HEIR_ANNOTATION = "kfspawner.io/heir"

# On a volume whose directory is given back: from which archive.
RESTORED_FROM_ANNOTATION = "kfspawner.io/restored-from"

# On a volume: how many bytes are in it, when one of its files last changed, and
# when that was looked at.
USED_ANNOTATION = "kfspawner.io/used-bytes"
CHANGED_ANNOTATION = "kfspawner.io/last-change"
MEASURED_ANNOTATION = "kfspawner.io/measured-at"
