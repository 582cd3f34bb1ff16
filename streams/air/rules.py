"""rules: from the hourly means of stations to indices and levels; each is a function of at most 24 hours or one day

An hour is named by its beginning. The micrograms of gases are those at 20 C, as the vocabulary has them, so the mixing
ratios that the US index asks for are taken back at 20 C: what a sensor gave in ppb comes out as the same ppb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulssi.air_classes import COMPOUNDS, FINNISH_LIMITS
from pulssi.units import ug_m3_to_ppb
from streams.air import european, finnish, thresholds, us_aqi
from streams.air.hours import DIGITS
from streams.air.nowcast import PM_HOURS, ozone_surrogate, pm_nowcast

COMPLETENESS_MIN = 0.75
"""Of the hours of a mean over several hours, as of the readings of an hour."""

HOURS = 24
"""The longest time that an hourly rule looks at."""

_PLACE = {compound: place for place, compound in enumerate(COMPOUNDS)}


@dataclass(frozen=True, slots=True)
class Rule:
    """One series of every station.

    Attributes:
        quantity: its word in the vocabulary.
        channel: the compound that it is about; None = the station as a whole.
        reach: how many hours of each compound (by place in `COMPOUNDS`) it looks at, the newest included.
    """

    quantity: str
    channel: str | None
    reach: dict[int, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule says of each point, arrays [points]; NaN and -1 where it says nothing.

    Attributes:
        value: index number or level.
        class_: class or level.
        concentration: what it was found from, in the unit of its table; of a station that of the dominant compound.
        dominant: place in `COMPOUNDS` of the compound that decided.
    """

    value: np.ndarray
    class_: np.ndarray
    concentration: np.ndarray
    dominant: np.ndarray


def mean_of(hours: np.ndarray) -> np.ndarray:
    """Mean over the last axis where three quarters of the hours are there, else NaN."""
    there = ~np.isnan(hours)
    n = there.sum(axis=-1)
    mean = np.round(np.where(there, hours, 0.0).sum(axis=-1) / np.maximum(n, 1), DIGITS)
    return np.where(n >= np.ceil(COMPLETENESS_MIN * hours.shape[-1]), mean, np.nan)


def _one(compound: str, value: np.ndarray, class_: np.ndarray, concentration: np.ndarray) -> Outcome:
    nothing = np.isnan(value)
    return Outcome(
        value,
        np.where(nothing, -1, class_),
        np.where(nothing, np.nan, concentration),
        np.where(nothing, np.nan, float(_PLACE[compound])),
    )


def _station(parts: list[Outcome], enough: np.ndarray, class_: np.ndarray | None = None) -> Outcome:
    """The worst of `parts` where there is enough; ties go to the first."""
    values = np.where(enough, np.stack([part.value for part in parts]), np.nan)
    worst = np.where(np.isnan(values), -np.inf, values).argmax(axis=0)
    point = np.arange(values.shape[1])
    value = values[worst, point]
    nothing = np.isnan(value)
    classes = np.stack([part.class_ for part in parts])[worst, point] if class_ is None else class_
    found = (np.stack([getattr(part, name) for part in parts])[worst, point] for name in ("concentration", "dominant"))
    return Outcome(value, np.where(nothing, -1, classes), *(np.where(nothing, np.nan, one) for one in found))


# The Finnish index

_FINNISH = tuple(FINNISH_LIMITS)
_FINNISH_TOTAL = tuple(name for name in _FINNISH if name not in finnish.NOT_IN_TOTAL)


def _finnish(hours: np.ndarray) -> list[Outcome]:
    now = {name: hours[:, _PLACE[name], -1] for name in _FINNISH}
    parts = {name: _one(name, finnish.sub_index(name, c), finnish.sub_class(name, c), c) for name, c in now.items()}
    _index, class_, _dominant = finnish.station_index(now)
    return [_station([parts[name] for name in _FINNISH_TOTAL], class_ >= 0), *parts.values()]


# The European index

_EUROPEAN = tuple(european.BOUNDS["2025"])


def _european(hours: np.ndarray, roadside: np.ndarray, revision: european.Revision) -> list[Outcome]:
    means = {name: hours[:, _PLACE[name], -1] for name in _EUROPEAN}
    if revision == "2017":
        means |= {name: mean_of(hours[:, _PLACE[name], :]) for name in european.PARTICLES}
    parts = []
    for name, mean in means.items():
        band = european.band(name, mean, revision)
        parts.append(_one(name, np.where(band < 0, np.nan, band + 1.0), band, mean))
    bands = (european.station_band(means, is_traffic_station=one, revision=revision)[0] for one in (True, False))
    return [_station(parts, np.where(roadside, *bands) >= 0), *parts]


# The index of the United States

_US = ("pm2_5", "pm10", "o3", "co", "so2", "no2")


def _us(hours: np.ndarray) -> list[Outcome]:
    ppb = {gas: ug_m3_to_ppb(gas, hours[:, _PLACE[gas], :]) for gas in ("o3", "co", "so2", "no2")}
    parts = [
        _us_of("pm2_5", pm_nowcast(hours[:, _PLACE["pm2_5"], -PM_HOURS:], 1), "pm2_5_24h"),
        _us_of("pm10", pm_nowcast(hours[:, _PLACE["pm10"], -PM_HOURS:], 0), "pm10_24h"),
        _us_of("o3", ozone_surrogate(ppb["o3"]) / 1e3, "o3_8h", (ppb["o3"][:, -1] / 1e3, "o3_1h")),
        _us_of("co", mean_of(ppb["co"][:, -8:]) / 1e3, "co_8h"),
        _us_of("so2", ppb["so2"][:, -1], "so2_1h", (mean_of(ppb["so2"]), "so2_24h")),
        _us_of("no2", ppb["no2"][:, -1], "no2_1h"),
    ]
    ozone_8h = _us_of("o3", mean_of(ppb["o3"][:, -8:]) / 1e3, "o3_8h")
    return [_station(parts, np.ones(len(hours), np.bool_)), *parts, ozone_8h]


def _us_of(compound: str, mean: np.ndarray, table: str, high: tuple[np.ndarray, str] | None = None) -> Outcome:
    """By one table, or by a second one for high concentrations where that gives more."""
    value, concentration = us_aqi.sub_index(table, mean), mean
    if high is not None:
        more = us_aqi.sub_index(high[1], high[0])
        higher = ~np.isnan(more) & ~(more <= value)
        value, concentration = np.where(higher, more, value), np.where(higher, high[0], concentration)
    return _one(compound, value, us_aqi.category(value), concentration)


# European thresholds

_GASES = ("o3", "no2", "so2")
_RUN = 3


def _levels(hours: np.ndarray, directive: thresholds.Directive) -> list[Outcome]:
    """0, 1 = information threshold exceeded, 2 = alert threshold exceeded."""
    found = []
    for gas in _GASES:
        run = hours[:, _PLACE[gas], -_RUN:]
        level = np.zeros(len(hours))
        for number, table in ((1.0, thresholds.INFORMATION[directive]), (2.0, thresholds.ALERT[directive])):
            if gas in table:
                level[thresholds.exceeded(run, table[gas])[:, -1]] = number
        level = np.where(np.isnan(run[:, -1]), np.nan, level)
        found.append(_one(gas, level, level, run[:, -1]))
    return found


# All of them


def _rules(quantity: str, reach: dict[str, int], *, total: tuple[str, ...] | None) -> list[Rule]:
    by_place = {name: {_PLACE[name.removesuffix("_8h")]: hours} for name, hours in reach.items()}
    each = [Rule(quantity, name, places) for name, places in by_place.items()]
    if total is None:
        return each
    return [Rule(quantity, None, {_PLACE[name]: reach[name] for name in total}), *each]


_US_REACH = {"pm2_5": PM_HOURS, "pm10": PM_HOURS, "o3": 3, "co": 8, "so2": 24, "no2": 1, "o3_8h": 8}
_OLD_REACH = {name: HOURS if name in european.PARTICLES else 1 for name in _EUROPEAN}
_RUN_REACH = {"o3": 1, "no2": _RUN, "so2": _RUN}

HOURLY: tuple[Rule, ...] = (
    *_rules("air_index_fi", dict.fromkeys(_FINNISH, 1), total=_FINNISH_TOTAL),
    *_rules("air_index_eu", dict.fromkeys(_EUROPEAN, 1), total=_EUROPEAN),
    *_rules("air_index_eu_2017", _OLD_REACH, total=_EUROPEAN),
    *_rules("air_index_us", _US_REACH, total=_US),
    *_rules("eu_threshold_level", _RUN_REACH, total=None),
    *_rules("eu_threshold_level_2008", _RUN_REACH, total=None),
)
"""Every rule of an hour."""


def hourly(hours: np.ndarray, roadside: np.ndarray) -> list[Outcome]:
    """What each of `HOURLY` says.

    Args:
        hours: float64 ug/m3, [points, compounds, HOURS], oldest first; NaN = missing.
        roadside: bool, [points], whether the station is a traffic station.
    """
    return [
        *_finnish(hours),
        *_european(hours, roadside, "2025"),
        *_european(hours, roadside, "2017"),
        *_us(hours),
        *_levels(hours, "2024/2881"),
        *_levels(hours, "2008/50/EC"),
    ]


# Days

BEFORE_DAY = 7
"""Hours before a local day that its 8-hour means look at."""

_WHO = (*thresholds.WHO_2021_DAILY, "o3")

DAILY: tuple[Rule, ...] = (
    *(Rule("who_2021_level", name, {_PLACE[name]: BEFORE_DAY if name == "o3" else 0}) for name in _WHO),
    *(Rule("eu_threshold_level", name, {_PLACE[name]: 0}) for name in thresholds.DAILY_2024),
)
"""Every rule of a local day; `reach` is how many hours before the day it looks at."""


def daily(hours: np.ndarray) -> list[Outcome]:
    """What each of `DAILY` says of days of one length.

    Args:
        hours: float64 ug/m3, [points, compounds, BEFORE_DAY + hours of the day], oldest first; NaN = missing.
    """
    found = []
    for name in _WHO:
        if name == "o3":
            mean, limit = _highest_8h(hours[:, _PLACE[name]]), thresholds.WHO_2021_O3_8H
        else:
            mean, limit = mean_of(hours[:, _PLACE[name], BEFORE_DAY:]), thresholds.WHO_2021_DAILY[name]
        found.append(_above(name, mean, limit, 1.0))
    for name, limit in thresholds.DAILY_2024.items():
        found.append(_above(name, mean_of(hours[:, _PLACE[name], BEFORE_DAY:]), limit, 2.0))
    return found


def _highest_8h(hours: np.ndarray) -> np.ndarray:
    """Highest of the 8-hour means that end in the day, where three quarters of them are there."""
    means = mean_of(np.lib.stride_tricks.sliding_window_view(hours, 8, axis=-1))
    return np.where(np.isnan(mean_of(means)), np.nan, np.where(np.isnan(means), -np.inf, means).max(axis=-1))


def _above(compound: str, mean: np.ndarray, limit: float, level: float) -> Outcome:
    value = np.where(np.isnan(mean), np.nan, np.where(mean > limit, level, 0.0))
    return _one(compound, value, np.nan_to_num(value, nan=-1.0), mean)
