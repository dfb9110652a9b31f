"""KfSpawner: KubeSpawner's traits and hooks, with kfspawner's answers."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, ClassVar

from traitlets import default

from kfspawner.context import ServerContext
from kfspawner.errors import ClusterError, Error, InputError, OptionRefused
from kfspawner.names import home_claim_name, namespace_name
from kfspawner.profiles.api import mapped
from kfspawner.profiles.directory import Choice
from kfspawner.profiles.manifests import CA_CONFIG_MAP, CA_KEY
from kfspawner.servers.defaults import HOME, make_directory_container
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
from kfspawner.servers.progress import (
    Step,
    cannot_mount,
    cannot_start,
    describe,
    interleave,
    waits_for,
)
from kfspawner.servers.refused import StartRefused

_CA_DIRECTORY = "/etc/kfspawner/ca"
_CA_FILE = f"{_CA_DIRECTORY}/{CA_KEY}"
# What pip, requests, OpenSSL, curl and Node read the authorities from.
_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)
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

# For how many seconds a start waits for the cluster, and for the controller; and a page.
_PATIENCE = 10.0
_PROFILE_PATIENCE = 60.0
_PAGE_PATIENCE = 3.0


class KfSpawner(Pods):
    """Spawns each server into the namespace of a profile that its person may use.

    Everything that KubeSpawner configures can be set here too; the defaults
    pass Pod Security `restricted`. In the order of a start, these hooks are
    overridden: `options_from_form`, `load_user_options`, `_ensure_namespace`,
    `get_env`, `is_pod_running`, `progress`; and those of `Pods`.
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

    def _offers(self) -> Offers:
        return make_offers(self._choices(), self.offered)

    async def _prepare(self, profile: object, seconds: float) -> None:
        """Know the profiles, and have the person's own made; only if it is `profile` it must be."""
        await self._directory.ready(seconds)
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
        """Return the form, filled with what was just refused, or with the last choice."""
        refused = self._refused.pop(self.user.name, None)
        sent = refused if isinstance(refused, Mapping) else None
        chosen = refused if isinstance(refused, ServerOptions) else None
        trouble = ""
        try:
            async with asyncio.timeout(2 * _PAGE_PATIENCE):
                await self._prepare(self._personal, _PAGE_PATIENCE)
        except Error as error:
            trouble = str(error)
        except TimeoutError:
            trouble = "The cluster does not answer; what is shown may be out of date."
        choices = self._choices()
        offers = make_offers(choices, self.offered)
        if self.user_options and chosen is None:
            try:
                chosen = self._read_options(self.user_options, offers)
            except OptionRefused as error:
                self.log.info("Proposing the defaults to %s: %s", self.user.name, error)
        places = make_places(choices, self.user.name, offers)
        return render_form(Page(places, self.offered, trouble), chosen, sent)

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
        self._place_in(options.profile)
        self._options = options
        overrides = make_overrides(self.offered[options.image_profile], options)
        self.image = str(overrides["image"])
        alone = self._directory.is_alone(self.namespace, self.user.name)
        self._mounted = self._files.mounted(self._choices(), alone=alone)
        overrides |= self._make_volumes()
        for name, value in overrides.items():
            setattr(self, name, _extend(getattr(self, name), value) if name in _EXTENDED else value)

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
            mounts.append({"name": CA_CONFIG_MAP, "mountPath": _CA_DIRECTORY, "readOnly": True})
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

    # What is made on the cluster.

    async def start(self) -> str:
        """Start the server and return its URL; what goes wrong reads as one paragraph."""
        try:
            with mapped(self._doing):
                return await self._start_in_time()
        except Error as error:
            if self._options:
                self._refused[self.user.name] = self._options
            raise StartRefused(error) from error

    async def _start_in_time(self) -> str:
        # Before JupyterHub's own timeout, which could not say what was waited for.
        patience = max(1.0, self.start_timeout - 2.0)
        try:
            async with asyncio.timeout(patience):
                url: str = await super().start()
        except TimeoutError as error:
            events = self.events
            last = self._waits_for() or (describe(events[-1]) if events else str(error))
            raise ClusterError(
                self._doing,
                f"it did not run after {patience:.0f} seconds. {last}",
                "try again later, or choose another size or image profile",
            ) from error
        return url

    async def _ensure_namespace(self) -> None:
        # The controller makes it.
        await self._directory.wait_ready(self.namespace, _PROFILE_PATIENCE)
        if self._files.own_home:
            await self._directory.wait_ready(self._personal, _PROFILE_PATIENCE)

    def get_env(self) -> dict[str, Any]:
        """Return the server's environment: JupyterHub's, the certificates', and our context."""
        env: dict[str, Any] = super().get_env()
        uid, gid = self._ids
        context = ServerContext(
            user=self.user.name,
            namespace=self.namespace,
            image=self.image,
            repository=f"{self.registry_prefix.rstrip('/')}/{self.namespace}/runs",
            home_claim=self.pvc_name,
            home_sub_path=self.home_source.sub_path_of(self.user.name),
            home=HOME,
            mounts=json.dumps([[it.claim, it.path, it.read_only] for it in self._mounted]),
            registry_plain_http=self.registry_plain_http,
            uid=uid,
            gid=gid,
            ca_config_map=CA_CONFIG_MAP if self.private_ca else "",
        )
        env.update(context.to_env())
        # Kubernetes replaces $(NAME) in values; a person may be called that.
        for name in ("KFSPAWNER_USER", "JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME"):
            env[name] = str(env[name]).replace("$", "$$")
        if self.private_ca:
            env.update(dict.fromkeys(_CA_VARIABLES, _CA_FILE))
        return env

    def is_pod_running(self, pod: Mapping[str, Any] | None) -> bool:
        """Say whether the pod runs; while a start waits for it, raise if it never will."""
        starting = self._start_future is not None and not self._start_future.done()
        running = bool(super().is_pod_running(pod))
        if pod and starting and not running:
            error = cannot_start(pod) or cannot_mount(pod, self.events, datetime.now(UTC))
            if error:
                raise error
        return running

    # What the person sees meanwhile.

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of this pod; another namespace may have a pod of that name."""
        return [
            event
            for event in super().events
            if event["involvedObject"].get("namespace") == self.namespace
        ]

    def _waits_for(self) -> str:
        reflector = self.pod_reflector
        key = f"{self.namespace}/{self.pod_name}"
        return waits_for(reflector.pods.get(key)) if reflector else ""

    async def progress(self) -> AsyncGenerator[Step, None]:
        """Yield KubeSpawner's progress, and what the pod waits for, as one can act on it."""
        async with aclosing(interleave(self._events_told(), self._waits_for)) as steps:
            async for step in steps:
                yield step

    async def _events_told(self) -> AsyncGenerator[Step, None]:
        async with aclosing(super().progress()) as steps:
            async for step in steps:
                if "raw_event" in step:
                    step["message"] = describe(step["raw_event"])
                yield step


async def _render_form_of(spawner: KfSpawner) -> str:
    return await spawner.render_form()


def _extend(configured: Any, more: Any) -> Any:
    """Return what is configured with `more` after it: both dicts, or lists.

    KubeSpawner takes some lists as dicts too, whose keys are but their order.
    """
    if isinstance(more, Mapping):
        return {**(configured or {}), **more}
    if isinstance(configured, Mapping):
        configured = [configured[key] for key in sorted(configured)]
    return [*(configured or ()), *more]
