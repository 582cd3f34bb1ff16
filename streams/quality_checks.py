"""quality_checks: what is noticed about single readings; never a change of a value

Range depends on the reading alone. Step and stuck compare a reading with the one before it, so they are looked for only
in readings that came in order of event time; since a reading that comes late may still fall between the two, what they
say is marked provisional, and so is the silence about a reading that came out of order. Windows therefore count by the
flags that no order can change.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pulssi.quality import Quality
from pulssi.times import US_PER_S
from streams.catalogue import Limits
from streams.grouping import ends_of, running_max, shifted
from streams.progress import NEVER

NEIGHBOUR_S = 3600
"""Readings further apart than this are no neighbours: any step between them is credible."""


def range_flags(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """RANGE where a value is outside its limits, int32."""
    return np.where((values < low) | (values > high), np.int32(Quality.RANGE), np.int32(0))


class NeighbourChecks:
    """Step and stuck of each series against its reading before, arrays by row.

    Attributes:
        time, value: event time and value of the latest reading in order.
        same_since: event time at which its value began.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("time", "value", "same_since")

    def __init__(self) -> None:
        self.time = np.zeros(0, np.int64)
        self.value = np.zeros(0)
        self.same_since = np.zeros(0, np.int64)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        more = max(rows - len(self.time), 0)
        self.time = np.concatenate((self.time, np.full(more, NEVER, np.int64)))
        self.value = np.concatenate((self.value, np.zeros(more)))
        self.same_since = np.concatenate((self.same_since, np.zeros(more, np.int64)))

    def check(
        self,
        row: np.ndarray,
        starts: np.ndarray,
        time: np.ndarray,
        value: np.ndarray,
        limits: Limits,
    ) -> np.ndarray:
        """Flags of readings that came in order, int32; STEP and STUCK are marked PROVISIONAL.

        Args:
            row: [runs] row of each run.
            starts: [runs] first reading of each run.
            time: [readings] event times, rising within a run.
            value: [readings] values.
            limits: of each reading.
        """
        time_before = shifted(time, starts, self.time[row])
        value_before = shifted(value, starts, self.value[row])
        known = time_before > NEVER
        changed = ~known | (value != value_before)
        since = np.where(changed, time, NEVER)
        since[starts] = np.where(changed[starts], time[starts], self.same_since[row])
        since = running_max(since, starts)
        near = known & (time - time_before <= NEIGHBOUR_S * US_PER_S)
        step = near & (np.abs(value - value_before) > limits.step_max)
        stuck = time - since >= limits.stuck_s * US_PER_S
        ends = ends_of(starts, len(time))
        self.time[row], self.value[row], self.same_since[row] = time[ends], value[ends], since[ends]
        flags = np.where(step, np.int32(Quality.STEP | Quality.PROVISIONAL), np.int32(0))
        flags[stuck] |= np.int32(Quality.STUCK | Quality.PROVISIONAL)
        return flags
