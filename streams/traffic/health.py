"""health: whether a detector of traffic can be believed, from how its samples go on

Source of the rules and times: Minnesota Department of Transportation, IRIS (Intelligent Roadway Information System),
detector auto-fail and `MAX_VOLUME`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np

from pulssi.times import US_PER_S


class Health(IntEnum):
    """What is wrong with a detector; the worst of them."""

    GOOD = 0
    NO_HITS = 1  # not one vehicle for hours
    NO_CHANGE = 2  # the same flow and occupancy for a day
    LOCKED_ON = 3  # something stands on the loop, for the loop
    CHATTER = 4  # more vehicles than can be


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """How long is too long, in seconds, and how many vehicles are too many."""

    no_hits_s: float = 4 * 3600
    no_change_s: float = 24 * 3600
    locked_on_s: float = 120
    chatter_veh_h_lane: float = 37 * 120  # 37 vehicles in 30 s
    gap_s: float = 900
    """Samples farther apart say nothing about the time between them."""


_H = 3600.0
_RAMP_LOCKED_ON_S = 1800.0
LIMITS_BY_LANE = {
    "mainline": HealthLimits(),
    "collector": HealthLimits(no_hits_s=4 * _H, locked_on_s=_RAMP_LOCKED_ON_S),
    "merge": HealthLimits(no_hits_s=12 * _H, locked_on_s=_RAMP_LOCKED_ON_S),
    "queue": HealthLimits(no_hits_s=12 * _H, locked_on_s=_RAMP_LOCKED_ON_S),
    "passage": HealthLimits(no_hits_s=12 * _H, locked_on_s=_RAMP_LOCKED_ON_S),
    "bypass": HealthLimits(no_hits_s=72 * _H, locked_on_s=_RAMP_LOCKED_ON_S),
    "exit": HealthLimits(no_hits_s=8 * _H, locked_on_s=_RAMP_LOCKED_ON_S),
    "hov": HealthLimits(no_hits_s=8 * _H),
    "auxiliary": HealthLimits(no_hits_s=24 * _H, locked_on_s=_RAMP_LOCKED_ON_S),
    "parking": HealthLimits(no_hits_s=14 * 24 * _H, locked_on_s=14 * 24 * _H),
}
"""By what a detector lies on; those of Digitraffic lie on the mainline.

IRIS gives times without a hit for all, and times of being locked on for the mainline, HOV lanes and ramps. We take all
others for ramps, but a parking place may be full for as long as it may be empty.
"""


class DetectorHealth:
    """Runs of samples of n detectors, one sample of each at a time, in the order of event time.

    A missing sample (NaN) is no zero and no vehicle: short gaps leave runs as they are, long ones end them.

    Args:
        n: number of detectors.
        lanes: that a detector covers, [n] or one number.
        limits: see there.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("zero_since", "full_since", "same_since", "newest", "value")

    def __init__(self, n: int, lanes: np.ndarray | float = 1.0, limits: HealthLimits | None = None) -> None:
        self.zero_since = np.full(n, -1, np.int64)
        self.full_since = np.full(n, -1, np.int64)
        self.same_since = np.full(n, -1, np.int64)
        self.newest = np.full(n, -1, np.int64)
        self.value = np.full((2, n), np.nan)
        self._lanes = np.broadcast_to(np.asarray(lanes, np.float64), n)
        self._limits = limits or HealthLimits()

    def update(self, time: np.ndarray, flow: np.ndarray, occupancy: np.ndarray) -> np.ndarray:
        """Take one sample of each detector; `Health` of each, int16.

        Args:
            time: us UTC of the samples, int64 [n].
            flow: veh/h, NaN where there is none.
            occupancy: percent, NaN where there is none.
        """
        limits = self._limits
        seen = ~(np.isnan(flow) & np.isnan(occupancy))
        away = seen & (time - self.newest > limits.gap_s * US_PER_S)
        for since in (self.zero_since, self.full_since, self.same_since):
            since[away] = -1
        self.newest = np.where(seen, time, self.newest)
        self.zero_since = _since(self.zero_since, time, flow, flow == 0)
        self.full_since = _since(self.full_since, time, occupancy, occupancy >= 100)
        now = np.stack([flow, occupancy])
        changed = (now != self.value) & ~np.isnan(now)
        self.same_since = np.where(seen & (changed.any(axis=0) | (self.same_since < 0)), time, self.same_since)
        self.value = np.where(np.isnan(now), self.value, now)
        health = np.zeros(len(time), np.int16)
        health[_lasting(self.zero_since, time, limits.no_hits_s)] = Health.NO_HITS
        health[_lasting(self.same_since, time, limits.no_change_s)] = Health.NO_CHANGE
        health[_lasting(self.full_since, time, limits.locked_on_s)] = Health.LOCKED_ON
        health[flow > limits.chatter_veh_h_lane * self._lanes] = Health.CHATTER
        return health


def _since(since: np.ndarray, time: np.ndarray, value: np.ndarray, holds: np.ndarray) -> np.ndarray:
    """Time from which a condition has held, -1 where it does not; a missing value changes nothing."""
    held = np.where(since < 0, time, since)
    return np.where(np.isnan(value), since, np.where(holds, held, -1))


def _lasting(since: np.ndarray, time: np.ndarray, length_s: float) -> np.ndarray:
    return np.asarray((since >= 0) & (time - since >= length_s * US_PER_S))


def without_repeats(values: np.ndarray, repeats_max: int = 3) -> np.ndarray:
    """Samples with NaN where a detector says exactly the same again and again: the transmission hangs.

    Args:
        values: [quantities, minutes, detectors]; all quantities of a minute must repeat.
        repeats_max: repeats from which a sample counts as missing; 3 minutes of equal flow and occupancy do not happen
            while there is traffic.
    """
    same = np.zeros(values.shape[1:], np.int64)
    equal = (values[:, 1:] == values[:, :-1]).all(axis=0) & (values[0, 1:] > 0)
    for minute in range(1, values.shape[1]):
        same[minute] = np.where(equal[minute - 1], same[minute - 1] + 1, 0)
    return np.where(same >= repeats_max, np.nan, values)
