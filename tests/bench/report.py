"""The lines of the benchmark's report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles


@dataclass
class Pairs:
    """Seconds of what took turns."""

    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    @property
    def differences(self) -> list[float]:
        """What ours took longer, turn by turn."""
        return [ours - floor for ours, floor in zip(self.ours, self.floor, strict=True)]

    @property
    def ratios(self) -> list[float]:
        """How many times as long ours took, turn by turn."""
        return [ours / floor for ours, floor in zip(self.ours, self.floor, strict=True)]


@dataclass(frozen=True)
class Verdict:
    """One line of the report; `holds` is None where there is no bound."""

    text: str
    holds: bool | None = None

    def __str__(self) -> str:
        if self.holds is None:
            return self.text
        return f"{self.text}: {'holds' if self.holds else 'DOES NOT HOLD'}"


def describe(label: str, seconds: Sequence[float], unit: str = "s") -> str:
    """Return a line with the median of `seconds`, and from where to where they go."""
    return f"{label:<52}{median(seconds):6.2f} {unit}   ({min(seconds):.2f} to {max(seconds):.2f})"


def spread(label: str, seconds: Sequence[float]) -> str:
    """Return a line with the median of `seconds`, their p95, and how many they are."""
    return f"{label:<52}{median(seconds):6.2f} s   (p95 {p95(seconds):.2f}, n={len(seconds)})"


def compare(pairs: Pairs) -> Iterator[Verdict]:
    """Yield difference and ratio of pairs that took turns."""
    yield Verdict(describe("    difference", pairs.differences))
    yield Verdict(f"{'    ratio':<52}{median(pairs.ratios):6.2f}")


def bounded(pairs: Pairs, bound: float) -> Verdict:
    """Return whether ours takes at most so many seconds more, at the median."""
    return Verdict(f"    at most +{bound:g} s", median(pairs.differences) <= bound)


def p95(seconds: Sequence[float]) -> float:
    """Return what 19 of 20 do not exceed."""
    return quantiles(seconds, n=20, method="inclusive")[-1]


@dataclass(frozen=True)
class Bound:
    """At most how many times as long as its peer something takes."""

    median: float
    p95: float


def over(label: str, ours: Sequence[float], peer: Sequence[float], bound: Bound) -> Verdict:
    """Return how many times as much ours is: its median over the peer's, its p95 over theirs."""
    middle, tail = median(ours) / median(peer), p95(ours) / p95(peer)
    text = f"{label}: {middle:.2f} (p95 {tail:.2f}), at most {bound.median:g} (p95 {bound.p95:g})"
    return Verdict(text, middle <= bound.median and tail <= bound.p95)
