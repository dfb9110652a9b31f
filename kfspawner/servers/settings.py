"""What the administrator sets of KfSpawner, checked when it is read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from traitlets import Bool, Dict, Enum, Integer, List, TraitError, Unicode, validate

from kfspawner.errors import InputError
from kfspawner.homes.datasets import read_datasets
from kfspawner.homes.source import HomeSource, read_home_source
from kfspawner.profiles.profile import make_personal, read_declared
from kfspawner.profiles.uids import read_uid_range
from kfspawner.servers.defaults import Defaults
from kfspawner.servers.images import ImageProfile, read_image_profiles
from kfspawner.servers.orphans import KEEP, STOP


class Settings(Defaults):
    """KubeSpawner's settings, and our own."""

    # The same for all people, and asked for at each page.
    _last_read: ClassVar[tuple[dict[str, Any], Mapping[str, ImageProfile]]] = ({}, {})

    image_profiles = Dict(
        config=True,
        help="""
        Declare what a server can be, the default first.

        A dict from a key, which forms, links and the API use, to::

            {
                "display_name": "GPU",
                "description": "One GPU for training.",
                "image": "registry.example/kfspawner/gpu@sha256:...",
                "cpu": {"min": 1, "max": 8, "default": 2, "guarantee": 1},
                "memory": {"min": "1G", "max": "32G", "default": "8G"},
                "gpu": {"min": 1, "max": 2, "resource": "nvidia.com/gpu"},
                "node_selector": {"pool": "gpu"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "simulated": False,
            }

        `image`, `cpu` and `memory` are required. What a person chooses between
        `min` and `max` becomes the limit, `default` is `min` where left out, and
        `guarantee` is what the scheduler sets aside: all of the limit where left
        out. Without `gpu` there is none; `resource` is `nvidia.com/gpu` unless
        given, or any extended resource of the cluster, such as `amd.com/gpu` or
        `nvidia.com/mig-1g.5gb`; `node_selector` may tell its products apart, such
        as `{"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}`. Where people choose
        among several kinds for one image, `gpu` has the kinds too, the default first::

            "gpu": {"min": 1, "max": 2, "kinds": {
                "a100": {
                    "display_name": "A100",
                    "node_selector": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
                },
                "slice": {"display_name": "A100 slice", "resource": "nvidia.com/mig-1g.5gb"},
            }}

        A kind may have `resource`, `node_selector` and `tolerations`. `simulated` says
        on the form that no device is behind it. The form shows what the image's
        label `io.kfspawner.frameworks` says: `tensorflow=2.21.0 torch=2.15.0`.

        Default: empty, and then no server can be started. Sets `image`,
        `cpu_limit`, `cpu_guarantee`, `mem_limit` and `mem_guarantee` on every
        start; adds to `node_selector`, `tolerations` and `extra_resource_limits`.
        """,
    )

    allowed_registries = List(
        Unicode(),
        config=True,
        help="""
        Set where images that a person types may come from.

        `quay.io`, or `quay.io/team` for what is below it; `docker.io` is Docker
        Hub. For `unlisted_choice` of KubeSpawner's `profile_list`, besides its
        `validation_regex`, which has to match all of what is typed.

        Default: empty, and then any registry will do.
        """,
    )

    profiles = Dict(
        config=True,
        help="""
        Declare the Profiles that people share.

        A dict from the Profile's name, which is its namespace's too, to::

            {
                "display_name": "Vision",
                "owner": "alice",
                "members": {"bob": "edit", "carol": "view"},
                "groups": {"vision-team": "edit"},
                "quota": {"requests.nvidia.com/gpu": "4", "requests.memory": "256Gi"},
                "image_profiles": ["cpu", "gpu"],
                "default_limits": {"cpu": "1", "memory": "2Gi"},
                "plugins": [{"kind": "AwsIamForServiceAccount", "spec": {...}}],
            }

        `owner` is required: a person, or `{"kind": "Group", "name": "leads"}`.
        Roles are `view`, `edit` and `admin`; `groups` are JupyterHub's. `quota`
        has the keys of a Kubernetes ResourceQuota, and is none where left out;
        `image_profiles` are keys of that setting, and all where left out.
        `default_limits` is what a container gets that asks for nothing.

        Default: empty. `kfspawner profiles apply` applies them when the hub's pod
        starts; Profiles that were made with kubectl count the same. One that is
        taken out of here stays until somebody deletes it.
        """,
    )

    personal_profile = Dict(
        config=True,
        help="""
        Set what everyone's own Profile is made after, at their first sign-in.

        A dict with any of `quota`, `image_profiles` and `default_limits`, which
        mean what they do in `profiles`. A change of it is applied to those that
        stand when their owner next comes by; what somebody has changed in one by
        hand stays.

        Default: empty, and then there is no quota, and all is offered.
        """,
    )

    stop_on_removal = Bool(
        default_value=False,
        config=True,
        help="""
        Stop what people run in a profile once they may no longer start anything there.

        Their servers and the pods of their runs in that profile are deleted, at
        the next look at one of the servers: within `poll_interval` seconds. So are
        those in their own profile that have the other one's folder mounted. Files
        stay.

        Default: False. They can start nothing more in either case, but what runs
        goes on.
        """,
    )

    orphans = Enum(
        (KEEP, STOP),
        default_value=KEEP,
        config=True,
        help="""
        Say what becomes of servers on the cluster that the hub does not have.

        As after its database was restored from a copy, or a person deleted while
        the Kubernetes API was away. `keep` leaves them, and the hub's log and
        `kfspawner servers orphans` name them; `stop` deletes their pods after
        `orphan_grace` seconds. Files stay in either case, and runs are none.

        Default: keep. Who starts a server of the same name gets it in place of the
        orphan at once.
        """,
    )

    orphan_grace = Integer(
        600,
        min=0,
        config=True,
        help="""
        Set for how many seconds the hub must not have had a server until it is stopped.

        Only where `orphans` is `stop`. Default: 600.
        """,
    )

    registry_prefix = Unicode(
        config=True,
        help="""
        Set where images of runs go: `registry.example` or `registry.example/team`.

        Each profile pushes to `<registry_prefix>/<profile>/runs`. No default: a
        server is not started without it.
        """,
    )

    registry_plain_http = Bool(
        default_value=False,
        config=True,
        help="""
        Let notebooks speak HTTP without TLS to `registry_prefix`.

        Default: False. Only for a registry that never leaves one machine.
        """,
    )

    private_ca = Bool(
        default_value=False,
        config=True,
        help="""
        Give servers the certificate authorities that the controller was given.

        For networks whose proxy inspects TLS. Set it where `kfspawner controller`
        runs with `--ca-file`: that file is then ConfigMap `kfspawner-ca` in each
        profile, and SSL_CERT_FILE, REQUESTS_CA_BUNDLE, PIP_CERT, CURL_CA_BUNDLE
        and NODE_EXTRA_CA_CERTS point to it in each server. It takes the place of
        an image's own authorities, so let it hold the public ones too.

        Default: False, and images keep their own.
        """,
    )

    home = Dict(
        config=True,
        help="""
        Set where people's homes come from: one in each profile that they use.

        A dict that says one of three ways, with the `capacity` of a home, a
        Kubernetes quantity, 10Gi where left out. Our provisioner on an NFS export,
        which is deployed with the same `server` and `path`::

            {"server": "nfs.example", "path": "/export/homes", "capacity": "10Gi"}

        With `"folder_capacity": "100Gi"` each profile also has a folder that its
        members share, at `~/shared/<profile>`. Or any StorageClass::

            {"storage_class": "efs", "access_modes": ["ReadWriteMany"]}

        `access_modes` is `["ReadWriteOnce"]` where left out, and then servers and
        runs of one person share a node. Or a claim that is there already in each
        profile's namespace, with a directory for each person::

            {"claim": "team-files", "sub_path": "homes"}

        Default: empty, the cluster's default StorageClass. Homes that exist stay as
        they are. Used in place of KubeSpawner's `storage_capacity`,
        `storage_class` and `storage_access_modes`.
        """,
    )

    shared_home = Bool(
        default_value=False,
        config=True,
        help="""
        Give people the same home in each of their profiles: that of their own profile.

        Whoever may start servers or runs in a profile that they share can mount it
        there, and read and write all of it. Only where `home` has a `server`.

        Default: False, and a person has a home in each profile.
        """,
    )

    own_uid = Dict(
        config=True,
        help="""
        Give each person a uid of their own, the same in all of their profiles and runs.

        Then file modes keep what one member of a profile has in its folder from the
        others, where its owner wants that. A dict that says which there are to give::

            {"first": 20000, "last": 999999999}

        Nobody gets one that another has. It is written on a person's own Profile, as
        annotation `kfspawner.io/person-uid`, and stays theirs; write it there yourself
        to choose it. Homes that belong to another uid are given to the person at their
        next start, with all files that were that uid's. Let the range be large: who comes
        back under a name gets the same again, unless another has it by then.

        Default: empty, and all are 1000, as in the images. Used in place of `uid`.
        """,
    )

    datasets = Dict(
        config=True,
        help="""
        Declare data that servers and runs read, at `/datasets/<name>`.

        A dict from the name to a directory of an NFS server, which our provisioner
        (deploy/homes) mounts read-only, or to a claim that is there already in each profile's
        namespace; `profiles` says which of them have it, and is all where left out::

            {
                "digits": {"server": "nfs.example", "path": "/data/digits"},
                "scans": {"claim": "scans", "profiles": ["vision"]},
            }

        Default: empty.
        """,
    )

    autoscaled = Bool(
        default_value=False,
        config=True,
        help="""
        Say that the cluster adds nodes on demand.

        Then a server that fits on no node waits for one, unless the cluster
        autoscaler reports that it adds none. Default: False.
        """,
    )

    @validate("image_profiles")
    def _check_image_profiles(self, proposal: Any) -> dict[str, Any]:
        try:
            read_image_profiles(proposal.value)
        except InputError as error:
            raise TraitError(str(error)) from error
        return dict(proposal.value)

    @validate("profiles")
    def _check_profiles(self, proposal: Any) -> dict[str, Any]:
        try:
            for name, declared in proposal.value.items():
                read_declared(name, declared)
        except InputError as error:
            raise TraitError(str(error)) from error
        return dict(proposal.value)

    @validate("personal_profile")
    def _check_personal_profile(self, proposal: Any) -> dict[str, Any]:
        try:
            make_personal("somebody", proposal.value)
        except InputError as error:
            raise TraitError(str(error)) from error
        return dict(proposal.value)

    @validate("home")
    def _check_home(self, proposal: Any) -> dict[str, Any]:
        try:
            read_home_source(proposal.value)
        except InputError as error:
            raise TraitError(str(error)) from error
        return dict(proposal.value)

    @validate("own_uid")
    def _check_own_uid(self, proposal: Any) -> dict[str, Any]:
        try:
            read_uid_range(proposal.value)
        except InputError as error:
            raise TraitError(str(error)) from error
        return dict(proposal.value)

    @validate("datasets")
    def _check_datasets(self, proposal: Any) -> dict[str, Any]:
        try:
            read_datasets(proposal.value)
        except InputError as error:
            raise TraitError(str(error)) from error
        return dict(proposal.value)

    @property
    def home_source(self) -> HomeSource:
        """Where homes come from."""
        return read_home_source(self.home)

    @property
    def offered(self) -> Mapping[str, ImageProfile]:
        """All image profiles, the default first; a Profile may offer fewer."""
        raw, offered = Settings._last_read
        if raw != self.image_profiles:
            offered = read_image_profiles(self.image_profiles)
            Settings._last_read = (copy.deepcopy(self.image_profiles), offered)
        return offered
