"""What a person may choose, what they chose, and the server that it makes."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs

from jupyterhub.utils import maybe_future
from kubespawner.utils import recursive_update
from traitlets import TraitError, default

from kfspawner.errors import ClusterError, Error, InputError, OptionRefused
from kfspawner.labels import HUB_LABEL, IMAGE_PROFILE_ANNOTATION
from kfspawner.names import home_claim_name, namespace_name
from kfspawner.profiles.directory import Choice
from kfspawner.profiles.manifests import CA_CONFIG_MAP
from kfspawner.profiles.uids import read_uid_range
from kfspawner.servers.capacityview import CapacityView, shared_capacity
from kfspawner.servers.defaults import HOME, make_directory_container
from kfspawner.servers.fitting import Placement
from kfspawner.servers.form import Page, render_form
from kfspawner.servers.image_contents import Contents, Labels, shared_images
from kfspawner.servers.options import (
    Offers,
    Options,
    ServerOptions,
    StockProfiles,
    form_to_json,
    make_overrides,
    read_options,
)
from kfspawner.servers.places import in_order, make_offers, make_places
from kfspawner.servers.pods import Pods
from kfspawner.servers.refused import StartRefused
from kfspawner.servers.stock import make_stock_overrides, read_profile_list

CA_DIRECTORY = "/etc/kfspawner/ca"
# Attributes that a server's options add to: what is configured comes first.
_EXTENDED = (
    "extra_resource_limits",
    "extra_resource_guarantees",
    "extra_labels",
    "extra_annotations",
    "node_selector",
    "tolerations",
    "volumes",
    "volume_mounts",
    "init_containers",
)
_Form = Mapping[str, Sequence[str]]

# For how many seconds a start waits for the cluster, and a page.
_PATIENCE = 10.0
_PAGE_PATIENCE = 3.0

# The header by which a page that is open tells what is filled in, in what size.
DRAFT = "Kf-Draft"
_LONGEST_DRAFT = 4096
_MOST_FIELDS = 100


class Choosing(Pods):
    """The spawn page, its answer, and the traits that a choice sets.

    In the order of a start, these hooks are overridden: `options_form`,
    `options_from_form`, `load_user_options`, `clear_state`.
    """

    # JupyterHub's own trait, whose type its stubs do not tell.
    user_options: dict[str, Any]
    # What was just refused, by person: the form as it was sent, or the options of a
    # start. JupyterHub shows the default server's form after a named one's was refused.
    _refused: ClassVar[dict[str, _Form | Options]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What a start has changed, as it was configured: nothing stays for the next one.
        self._configured: dict[str, Any] = {}
        self._options: Options | None = None
        self._image_profile = ""

    # Who may do what, and where.

    @property
    def _personal(self) -> str:
        return namespace_name(self.user.name)

    def _choices(self) -> list[Choice]:
        choices = self._directory.choices(self.user.name, self._groups)
        return in_order(choices, self._personal)

    @property
    def _capacity(self) -> CapacityView:
        return shared_capacity(lambda: self._cluster, self.log)

    async def _entries(self) -> StockProfiles:
        """Return what KubeSpawner's `profile_list` offers to this person.

        Raises
        ------
        InputError
            If it is none, or a function that fails.
        """
        listed = self._sorted_dict_values(self.profile_list)
        if callable(listed):
            try:
                listed = await maybe_future(listed(self))
            except Exception as error:
                raise InputError(
                    "asking c.KfSpawner.profile_list what is offered",
                    f"{type(error).__name__}: {error}",
                    "show this to the administrator",
                ) from error
        return read_profile_list(listed or ())

    async def _offers(self) -> Offers:
        return make_offers(self._choices(), self.offered, await self._entries())

    async def _prepare(self, profile: object, seconds: float) -> None:
        """Know the profiles, and have the person's own made; only if it is `profile` it must be."""
        await self._directory.ready(seconds)
        self._follow_removals()
        try:
            await self._directory.ensure_personal(self.user.name, self.personal_profile)
        except ClusterError as error:
            if profile == self._personal:
                raise
            self.log.warning("%s has no profile of their own: %s", self.user.name, error)

    # What a person chose.

    @default("options_form")
    def _default_options_form(self) -> Any:
        return _render_form_of

    @default("options_from_form")
    def _default_options_from_form(self) -> Any:
        return self._read_form

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Any:
        # They are applied in load_user_options; JupyterHub would warn that nobody does.
        return lambda _spawner, _options: None

    async def _read_form(self, form: _Form) -> dict[str, Any]:
        """Return what a sent form stands for, as JSON values; JupyterHub stores them."""
        try:
            await self._prepare(None, _PATIENCE)
            offers = await self._offers()
            options = self._read_options(form_to_json(form, offers), offers)
            self._make_overrides(options, offers)
        except Error as error:
            self._remember(form)
            raise StartRefused(error) from error
        return options.to_json()

    def _remember(self, form: _Form) -> None:
        """Have the next page show a form as it was sent, unless it is larger than any of ours."""
        texts = {name: [it for it in sent if isinstance(it, str)] for name, sent in form.items()}
        if sum(len(it) for name, sent in texts.items() for it in (name, *sent)) < _LONGEST_DRAFT:
            self._refused[self.user.name] = texts

    def _read_options(self, raw: Mapping[str, Any], offers: Offers) -> Options:
        profile = raw.get("profile")
        return read_options(
            {**raw, "profile": self._personal if profile is None else profile}, offers
        )

    async def render_form(self) -> str:
        """Return the form, filled with what is typed, was just refused, or was the last choice."""
        draft = self._draft()
        refused = None if draft else self._refused.pop(self.user.name, None)
        sent = refused if isinstance(refused, Mapping) else draft
        chosen = refused if isinstance(refused, Options) else None
        trouble = ""
        try:
            async with asyncio.timeout(2 * _PAGE_PATIENCE):
                await self._prepare(self._personal, _PAGE_PATIENCE)
        except Error as error:
            trouble = str(error)
        except TimeoutError:
            trouble = "The cluster does not answer; what is shown may be out of date."
        capacity = await self._capacity.now()
        choices = self._choices()
        try:
            entries = await self._entries()
        except InputError as error:
            entries, trouble = {}, str(error)
        offers = make_offers(choices, self.offered, entries)
        if self.user_options and chosen is None:
            try:
                chosen = self._read_options(self.user_options, offers)
            except OptionRefused as error:
                self.log.info("Proposing the defaults to %s: %s", self.user.name, error)
        page = Page(
            make_places(choices, self.user.name, offers),
            self.offered,
            trouble or self._capacity.trouble,
            capacity,
            Placement(
                self._as_configured("node_selector") or {},
                extend(self._as_configured("tolerations"), ()),
                self.autoscaled,
            ),
            entries,
            self._labels(),
        )
        return render_form(page, chosen, sent)

    def _labels(self) -> dict[str, Labels]:
        """Return what is known of the labels of our images."""
        return {key: self._contents_of(it.image).labels for key, it in self.offered.items()}

    def _contents_of(self, image: str) -> Contents:
        host = self.registry_prefix.partition("/")[0] if self.registry_plain_http else ""
        return shared_images(self.log).of(image, plain_http=image.partition("/")[0] == host)

    def _draft(self) -> _Form | None:
        """Return what is filled in on a page that asks for itself anew; None for any other."""
        request = getattr(self.handler, "request", None)
        # Once: a handler stays until the next one, and may be of a page before.
        draft = request.headers.pop(DRAFT, "") if request else ""
        if not draft or len(draft) > _LONGEST_DRAFT:
            return None
        try:
            return parse_qs(draft, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            return None

    # What a server becomes of it.

    async def load_user_options(self) -> None:
        """Make this server what `user_options` asks for, or refuse it."""
        raw = self.user_options or {}
        self._restore()
        await self._prepare(raw.get("profile") or self._personal, _PATIENCE)
        try:
            offers = await self._offers()
            options = self._read_options(raw, offers)
            overrides = self._make_overrides(options, offers)
        except OptionRefused:
            # JupyterHub has stored them as the proposal for the next start.
            self.orm_spawner.user_options = self.user_options = {}
            raise
        if not self.registry_prefix:
            raise InputError(
                f"starting the server of {self.user.name}",
                "nothing says where the images of its runs go",
                "ask the administrator to set c.KfSpawner.registry_prefix",
            )
        if uids := read_uid_range(self.own_uid):
            self.uid = await self._directory.ensure_uid(self.user.name, uids)
        self._place_in(options.profile)
        self._options = options
        self._image_profile = options.image_profile
        for it in overrides:
            if isinstance(options, ServerOptions):
                self._add(it)
            else:
                self._override(it)
        alone = self._directory.is_alone(self.namespace, self.user.name)
        self._mounted = self._files.mounted(self._choices(), alone=alone)
        self._add(self._make_volumes())
        self._add({"extra_labels": {HUB_LABEL: self._hub_namespace}})
        self._add({"extra_annotations": {IMAGE_PROFILE_ANNOTATION: options.image_profile}})

    def _make_overrides(self, options: Options, offers: Offers) -> list[Mapping[str, Any]]:
        """Return the attributes that these options set, the last ones last."""
        if isinstance(options, ServerOptions):
            return [make_overrides(self.offered[options.image_profile], options)]
        entry = offers.entries(options.profile)[options.image_profile]
        return list(make_stock_overrides(entry, options, self.allowed_registries))

    def _add(self, overrides: Mapping[str, Any]) -> None:
        """Set attributes; those that several have a part in come after what is configured."""
        for name, value in overrides.items():
            before = self._keep(name)
            setattr(self, name, extend(before, value) if name in _EXTENDED else value)

    def _override(self, overrides: Mapping[str, Any]) -> None:
        """Set attributes as KubeSpawner does for its `profile_list`: dicts are merged."""
        for name, value in overrides.items():
            before = self._keep(name)
            wanted = value(self) if callable(value) else value
            if isinstance(wanted, dict) and isinstance(before, dict):
                # What is configured is everybody's.
                merged = copy.deepcopy(before)
                recursive_update(merged, wanted)
                wanted = merged
            try:
                setattr(self, name, wanted)
            except TraitError as error:
                raise InputError(
                    f"applying {name} of c.KfSpawner.profile_list",
                    " ".join(str(error).split()),
                    "show this to the administrator",
                ) from error

    def _keep(self, name: str) -> Any:
        """Return an attribute that is about to change, and know it again afterwards."""
        value = getattr(self, name, None)
        self._configured.setdefault(name, copy.deepcopy(value))
        return value

    def _as_configured(self, name: str) -> Any:
        return self._configured.get(name, getattr(self, name))

    def _restore(self) -> None:
        for name, value in self._configured.items():
            setattr(self, name, value)
        self._configured = {}

    def _place_in(self, profile: str) -> None:
        self.namespace = profile
        self.pod_name = self._expand_user_properties(self.pod_name_template)
        self.secret_name = self._expand_user_properties(self.secret_name_template)
        self.pvc_name = self._home_claim()
        self.dns_name = self.dns_name_template.format(namespace=profile, name=self.pod_name)

    def _home_claim(self) -> str:
        source, own = self.home_source, self._files.own_home
        if own:
            return own.shared_claim
        if source.is_ours:
            # Our provisioner makes a home for the claim of this name, and of no other.
            return home_claim_name(self.user.name)
        return source.claim or str(self._expand_user_properties(self.pvc_name_template))

    def _make_volumes(self) -> dict[str, list[dict[str, Any]]]:
        """Return what is added to the pod for the person's files, and for the authorities."""
        claimed = {"claimName": self.pvc_name}
        volumes: list[dict[str, Any]] = [{"name": "home", "persistentVolumeClaim": claimed}]
        home: dict[str, Any] = {"name": "home", "mountPath": HOME}
        mounts, first = [home], []
        if sub_path := self.home_source.sub_path_of(self.user.name):
            home["subPath"] = sub_path
            first.append(make_directory_container(self.image, sub_path))
        volumes += [it.volume for it in self._mounted]
        mounts += [it.volume_mount for it in self._mounted]
        if self.private_ca:
            volumes.append({"name": CA_CONFIG_MAP, "configMap": {"name": CA_CONFIG_MAP}})
            mounts.append({"name": CA_CONFIG_MAP, "mountPath": CA_DIRECTORY, "readOnly": True})
        return {"volumes": volumes, "volume_mounts": mounts, "init_containers": first}

    def get_state(self) -> dict[str, Any]:
        """Return what a hub must know of this server: also as what it was chosen, and where it is.

        Services that may read it find the server by that.
        """
        state: dict[str, Any] = super().get_state()
        if self._image_profile:
            state["image_profile"] = self._image_profile
        if self.server:
            state["url"] = self.server.url
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_state` returned, or that of an older version."""
        super().load_state(state)
        self._image_profile = str(state.get("image_profile") or "")

    def clear_state(self) -> None:
        """Forget the last server: its options, and that its claim was seen."""
        super().clear_state()
        self._image_profile = ""
        self._restore()
        # The claim is asked for at each start: it costs one request, and
        # a namespace that was made anew has none.
        self._pvc_exists = False
        self._options = None
        self._mounted = ()
        self._remarks = ()


async def _render_form_of(spawner: Choosing) -> str:
    return await spawner.render_form()


def extend(configured: Any, more: Any) -> Any:
    """Return what is configured with `more` after it: both dicts, or lists.

    KubeSpawner takes some lists as dicts too, whose keys are but their order.
    """
    if isinstance(more, Mapping):
        return {**(configured or {}), **more}
    if isinstance(configured, Mapping):
        configured = [configured[key] for key in sorted(configured)]
    return [*(configured or ()), *more]
