"""neighbours: stations that disagree with those around them

A street is not a park: what counts is not how a station differs from its neighbours, but that it differs from them
otherwise than it used to. A pure function of a matrix of values at the same times, such as hourly means.
"""

from __future__ import annotations

import numpy as np

from pulssi.quality import Quality

NEIGHBOURS_MIN = 3
"""So many neighbours must have a value: of two, nobody knows who is wrong."""

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius."""


def neighbours_within(lat: np.ndarray, lon: np.ndarray, radius_m: float) -> np.ndarray:
    """Which stations are neighbours, bool [stations, stations]; none is its own.

    Args:
        lat: degrees.
        lon: degrees.
        radius_m: greatest distance.
    """
    north = np.radians(lat[:, None] - lat)
    east = np.radians(lon[:, None] - lon) * np.cos(np.radians((lat[:, None] + lat) / 2))  # flat enough for a city
    near = EARTH_RADIUS_M * np.hypot(north, east) <= radius_m
    np.fill_diagonal(near, val=False)
    return np.asarray(near)


def disagreement(
    values: np.ndarray,
    near: np.ndarray,
    *,
    past: int = 48,
    deviations: float = 6.0,
    floor: float = 0.0,
) -> np.ndarray:
    """NEIGHBOUR where a station differs from the median of its neighbours otherwise than it used to.

    The difference to the median of the neighbours is compared with its own median and spread (1.4826 times the median
    absolute deviation) over the times before; at least half of them must be known.

    Args:
        values: [stations, times] in one unit, NaN = missing.
        near: bool [stations, stations], see `neighbours_within`.
        past: how many times before are looked back at.
        deviations: so many spreads are too far.
        floor: least difference that is too far, in the unit.

    Returns:
        int32 [stations, times].
    """
    difference = values - _median_of_neighbours(values, near)
    flags = np.zeros(values.shape, np.int32)
    if values.shape[1] <= past:
        return flags
    before = np.lib.stride_tricks.sliding_window_view(difference, past, axis=1)[:, :-1]
    now = difference[:, past:]
    known = np.count_nonzero(~np.isnan(before), axis=2)
    judged = (known * 2 >= past) & ~np.isnan(now)
    window = before[judged]
    usual = np.nanmedian(window, axis=1)
    spread = 1.4826 * np.nanmedian(np.abs(window - usual[:, None]), axis=1)
    far = np.abs(now[judged] - usual) > np.maximum(deviations * spread, floor)
    flags[:, past:][judged] = np.where(far, np.int32(Quality.NEIGHBOUR), np.int32(0))
    return flags


def _median_of_neighbours(values: np.ndarray, near: np.ndarray) -> np.ndarray:
    """[stations, times], NaN where fewer than NEIGHBOURS_MIN neighbours have a value."""
    result = np.full(values.shape, np.nan)
    for station, around in enumerate(near):
        others = values[around]
        enough = np.count_nonzero(~np.isnan(others), axis=0) >= NEIGHBOURS_MIN
        if enough.any():
            result[station, enough] = np.nanmedian(others[:, enough], axis=0)
    return result
