"""the Finnish air quality index of HSY and the Finnish Meteorological Institute, by hourly means

Class limits: `pulssi.air_classes`; index numbers 50, 75, 100 and 150 at the limits. Between the limits the number runs
linearly, which is our reading of the sources.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pulssi.air_classes import FINNISH_LIMITS
from streams.air.dominant import worst

CLASSES = ("good", "satisfactory", "fair", "poor", "very_poor")
NOT_IN_TOTAL = frozenset({"black_carbon"})
COMPOUNDS_MIN = 3
"""Stations that measure one or two compounds have no index."""

_NUMBERS = np.array([0.0, 50.0, 75.0, 100.0, 150.0])
_FIRST = np.array([0.0, 51.0, 76.0, 101.0, 151.0])
_LAST = np.array([50.0, 75.0, 100.0, 150.0, np.inf])


def sub_class(compound: str, hourly_mean: np.ndarray) -> np.ndarray:
    """Class 0 (good) to 4 (very poor) of hourly means in ug/m3; int16, -1 where the mean is NaN.

    A mean equal to a limit belongs to the worse class, but for the last limit, which is still poor.
    """
    *inner, last = FINNISH_LIMITS[compound]
    mean = np.asarray(hourly_mean, np.float64)
    classes = np.searchsorted(np.array(inner), mean, side="right") + (mean > last)
    return np.where(np.isnan(mean), -1, classes).astype(np.int16)


def sub_index(compound: str, hourly_mean: np.ndarray) -> np.ndarray:
    """Index number of hourly means in ug/m3; float64, NaN where the mean is NaN, negative means count as 0.

    The number always lies in the range of its class, so that 51 says satisfactory and 50 says good.
    """
    mean = np.maximum(np.asarray(hourly_mean, np.float64), 0.0)
    limits = np.array([0.0, *FINNISH_LIMITS[compound]])
    slope = (_NUMBERS[-1] - _NUMBERS[-2]) / (limits[-1] - limits[-2])
    number = np.interp(mean, limits, _NUMBERS) + np.maximum(mean - limits[-1], 0.0) * slope
    classes = sub_class(compound, mean)
    return np.where(classes < 0, np.nan, np.clip(np.floor(number + 0.5 + 1e-9), _FIRST[classes], _LAST[classes]))


def station_index(hourly_means: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The index of a station: the highest sub-index of the hour, when at least three compounds are there.

    Args:
        hourly_means: float64 ug/m3 by compound, all of one shape; NaN = missing. Compounds without limits are ignored.

    Returns:
        (index, class, dominant): float64 with NaN, int16 with -1, object array of compounds with None.
    """
    names = [name for name in hourly_means if name in FINNISH_LIMITS and name not in NOT_IN_TOTAL]
    stacked = np.stack([sub_index(name, hourly_means[name]) for name in names])
    enough = (~np.isnan(stacked)).sum(axis=0) >= COMPOUNDS_MIN
    index, dominant = worst(names, np.where(enough, stacked, np.nan))
    classes = np.where(enough, np.searchsorted(_LAST[:-1], np.nan_to_num(index)), -1).astype(np.int16)
    return index, classes, dominant
