"""neighbours: stations that disagree with those around them

A street is not a park: what counts is not how a station differs from its neighbours, but that it differs from them
otherwise than it used to. A pure function of a matrix of values at the same times, such as hourly means.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pulssi.quality import Quality

NEIGHBOURS_MIN = 3
"""So many neighbours must have a value: of two, nobody knows who is wrong."""

PAST = 48
"""Times that are looked back at."""

DEVIATIONS = 6.0
"""So many spreads are too far."""

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius."""


def neighbours_within(lat: np.ndarray, lon: np.ndarray, radius_m: float) -> np.ndarray:
    """Which stations are neighbours, bool [stations, stations]; none is its own.

    Args:
        lat: degrees.
        lon: degrees.
        radius_m: greatest distance.
    """
    near = distances_m(lat, lon) <= radius_m
    np.fill_diagonal(near, val=False)
    return np.asarray(near)


def distances_m(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Distances between stations, [stations, stations]; NaN where a place is NaN."""
    north = np.radians(lat[:, None] - lat)
    east = np.radians(lon[:, None] - lon) * np.cos(np.radians((lat[:, None] + lat) / 2))  # flat enough for a city
    return np.asarray(EARTH_RADIUS_M * np.hypot(north, east))


def disagreement(
    values: np.ndarray,
    near: np.ndarray,
    *,
    past: int = PAST,
    deviations: float = DEVIATIONS,
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
    difference = values - median_of_neighbours(values, near)
    departure = departures(difference, past)
    return far(departure, deviations, floor)


class Departures(NamedTuple):
    """How far differences are from what they used to be, [stations, times].

    Attributes:
        value: difference less its median over the times before, in its unit; NaN where that is not known.
        spread: 1.4826 times the median absolute deviation of the times before.
    """

    value: np.ndarray
    spread: np.ndarray


def departures(difference: np.ndarray, past: int) -> Departures:
    """Differences beside those of the `past` times before, at least half of which must be known; see `disagreement`."""
    found = Departures(np.full(difference.shape, np.nan), np.full(difference.shape, np.nan))
    if difference.shape[1] <= past:
        return found
    before = np.lib.stride_tricks.sliding_window_view(difference, past, axis=1)[:, :-1]
    now = difference[:, past:]
    known = np.count_nonzero(~np.isnan(before), axis=2)
    judged = (known * 2 >= past) & ~np.isnan(now)
    window = before[judged]
    usual = np.nanmedian(window, axis=1)
    found.value[:, past:][judged] = now[judged] - usual
    found.spread[:, past:][judged] = 1.4826 * np.nanmedian(np.abs(window - usual[:, None]), axis=1)
    return found


def far(departure: Departures, deviations: float, floor: float) -> np.ndarray:
    """NEIGHBOUR where a departure is further than so many spreads and than the floor, int32."""
    beyond = np.abs(departure.value) > np.maximum(deviations * departure.spread, floor)
    return np.where(beyond, np.int32(Quality.NEIGHBOUR), np.int32(0))


def median_of_neighbours(values: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Median over the neighbours of some stations, [some, times]; NaN where fewer than NEIGHBOURS_MIN have a value.

    Args:
        values: [stations, times].
        near: bool [some, stations].
    """
    result = np.full((len(near), values.shape[1]), np.nan)
    for station, around in enumerate(near):
        others = values[around]
        enough = np.count_nonzero(~np.isnan(others), axis=0) >= NEIGHBOURS_MIN
        if enough.any():
            result[station, enough] = np.nanmedian(others[:, enough], axis=0)
    return result
