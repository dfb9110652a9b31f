"""Every cluster name that is made from a person's input.

Two rules hold for all of them. A name is valid where it is used, whatever
the input was. Two different inputs never share a name: an input that is not
already a plain DNS label gets a hash of itself, after three hyphens that no
plain label here may contain.

The second rule holds as far as 64 bits of SHA-256 do. So whoever finds an object
under such a name asks whose it is before using it: a Profile has its owner, a
binding its subject, claims and pods an annotation with the person's name.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets

from kfspawner.errors import NameRefused

# RFC 1123: a DNS label, and the longest that Kubernetes takes for a label value.
LABEL_LIMIT = 63
# A Job's pods are called <job>-<five characters>, and their name is a label value.
RUN_LIMIT = LABEL_LIMIT - 6
# Characters of SHA-256 in hexadecimal: 64 bits, so that two of a million people
# share a slug with a probability below 1 in 10^7.
_HASH_LENGTH = 16

# What the name of everyone's own profile begins with.
PERSONAL_PREFIX = "kf-"

_PLAIN = re.compile(r"[a-z](-?[a-z0-9])*")
_RUN = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NOT_LABEL = re.compile(r"[^a-z0-9]+")
# No vowels: a suffix never spells a word; no look-alikes (0 o, 1 l).
_SUFFIX_ALPHABET = "bcdfghjkmnpqrstvwxz2456789"


def slug(text: str, limit: int = LABEL_LIMIT) -> str:
    """Return a DNS label of at most `limit` characters for `text`, injectively.

    A plain label (a letter, then letters, digits and single hyphens) is
    returned as it is; anything else as ``<what is left of it>---<hash>``.
    """
    if len(text) <= limit and _PLAIN.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    kept = _NOT_LABEL.sub("-", text.lower()).strip("-")
    if kept and not kept[0].isalpha():
        kept = f"x-{kept}"
    kept = kept[: limit - len(digest) - 3].rstrip("-") or "x"
    return f"{kept}---{digest}"


def namespace_name(user: str) -> str:
    """Return the namespace of a person's own profile.

    The prefix keeps people out of namespaces that are not theirs, whatever
    they are called: a user ``kube-system`` owns ``kf-kube-system``.
    """
    return f"{PERSONAL_PREFIX}{slug(user, LABEL_LIMIT - len(PERSONAL_PREFIX))}"


def home_claim_name(user: str) -> str:
    """Return the name of the PersistentVolumeClaim that holds a person's files."""
    return f"home-{slug(user, LABEL_LIMIT - len('home-'))}"


def server_pod_name(user: str, server: str) -> str:
    """Return the name of the pod of a person's server; their default one is called ``""``."""
    if not server:
        return f"server-{slug(user, LABEL_LIMIT - len('server-'))}"
    # JSON, because hyphens between the two would make a-b + c what a + b-c is.
    return f"named-{slug(json.dumps([user, server]), LABEL_LIMIT - len('named-'))}"


def member_binding_name(user: str, role: str) -> str:
    """Return the name of the RoleBinding that gives `user` a `role` in a profile.

    Where the name is plain it is the one that Kubeflow's access management
    gives it: ``user-alice-clusterrole-edit``.
    """
    return slug(f"user-{user}-clusterrole-{role}")


def run_name(stem: str) -> str:
    """Return a fresh run name, ``<stem>-<five characters>``, for something called `stem`."""
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))
    kept = _NOT_LABEL.sub("-", stem.lower()).strip("-")
    kept = kept[: RUN_LIMIT - len(suffix) - 1].rstrip("-")
    if not kept or not kept[0].isalpha():
        kept = f"run-{kept}".rstrip("-")[: RUN_LIMIT - len(suffix) - 1].rstrip("-")
    return f"{kept}-{suffix}"


def check_run_name(name: str) -> str:
    """Return `name` if a run can bear it.

    Raises
    ------
    NameRefused
        If it is not a DNS label, or too long for the names of the run's pods.
    """
    if len(name) <= RUN_LIMIT and _RUN.fullmatch(name):
        return name
    raise NameRefused(
        f"naming a run {name[:80]!r}",
        f"Kubernetes takes lower-case letters, digits and hyphens, a letter first and no hyphen "
        f"last, at most {RUN_LIMIT} characters",
        f"try --name {run_name(name)[:-6] or 'run'}",
    )
