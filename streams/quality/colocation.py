"""colocation: a sensor beside a reference station: how well they agree, and whether the sensor moves away from it

Figures and targets follow US EPA, Performance Testing Protocols, Metrics, and Target Values for PM2.5 and Ozone Air
Sensors (2021): hourly means of at least 45 of 60 minutes, the sensor as a function of the reference.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np

from pulssi.quality import Quality
from pulssi.times import US_PER_S

HOUR_US = 3600 * US_PER_S
MINUTE_US = 60 * US_PER_S
HOUR_MINUTES_MIN = 45
"""Minutes with a reading that a mean of an hour needs: 75 %."""


class Agreement(NamedTuple):
    """How a sensor agrees with a reference.

    Attributes:
        n: pairs.
        slope, intercept: of the line sensor = slope x reference + intercept by least squares.
        r2: square of the correlation.
        rmse: root of the mean square of sensor - reference, in their unit.
        bias: mean of sensor - reference, in their unit.
    """

    n: int
    slope: float
    intercept: float
    r2: float
    rmse: float
    bias: float


def hourly_means(time: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the whole hours that have values in 45 minutes or more.

    Args:
        time: int64 us.
        value: float64; NaN counts for nothing.

    Returns:
        Start of each hour (int64 us, rising) and its mean.
    """
    known = np.flatnonzero(~np.isnan(value))
    hours, of = np.unique(time[known] // HOUR_US, return_inverse=True)
    minutes = np.unique(time[known] // MINUTE_US)
    filled = np.bincount(np.searchsorted(hours, minutes * MINUTE_US // HOUR_US), minlength=len(hours))
    mean = np.bincount(of, value[known], len(hours)) / np.maximum(np.bincount(of, minlength=len(hours)), 1)
    enough = filled >= HOUR_MINUTES_MIN
    return hours[enough] * HOUR_US, mean[enough]


def agreement(sensor: np.ndarray, reference: np.ndarray) -> Agreement:
    """Agreement of paired values; pairs with a NaN are left out, and fewer than three agree on nothing (NaN)."""
    both = ~(np.isnan(sensor) | np.isnan(reference))
    y, x = sensor[both], reference[both]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Agreement(len(x), *(float("nan"),) * 5)
    slope, intercept = np.polyfit(x, y, 1)
    error = y - x
    r = np.corrcoef(x, y)[0, 1]
    figures = (slope, intercept, r * r, np.sqrt(np.mean(error * error)), error.mean())
    return Agreement(len(x), *map(float, figures))


class DriftMonitor:
    """Drift of sensors against their references, arrays by row, one pair of values a step.

    The line sensor = slope x reference + intercept and the spread of the residuals around it are learned from the first
    LEARN_STEPS pairs. Then a two-sided cumulative sum (Page 1954) of the residuals in spreads, less SLACK a step and
    clipped to CLIP, says that the sensor drifts while it is above LIMIT. Meant for daily means: hourly residuals hang
    together by weather and traffic and would add up to alarms.

    Attributes:
        steps: pairs so far.
        learned: [rows, LEARN_STEPS, 2] sensor and reference of the first ones.
        slope, intercept, spread: what was learned.
        above, below: cumulative sums.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("steps", "learned", "slope", "intercept", "spread", "above", "below")

    LEARN_STEPS = 28
    SLACK = 0.75
    CLIP = 4.0
    LIMIT = 8.0

    def __init__(self) -> None:
        self.steps = np.zeros(0, np.int64)
        self.learned = np.zeros((0, self.LEARN_STEPS, 2))
        self.slope, self.intercept, self.spread = np.zeros(0), np.zeros(0), np.zeros(0)
        self.above, self.below = np.zeros(0), np.zeros(0)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        more = max(rows - len(self.steps), 0)
        for name in self.COLUMNS:
            column = getattr(self, name)
            setattr(self, name, np.concatenate((column, np.zeros((more, *column.shape[1:]), column.dtype))))

    def update(self, rows: np.ndarray, sensor: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """One pair of each of distinct rows; DRIFT where the sensor drifts, int32. A NaN is no pair: 0."""
        flags = np.zeros(len(rows), np.int32)
        known = np.flatnonzero(~(np.isnan(sensor) | np.isnan(reference)))
        learning = known[self.steps[rows[known]] < self.LEARN_STEPS]
        self._learn(rows[learning], sensor[learning], reference[learning])
        judged = known[self.steps[rows[known]] >= self.LEARN_STEPS]
        judged = np.setdiff1d(judged, learning, assume_unique=True)
        own = rows[judged]
        residual = sensor[judged] - self.slope[own] * reference[judged] - self.intercept[own]
        z = np.divide(residual, self.spread[own], out=np.zeros(len(own)), where=self.spread[own] > 0)
        z = np.clip(z, -self.CLIP, self.CLIP)
        self.above[own] = np.maximum(self.above[own] + z - self.SLACK, 0)
        self.below[own] = np.maximum(self.below[own] - z - self.SLACK, 0)
        drifting = np.maximum(self.above[own], self.below[own]) > self.LIMIT
        flags[judged[drifting]] = int(Quality.DRIFT)
        return flags

    def _learn(self, rows: np.ndarray, sensor: np.ndarray, reference: np.ndarray) -> None:
        self.learned[rows, self.steps[rows]] = np.stack((sensor, reference), axis=1)
        self.steps[rows] += 1
        done = rows[self.steps[rows] == self.LEARN_STEPS]
        y, x = self.learned[done, :, 0], self.learned[done, :, 1]
        dx, dy = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        varied = (dx * dx).sum(axis=1)
        self.slope[done] = np.divide((dx * dy).sum(axis=1), varied, out=np.zeros(len(done)), where=varied > 0)
        self.intercept[done] = y.mean(axis=1) - self.slope[done] * x.mean(axis=1)
        residual = dy - self.slope[done][:, None] * dx
        self.spread[done] = np.sqrt((residual * residual).sum(axis=1) / (self.LEARN_STEPS - 2))
