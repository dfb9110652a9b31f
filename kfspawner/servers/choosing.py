"""What a person may choose, what they chose, and the server that it makes."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs

from traitlets import default

from kfspawner.errors import ClusterError, Error, InputError, OptionRefused
from kfspawner.names import home_claim_name, namespace_name
from kfspawner.profiles.directory import Choice
from kfspawner.profiles.manifests import CA_CONFIG_MAP
from kfspawner.profiles.uids import read_uid_range
from kfspawner.servers.capacityview import CapacityView, shared_capacity
from kfspawner.servers.defaults import HOME, make_directory_container
from kfspawner.servers.fitting import Placement
from kfspawner.servers.form import Page, render_form
from kfspawner.servers.options import (
    Offers,
    ServerOptions,
    form_to_json,
    make_overrides,
    read_options,
)
from kfspawner.servers.places import in_order, make_offers, make_places
from kfspawner.servers.pods import Pods
from kfspawner.servers.refused import StartRefused

CA_DIRECTORY = "/etc/kfspawner/ca"
# Attributes that a server's options add to: what is configured comes first.
_EXTENDED = (
    "extra_resource_limits",
    "extra_resource_guarantees",
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
    _refused: ClassVar[dict[str, _Form | ServerOptions]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._configured = {name: copy.deepcopy(getattr(self, name)) for name in _EXTENDED}
        self._options: ServerOptions | None = None

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

    def _offers(self) -> Offers:
        return make_offers(self._choices(), self.offered)

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
            offers = self._offers()
            options = self._read_options(form_to_json(form, offers), offers)
        except Error as error:
            self._refused[self.user.name] = form
            raise StartRefused(error) from error
        return options.to_json()

    def _read_options(self, raw: Mapping[str, Any], offers: Offers) -> ServerOptions:
        profile = raw.get("profile")
        return read_options(
            {**raw, "profile": self._personal if profile is None else profile}, offers
        )

    async def render_form(self) -> str:
        """Return the form, filled with what is typed, was just refused, or was the last choice."""
        draft = self._draft()
        refused = None if draft else self._refused.pop(self.user.name, None)
        sent = refused if isinstance(refused, Mapping) else draft
        chosen = refused if isinstance(refused, ServerOptions) else None
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
        offers = make_offers(choices, self.offered)
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
                self._configured["node_selector"] or {},
                extend(self._configured["tolerations"], ()),
                self.autoscaled,
            ),
        )
        return render_form(page, chosen, sent)

    def _draft(self) -> _Form | None:
        """Return what is filled in on a page that asks for itself anew; None for any other."""
        request = getattr(self.handler, "request", None)
        draft = request.headers.get(DRAFT, "") if request else ""
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
        await self._prepare(raw.get("profile") or self._personal, _PATIENCE)
        try:
            options = self._read_options(raw, self._offers())
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
        overrides = make_overrides(self.offered[options.image_profile], options)
        self.image = str(overrides["image"])
        alone = self._directory.is_alone(self.namespace, self.user.name)
        self._mounted = self._files.mounted(self._choices(), alone=alone)
        overrides |= self._make_volumes()
        for name, value in overrides.items():
            setattr(self, name, extend(getattr(self, name), value) if name in _EXTENDED else value)

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

    def clear_state(self) -> None:
        """Forget the last server: its options, and that its claim was seen."""
        super().clear_state()
        for name, value in self._configured.items():
            setattr(self, name, copy.deepcopy(value))
        # The claim is asked for at each start: it costs one request, and
        # a namespace that was made anew has none.
        self._pvc_exists = False
        self._options = None
        self._mounted = ()
        self._begun = ""


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
