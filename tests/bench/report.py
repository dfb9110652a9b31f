"""The lines of the benchmark's report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median


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


def compare(pairs: Pairs) -> Iterator[Verdict]:
    """Yield difference and ratio of pairs that took turns."""
    yield Verdict(describe("    difference", pairs.differences))
    yield Verdict(f"{'    ratio':<52}{median(pairs.ratios):6.2f}")


def bounded(pairs: Pairs, bound: float) -> Verdict:
    """Return whether ours takes at most so many seconds more, at the median."""
    return Verdict(f"    at most +{bound:g} s", median(pairs.differences) <= bound)
