"""reference_watch: whether low-cost sensors move away from the reference stations beside them, day by day

A pair is a sensor where it stands, as it is corrected, and a reference where that stands: when one of these changes,
what was learned of the old pair does not count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streams.air.rules import COMPLETENESS_MIN
from streams.quality.colocation import DriftMonitor
from streams.quality.health import Health


class Pair(NamedTuple):
    """A sensor and its reference, by number, and the name under which their relation is known."""

    sensor: int
    reference: int
    name: str


class Judged(NamedTuple):
    """What is said of some pairs on a day, arrays of the same length.

    Attributes:
        health: class of `streams.quality.health`; UNKNOWN while the pair is learned, and without enough of the day.
        mean: sensor less what the reference leads to expect, ug/m3; NaN = not known.
        n: windows of the day in which both have a value.
        flags: DRIFT or none.
    """

    health: np.ndarray
    mean: np.ndarray
    n: np.ndarray
    flags: np.ndarray


class ReferenceWatch:
    """Drift monitors of the pairs of one compound.

    Attributes:
        names: of the pairs, in the order in which they came.
        monitor: their state.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.monitor = DriftMonitor()
        self._row_of: dict[str, int] = {}

    def judge(self, pairs: list[Pair], mean: np.ndarray) -> Judged:
        """Take a day of distinct pairs in; `mean` is [stations, windows of the day], NaN = none."""
        row = np.array([self._row(pair.name) for pair in pairs], np.int64)
        self.monitor.grow(len(self.names))
        sensor, reference = (mean[[getattr(pair, side) for pair in pairs]] for side in ("sensor", "reference"))
        both = ~(np.isnan(sensor) | np.isnan(reference))
        n = both.sum(axis=1)
        enough = n >= np.ceil(COMPLETENESS_MIN * mean.shape[1])
        y, x = (
            np.where(enough, np.where(both, one, 0.0).sum(axis=1) / np.maximum(n, 1), np.nan)
            for one in (sensor, reference)
        )
        learned = self.monitor.steps[row] >= DriftMonitor.LEARN_STEPS
        flags = self.monitor.update(row, y, x)
        off = np.where(learned, y - self.monitor.slope[row] * x - self.monitor.intercept[row], np.nan)
        health = np.where(np.isnan(off), Health.UNKNOWN, np.where(flags != 0, Health.DRIFT, Health.OK))
        return Judged(health, off, n, flags)

    def _row(self, name: str) -> int:
        row = self._row_of.setdefault(name, len(self.names))
        if row == len(self.names):
            self.names.append(name)
        return row

    def arrays(self) -> dict[str, np.ndarray]:
        """The state, for a snapshot; `names` stand beside it."""
        return {name: getattr(self.monitor, name) for name in DriftMonitor.COLUMNS}

    def fill(self, names: list[str], arrays: dict[str, np.ndarray]) -> None:
        """Put what `names` and `arrays` gave into a new object."""
        for name in names:
            self._row(name)
        for name in DriftMonitor.COLUMNS:
            setattr(self.monitor, name, arrays[name].copy())
