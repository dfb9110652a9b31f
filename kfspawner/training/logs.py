"""A run's log: every line once, whatever happens to the connection."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from kfspawner.cluster import Cluster
from kfspawner.errors import ClusterDenied, ClusterError, ClusterUnreachable, ObjectMissing
from kfspawner.training.observation import Observation

# How far back a log is read again. Standard output and standard error are
# stamped by two readers, so that lines may be a little out of order.
_OVERLAP = timedelta(seconds=2)
# How often in vain a log that is there whole is asked for, and seconds between.
_ATTEMPTS = 5
_PAUSE = 1.0


class Progress:
    """Which lines of a log have been seen, so that one read again is told from its equal."""

    def __init__(self) -> None:
        self._recent: deque[tuple[datetime, str]] = deque()
        self._again: Counter[str] = Counter()
        self._latest: datetime | None = None

    @property
    def since(self) -> str | None:
        """From which time the log has to be read again, None for its beginning."""
        if self._latest is None:
            return None
        return (self._latest - _OVERLAP).strftime("%Y-%m-%dT%H:%M:%SZ")

    def new(self, stamped: Iterable[str]) -> Iterator[str]:
        """Yield those lines of one connection that no earlier one brought, without their times."""
        self._again = Counter(line for _, line in self._recent)
        for line in stamped:
            if self._again[line] > 0:
                self._again[line] -= 1
                continue
            stamp, _, text = line.partition(" ")
            moment = _parse(stamp)
            if moment is None:
                # Not from the container: kubelet's own word about the log.
                yield line
                continue
            self._remember(moment, line)
            yield text

    def _remember(self, moment: datetime, line: str) -> None:
        self._latest = max(moment, self._latest or moment)
        self._recent.append((moment, line))
        # `since` is cut to whole seconds.
        horizon = self._latest - _OVERLAP - timedelta(seconds=1)
        while self._recent[0][0] < horizon:
            self._recent.popleft()


def read_log(cluster: Cluster, now: Observation) -> Iterator[str]:
    """Yield what is in a run's log now; nothing if it never ran or its pod is gone."""
    if now.has_log:
        yield from _read_to_end(cluster, now.pod["metadata"]["name"], Progress())


def follow_log(cluster: Cluster, moments: Iterable[Observation]) -> Iterator[str]:
    """Yield a run's log line by line until it ends.

    Parameters
    ----------
    cluster
        Where it runs.
    moments
        The run as it is, again and again, until it has ended.
    """
    progress = Progress()
    for now in moments:
        if not now.has_log:
            continue
        pod = now.pod["metadata"]["name"]
        if now.status.ended:
            yield from _read_to_end(cluster, pod, progress)
            return
        try:
            yield from progress.new(cluster.stream_log(pod, follow=True, since_time=progress.since))
        except ClusterDenied:
            raise
        except ClusterError:
            # Its node is away, or has just removed the container: the next look tells which.
            continue


def _read_to_end(cluster: Cluster, pod: str, progress: Progress) -> Iterator[str]:
    """Yield what `progress` lacks of a log that is there whole; nothing if it is gone.

    A lost connection is made anew: the end of a log is what its reader needs most.
    """
    failures = 0
    while True:
        try:
            for line in progress.new(
                cluster.stream_log(pod, follow=False, since_time=progress.since)
            ):
                failures = 0
                yield line
        except ObjectMissing:
            return
        except ClusterUnreachable:
            failures += 1
            if failures == _ATTEMPTS:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _parse(stamp: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None
