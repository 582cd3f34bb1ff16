"""seasonal_contrast: our own detector of incidents: what the pair should look like now, from all four signals at once

An incident between two stations holds back flow, so that downstream less passes than belongs to this time of day, less
than comes in upstream, and the road empties there, until the queue reaches the upstream station. Each of these is a
weak sign in one minute; together, over some minutes, they are a strong one. What is usual, and how much it varies, is
learned for each pair and quarter of an hour of a day, so a bottleneck that jams every morning is no incident. Two sums
gather evidence (Page, Continuous Inspection Schemes, Biometrika 41, 1954): `early`, while the queue is still on its way
to the upstream station, and `queue`, once it is there. Nothing counts while the downstream station is in a queue itself
(the cause is further down) or passes about as much as it ever does (a bottleneck at work, or a queue let go).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

import numpy as np

from pulssi.times import US_PER_S
from streams.season import DAY_SLOTS
from streams.season import Calendar as LocalTime
from streams.traffic.incidents import Samples

SLOT_MIN: Final = 15
SLOTS: Final = 1440 // SLOT_MIN
DAY_KINDS: Final = 2
_SATURDAY: Final = 5

_SPREAD_MIN = 0.1  # of a logarithm
_CLIP = 4.0
_LEARNED = 45  # samples of a slot: three days
_SETTLED = 60  # samples from which the memory forgets
_FREE_CLIP = 30  # samples from which outliers count with three spreads
_DISCHARGE = 0.85  # of the most that ever passes downstream
_QUEUE_OCCUPANCY = 18.0  # percent, downstream
_EVIDENCE_MAX = 40.0
_EARLY_DRIFT, _QUEUE_DRIFT = 1.5, 5.0

Calendar = Callable[[int], tuple[int, int]]
"""From us UTC to the kind of day, below DAY_KINDS, and the minute of the day."""


def local(calendar: LocalTime) -> Calendar:
    """Minute of the local day, and whether it is a weekend or a holiday."""

    def kind_and_minute(time: int) -> tuple[int, int]:
        half_hour, hour_of_week = calendar.slots(np.array([time]))[:, 0].tolist()
        weekend = (hour_of_week - DAY_SLOTS) // 24 >= _SATURDAY
        return int(weekend), half_hour * 30 + time // (60 * US_PER_S) % 30

    return kind_and_minute


class SeasonalContrast:
    """Incidents from the seasonal expectation of occupancy and flow; state in arrays, last axis pairs.

    Args:
        pairs: number of pairs.
        evidence_min: evidence that declares an incident, which stands until a quarter of it is left; a number or an
            array that broadcasts against the pairs.
        calendar: what time of what kind of day it is.

    Attributes:
        evidence: [2, pairs] early and queue.
        known: [pairs] where it was learned what is usual at the time of the last minute.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("level", "spread", "count", "smooth", "most", "evidence", "standing")

    def __init__(self, pairs: int, evidence_min: np.ndarray | float = 9.0, *, calendar: Calendar) -> None:
        shape = (DAY_KINDS, SLOTS, 4, pairs)
        self.level = np.zeros(shape)
        self.spread = np.zeros(shape)
        self.count = np.zeros(shape, np.int32)
        self.smooth = np.full(pairs, np.nan)
        self.most = np.zeros(pairs)
        self.evidence = np.zeros((2, pairs))
        self.standing = np.zeros(np.broadcast_shapes(np.shape(evidence_min), (pairs,)), np.bool_)
        self.known = np.zeros(pairs, np.bool_)
        self._evidence_min = evidence_min
        self._calendar = calendar

    def restart(self, pairs: np.ndarray) -> None:
        """Nothing stands between these any more, as far as is known; what is usual stays known."""
        self.evidence[:, pairs] = 0
        self.standing[..., pairs] = False

    def update(self, samples: Samples) -> np.ndarray:
        """Take one minute; bool [..., pairs]: an incident stands between the stations."""
        self.evidence = self._gather(samples)
        strongest = self.evidence.max(axis=0)
        self.standing = strongest >= np.where(self.standing, 0.25, 1.0) * self._evidence_min
        return self.standing

    @property
    def strength(self) -> np.ndarray:
        """The stronger evidence as a share of what declares an incident; [..., pairs]."""
        return np.asarray(self.evidence.max(axis=0) / self._evidence_min)

    def _gather(self, samples: Samples) -> np.ndarray:
        """The evidence after this minute; unchanged where a sample is missing."""
        up, down = np.log(samples.flow_up + 120), np.log(samples.flow_down + 120)
        contrast = np.log(samples.occupancy_up + 2) - np.log(samples.occupancy_down + 2)
        deviates, self.known = self._deviates(samples.time, np.stack([contrast, up - down, down, up]))
        emptier, held, lacking, coming = deviates[0], deviates[1], -deviates[2], deviates[3]
        early = np.clip(emptier, -_CLIP, _CLIP) + np.clip(held, -_CLIP, _CLIP) + np.clip(lacking, -_CLIP, 3.0)
        early = (early + np.minimum(coming + 1, 0)) / np.sqrt(3)  # what did not come in cannot go out
        queue = np.clip(emptier, -_CLIP, 9.0) + np.clip(np.maximum(held, lacking), -_CLIP, _CLIP)
        signs = np.stack([early, queue])
        signs = np.where(self._load(samples.flow_down) > _DISCHARGE, np.minimum(signs, 0) - 1, signs)
        signs = np.where(samples.occupancy_down > _QUEUE_OCCUPANCY, -_CLIP, signs)
        grown = self.evidence + signs - np.array([[_EARLY_DRIFT], [_QUEUE_DRIFT]])
        return np.where(np.isnan(grown) | ~self.known, self.evidence, np.clip(grown, 0, _EVIDENCE_MAX))

    def _deviates(self, time: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance of values from what is usual now, in spreads, and where that is known; then learns them.

        Args:
            time: us UTC.
            values: [4, pairs].
        """
        kind, minute = self._calendar(time)
        slot, within = divmod(minute, SLOT_MIN)
        away = (within + 0.5) / SLOT_MIN - 0.5
        other, weight = (slot + (1 if away > 0 else -1)) % SLOTS, abs(away)
        level, spread, count = self.level[kind], self.spread[kind], self.count[kind]
        usual = level[slot] * (1 - weight) + level[other] * weight
        usual_spread = spread[slot] * (1 - weight) + spread[other] * weight
        deviates = (values - usual) / np.maximum(usual_spread, _SPREAD_MIN)
        known = count[slot].min(axis=0) >= _LEARNED
        off = values - level[slot]
        limit = np.where(count[slot] < _FREE_CLIP, np.inf, 3 * np.maximum(spread[slot], _SPREAD_MIN))
        seen = ~np.isnan(off)
        off = np.where(seen, np.clip(off, -limit, limit), 0.0)
        count[slot] += seen
        step = seen / np.clip(count[slot], 1, _SETTLED)
        level[slot] += step * off
        spread[slot] += step * (1.25 * np.abs(off) - spread[slot])  # of a normal distribution, from mean distance
        return deviates, known

    def _load(self, flow_down: np.ndarray) -> np.ndarray:
        """Flow of the last minutes as a share of the most that has passed in weeks."""
        step = np.where(np.isnan(self.smooth), flow_down, self.smooth + 0.3 * (flow_down - self.smooth))
        self.smooth = np.where(np.isnan(flow_down), self.smooth, step)
        flow = np.nan_to_num(self.smooth)
        rising = flow > self.most
        most = np.where(rising, self.most + 0.05 * (flow - self.most), self.most * (1 - 0.02 / 1440))
        self.most = np.where(np.isnan(flow_down), self.most, most)
        return np.asarray(flow / np.maximum(self.most, 1.0))
