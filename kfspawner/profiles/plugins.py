"""What a Profile's plugins do: one is known, which Kubeflow has too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kfspawner.errors import ProfileRefused

if TYPE_CHECKING:
    from kfspawner.profiles.profile import Profile

_AWS = "AwsIamForServiceAccount"
_AWS_ANNOTATION = "eks.amazonaws.com/role-arn"


@dataclass(frozen=True)
class Plugin:
    """One entry of ``spec.plugins``; `spec` is what its kind makes of it."""

    kind: str
    spec: Mapping[str, Any] = field(default_factory=dict)


def read_plugin(doing: str, raw: object) -> Plugin:
    """Return the plugin that `raw` writes, whether its kind is known or not.

    Raises
    ------
    ProfileRefused
        If it has no kind, or lacks what its kind needs.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("kind"), str) or not raw["kind"]:
        raise ProfileRefused(doing, "a plugin has no kind", f"give it one, such as {_AWS}")
    spec = raw.get("spec") or {}
    if not isinstance(spec, Mapping):
        raise ProfileRefused(
            doing, f"the spec of {raw['kind']} is {type(spec).__name__}", "give it as an object"
        )
    plugin = Plugin(raw["kind"], dict(spec))
    if plugin.kind == _AWS and not (
        isinstance(plugin.spec.get("awsIamRole"), str) and plugin.spec["awsIamRole"]
    ):
        raise ProfileRefused(
            doing, f"{_AWS} has no role", "set spec.awsIamRole to the ARN of an IAM role"
        )
    return plugin


def account_annotations(profile: Profile) -> dict[str, str]:
    """Return what the plugins write on the account that servers run as."""
    roles = [plugin.spec["awsIamRole"] for plugin in profile.plugins if plugin.kind == _AWS]
    # An account has one role: the last one that is named.
    return {_AWS_ANNOTATION: str(roles[-1])} if roles else {}


def unknown_plugins(profile: Profile) -> tuple[str, ...]:
    """Return the kinds of the plugins that do nothing here, each once."""
    return tuple(dict.fromkeys(plugin.kind for plugin in profile.plugins if plugin.kind != _AWS))
