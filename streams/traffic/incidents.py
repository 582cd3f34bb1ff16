"""incidents: published algorithms that see a blocked road between two stations

Each takes one sample a minute of many pairs of stations at once and says for each pair whether an incident stands
there. A missing sample (NaN) is a gap: the pair keeps what it said. Thresholds are numbers or arrays that broadcast
against the pairs, so that a whole grid of them can be tried in one go.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Samples:
    """One minute of every pair, float64 [pairs], NaN where a detector said nothing.

    Attributes:
        time: us UTC, the end of the minute.
        occupancy_up: of the upstream station, percent.
        occupancy_down: of the downstream station, percent.
        flow_up: at the upstream station, veh/h.
        flow_down: at the downstream station, veh/h.
    """

    time: int
    occupancy_up: np.ndarray
    occupancy_down: np.ndarray
    flow_up: np.ndarray
    flow_down: np.ndarray


class IncidentDetector(Protocol):
    """State in arrays, one minute at a time."""

    COLUMNS: ClassVar[tuple[str, ...]]

    def update(self, samples: Samples) -> np.ndarray:
        """Take one minute; bool [..., pairs]: an incident stands between the stations."""


def occupancy_from(
    flow_veh_h: np.ndarray, speed_km_h: np.ndarray, effective_length_m: float, lanes: np.ndarray | int
) -> np.ndarray:
    """Occupancy in percent where a station gives flow and speed only; NaN where nothing moves."""
    speed = np.where(np.asarray(speed_km_h, np.float64) > 0, speed_km_h, np.nan)
    return np.asarray(np.minimum(np.asarray(flow_veh_h, np.float64) / speed / lanes * effective_length_m / 10, 100.0))


class State(IntEnum):
    """Where a pair is in the decision trees of California; above TENTATIVE the incident is declared."""

    FREE = 0
    TENTATIVE = 1
    CONFIRMED = 2
    CONTINUING = 3


def _spatial(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """OCCDF and OCCRDF: the difference of occupancies, and the same as a share of the upstream one."""
    difference = samples.occupancy_up - samples.occupancy_down
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(samples.occupancy_up > 0, difference / samples.occupancy_up, 0.0)
    return difference, np.where(np.isnan(difference), np.nan, share)


class California7:
    """California algorithm #7: a difference in space that lasts, with free flow downstream.

    Source: Payne, Tignor, Freeway Incident-Detection Algorithms Based on Decision Trees with States, Transportation
    Research Record 682, 1978.

    Args:
        shape: of the states: [pairs], or [..., pairs] when thresholds are arrays.
        difference_min: OCCDF from which an incident is possible, percent.
        share_min: OCCRDF of the same.
        down_max: highest occupancy downstream, percent; above it the queue is that of something further down.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("state",)

    def __init__(
        self,
        shape: tuple[int, ...],
        difference_min: np.ndarray | float = 8.0,
        share_min: np.ndarray | float = 0.313,
        down_max: np.ndarray | float = 16.8,
    ) -> None:
        self.state = np.zeros(shape, np.int8)
        self._difference_min, self._share_min, self._down_max = difference_min, share_min, down_max

    def restart(self, pairs: np.ndarray) -> None:
        """Nothing stands between these any more, as far as is known."""
        self.state[..., pairs] = State.FREE

    def update(self, samples: Samples) -> np.ndarray:
        """Take one minute; where an incident is declared."""
        difference, share = _spatial(samples)
        lasting = share >= self._share_min
        opening = (difference >= self._difference_min) & lasting & (samples.occupancy_down <= self._down_max)
        step = np.where(
            self.state == State.FREE,
            opening * int(State.TENTATIVE),
            lasting * np.minimum(self.state + 1, State.CONTINUING),
        )
        self.state = np.where(np.isnan(difference), self.state, step).astype(np.int8)
        return np.asarray(self.state >= State.CONFIRMED)


class California8:
    """California algorithm #8: as #7, but it waits while a compression wave passes the downstream station.

    A wave is seen when traffic downstream is dense and has become so within two minutes; nothing is declared in it and
    in the four minutes after it. Source: as of `California7`.

    Args:
        shape: as of `California7`.
        difference_min: as of `California7`.
        share_min: as of `California7`.
        down_max: as of `California7`.
        wave_occupancy_min: occupancy downstream in a wave, percent.
        wave_change_max: DOCCTD, the relative fall of occupancy downstream in two minutes, below which it is a wave.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("state", "wave", "before")
    WAVE_MIN: ClassVar[int] = 5

    def __init__(
        self,
        shape: tuple[int, ...],
        difference_min: np.ndarray | float = 8.0,
        share_min: np.ndarray | float = 0.313,
        down_max: np.ndarray | float = 16.8,
        wave_occupancy_min: np.ndarray | float = 30.0,
        wave_change_max: np.ndarray | float = -0.4,
    ) -> None:
        self.state = np.zeros(shape, np.int8)
        self.wave = np.zeros(shape, np.int8)
        self.before = np.full((2, shape[-1]), np.nan)
        self._difference_min, self._share_min, self._down_max = difference_min, share_min, down_max
        self._wave_occupancy_min, self._wave_change_max = wave_occupancy_min, wave_change_max

    def update(self, samples: Samples) -> np.ndarray:
        """Take one minute; where an incident is declared."""
        difference, share = _spatial(samples)
        earlier = np.where(self.before[0] > 0, self.before[0], np.nan)
        change = (self.before[0] - samples.occupancy_down) / earlier
        self.before = np.stack([self.before[1], samples.occupancy_down])
        surge = (samples.occupancy_down >= self._wave_occupancy_min) & (change < self._wave_change_max)
        wave = np.where(surge, self.WAVE_MIN, np.maximum(self.wave - 1, 0))
        lasting = share >= self._share_min
        opening = (difference >= self._difference_min) & lasting & (samples.occupancy_down <= self._down_max)
        standing = lasting * np.minimum(self.state + 1, State.CONTINUING)
        waiting = (wave > 0) & (self.state < State.CONFIRMED)
        step = np.where(self.state == State.FREE, opening * int(State.TENTATIVE), standing)
        gap = np.isnan(difference)
        self.wave = np.where(gap, self.wave, wave).astype(np.int8)
        self.state = np.where(gap, self.state, np.where(waiting, int(State.FREE), step)).astype(np.int8)
        return np.asarray(self.state >= State.CONFIRMED)


class StandardNormalDeviate:
    """Occupancy upstream far above its own last minutes, twice in a row.

    The incident stands until the occupancy is back within one deviation of what it was before.
    Source: Dudek, Messer, Nuckles, Incident Detection on Urban Freeways, Transportation Research Record 495, 1974.

    Args:
        shape: as of `California7`.
        deviate_min: deviations from the mean that are too many.
        minutes: length of the memory.
        spread_min: least deviation, percent of occupancy; a road of equal minutes has none.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("memory", "high", "level")

    def __init__(
        self,
        shape: tuple[int, ...],
        deviate_min: np.ndarray | float = 3.0,
        minutes: int = 5,
        spread_min: float = 0.5,
    ) -> None:
        self.memory = np.full((minutes, *shape), np.nan)
        self.high = np.zeros(shape, np.int8)
        self.level = np.zeros(shape)
        self._deviate_min, self._spread_min = deviate_min, spread_min

    def update(self, samples: Samples) -> np.ndarray:
        """Take one minute; where an incident is declared."""
        now = samples.occupancy_up
        known = ~np.isnan(now)
        mean = self.memory.mean(axis=0)
        spread = np.maximum(self.memory.std(axis=0, ddof=1), self._spread_min)
        far = now >= mean + self._deviate_min * spread  # never while the memory is not full
        self.level = np.where(far & (self.high == 0), mean + spread, self.level)
        standing = (self.high == 2) & (now > self.level)
        high = np.where(standing, 2, far * np.minimum(self.high + 1, 2))
        first = (high == 1) | ~known  # the second minute is judged by the same memory
        self.memory = np.where(
            first, self.memory, np.concatenate((self.memory[1:], np.broadcast_to(now, (1, *first.shape))))
        )
        self.high = np.where(known, high, self.high).astype(np.int8)
        return np.asarray(self.high == 2)
