"""Every exception that kfspawner raises on purpose.

Error
├── InputError              what a person gave: a name, an option, a file
│   ├── NameRefused         a name that the cluster or we cannot take
│   ├── OptionRefused       a server or run option that is not offered
│   ├── ProfileRefused      a Profile, or a member of one, that cannot be had
│   └── SourceRefused       code that cannot be packaged: empty, broken, too large
├── ContextMissing          this process was not started as a kfspawner server
├── RegistryError           an image registry said no
│   ├── RegistryUnreachable it did not answer
│   ├── RegistryBusy        it has no time now, or is broken
│   ├── RegistryDenied      it wants a sign-in, or a better one
│   └── ImageMissing        it has no such image
├── ClusterError            the Kubernetes API said no
│   ├── ClusterUnreachable  it did not answer
│   ├── ClusterDenied       this account may not do that, or a quota is full
│   ├── ObjectMissing       there is no such object
│   ├── ObjectExists        there is one already
│   ├── ClusterBusy         it asks to be left alone for a moment
│   └── VersionExpired      it does not remember what came after that
├── HubError                the hub's API said no, or nothing
├── HomeError               a person's files cannot be as they were asked to be
│   └── ExportUnreachable   the server that holds them did not answer
└── RunError                a run did not do what was asked of it
    └── RunFailed           it ended, and not well

A message has three parts, and keeps its cause as ``__cause__``::

    pushing registry.example/vision/digits: 401 from the registry; run %kf login
    └── the action and its object          └── what happened       └── the way out
"""

from __future__ import annotations


class Error(Exception):
    """The root: catch it to catch whatever kfspawner itself refuses.

    Parameters
    ----------
    doing
        The action and its object, in the progressive: ``"creating run digits"``.
    cause
        What happened, in one clause. Never a credential.
    way_out
        What the reader can do about it, in one clause.
    """

    def __init__(self, doing: str, cause: str, way_out: str) -> None:
        super().__init__(doing, cause, way_out)
        self.doing = doing
        self.cause = cause
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.doing}: {self.cause}; {self.way_out}"

    def _render_traceback_(self) -> list[str]:
        # What IPython shows in place of a traceback: the message says it all,
        # and the cell still counts as failed.
        return [str(self)]


class InputError(Error):
    """Something that a person gave cannot be used."""


class NameRefused(InputError):
    """A name cannot be used for an object of the cluster."""


class OptionRefused(InputError):
    """An option of a server or run is unknown, out of its range, or not offered."""


class ProfileRefused(InputError):
    """A Profile cannot be as it is written.

    Parameters
    ----------
    doing, cause, way_out
        As for every `Error`.
    reason
        One word for the condition on the Profile: ``Malformed``, ``OwnerRefused``.
    """

    def __init__(self, doing: str, cause: str, way_out: str, reason: str = "Malformed") -> None:
        super().__init__(doing, cause, way_out)
        self.reason = reason


class SourceRefused(InputError):
    """Code cannot be packaged as it stands."""


class ContextMissing(Error):
    """This process does not know which server it belongs to."""


class RegistryError(Error):
    """An image registry did not do what was asked."""


class RegistryUnreachable(RegistryError):
    """An image registry did not answer."""


class RegistryBusy(RegistryError):
    """An image registry could not do it now; it may in a moment."""


class RegistryDenied(RegistryError):
    """An image registry refused the sign-in, or asked for one."""


class ImageMissing(RegistryError):
    """An image registry has no such image."""


class ClusterError(Error):
    """The Kubernetes API did not do what was asked."""


class ClusterUnreachable(ClusterError):
    """The Kubernetes API did not answer."""


class ClusterDenied(ClusterError):
    """The Kubernetes API forbade it: rights, quota or an admission rule."""


class ObjectMissing(ClusterError):
    """The cluster has no such object."""


class ObjectExists(ClusterError):
    """The cluster has an object of that name already."""


class ClusterBusy(ClusterError):
    """The Kubernetes API has no time now.

    Parameters
    ----------
    doing, cause, way_out
        As for every `Error`.
    retry_after
        For how many seconds it asks to be left alone; 0 if it does not say.
    """

    def __init__(self, doing: str, cause: str, way_out: str, retry_after: float = 0.0) -> None:
        super().__init__(doing, cause, way_out)
        self.retry_after = retry_after


class VersionExpired(ClusterError):
    """The cluster no longer remembers what happened since then."""


class HubError(Error):
    """The hub's own API did not do what was asked, or did not answer."""


class HomeError(Error):
    """A home was not made, archived or given back. No file of it was touched."""


class ExportUnreachable(HomeError):
    """The NFS server that holds the homes did not answer."""


class RunError(Error):
    """A run did not do what was asked of it."""


class RunFailed(RunError):
    """A run ended without success."""
