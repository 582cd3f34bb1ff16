"""service_rows: the visits of a window as rows of an indicator frame: delay, on-time share, headways, forecasts"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.times import US_PER_S
from streams.transit.bands import Band
from streams.transit.forecast import NONE
from streams.transit.headways import adherence_level, on_time_level, regularity
from streams.transit.subjects import SERVED, Subjects
from streams.transit.visits import Visit
from streams.transit.windows import Groups, delays, shares

_STATISTICS = ("mean", "min", "max", "std", "last", "p50", "p95", "p99", "value")


@dataclass(frozen=True, slots=True)
class Window:
    """What the windows of one call have in common.

    Attributes:
        step_us: they slide by this.
        steps: their length in steps.
        position: offset of the record that is being worked on.
        bands: of delay that is on time.
    """

    step_us: int
    steps: int
    position: int
    bands: tuple[Band, ...]


def service_rows(
    visits: np.ndarray,
    due: np.ndarray,
    revision: np.ndarray,
    window: Window,
    subjects: Subjects,
) -> tuple[list[Indicators], list[SeriesInfo]]:
    """Rows of the windows in `due`, and descriptions of series that come up for the first time.

    Args:
        visits: all that may be in them.
        due: (windows, 2): end of the window in steps, and subject.
        revision: int32 of each window; what was given out before and is empty now is taken back by a row with n 0.
        window: length, step and what else goes into rows.
        subjects: names and series.
    """
    group, inside = _members(visits, due, window)
    is_route = subjects.is_route()[due[:, 1]]
    rows, infos = [], []
    for quantity, channel, of_route, found in _indicators(group, visits[:, inside], is_route, window.bands):
        column = subjects.columns.index((quantity, channel))
        known = (is_route == of_route) & (revision > 0) & subjects.described[due[:, 1], column]
        whole = Indicators.concat([found, empty_rows(np.setdiff1d(np.flatnonzero(known), found.position))])
        which = whole.position.copy()
        if len(which) == 0:
            continue
        infos += subjects.describe(due[which, 1], column)
        whole.series_id[:] = subjects.series(due[which, 1], column)
        whole.kind[:], whole.completeness[:] = _KINDS[quantity], 1.0
        whole.window_start[:] = (due[which, 0] - window.steps) * window.step_us
        whole.window_s[:] = window.steps * window.step_us // US_PER_S
        whole.revision[:], whole.position[:] = revision[which], window.position
        rows.append(whole)
    return rows, infos


def forecast_rows(
    visits: np.ndarray,
    position: int,
    subjects: Subjects,
) -> tuple[list[Indicators], list[SeriesInfo]]:
    """Rows of what is foreseen at the next stops of some visits: at the time of the visit, with `window_s` 0.

    Such a row says what was known when it was written and is never revised; `last` is the delay that it starts from.
    """
    visits = visits[:, visits[Visit.NEXT_PLACE] != NONE]
    visits = visits[:, np.lexsort((visits[Visit.TRIP], visits[Visit.LEFT], visits[Visit.NEXT_PLACE]))]
    if visits.shape[1] == 0:
        return [], []
    again = (np.diff(visits[[Visit.NEXT_PLACE, Visit.LEFT]]) == 0).all(axis=0)
    visits = visits[:, np.r_[True, ~again]]
    rows = Indicators.empty(visits.shape[1])
    for name in ("mean", "min", "max", "p50", "p95", "p99", "value"):
        getattr(rows, name)[:] = visits[Visit.NEXT_DELAY]
    column = subjects.columns.index(("delay_forecast", None))
    infos = subjects.describe(visits[Visit.NEXT_PLACE], column)
    rows.series_id[:] = subjects.series(visits[Visit.NEXT_PLACE], column)
    rows.kind[:], rows.n[:], rows.completeness[:], rows.class_[:] = IndicatorKind.DELAY, 1, 1.0, -1
    rows.last[:], rows.window_start[:] = visits[Visit.DELAY], visits[Visit.LEFT] * US_PER_S
    rows.receive_time[:], rows.position[:] = visits[Visit.RECEIVE_TIME], position
    return [rows], infos


_KINDS = dict.fromkeys(SERVED, IndicatorKind.HEADWAY) | {
    "delay": IndicatorKind.DELAY,
    "delay_forecast": IndicatorKind.DELAY,
    "delay_forecast_error": IndicatorKind.DELAY,
    "on_time_share": IndicatorKind.ON_TIME,
}


def _members(visits: np.ndarray, due: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of window and visit: index into `due` and into `visits`."""
    end = visits[Visit.TIME] * US_PER_S // window.step_us + 1 + np.arange(window.steps)[:, None]
    first = int(due[:, 0].min())
    span = int(due[:, 0].max()) - first + 1
    wanted = due[:, 1] * span + due[:, 0] - first
    order = np.argsort(wanted)
    groups, members = [], []
    for subject in (Visit.PLACE, Visit.ROUTE):
        key = np.where((end >= first) & (end < first + span), visits[subject] * span + end - first, -1).ravel()
        place = np.minimum(np.searchsorted(wanted[order], key), len(wanted) - 1)
        hit = np.flatnonzero(wanted[order][place] == key)
        groups.append(order[place[hit]])
        members.append(hit % visits.shape[1])
    return np.concatenate(groups), np.concatenate(members)


def _indicators(
    group: np.ndarray,
    visits: np.ndarray,
    is_route: np.ndarray,
    bands: tuple[Band, ...],
) -> Iterator[tuple[str, str | None, bool, Indicators]]:
    """Quantity, channel, whether of routes, and rows whose `position` is the group."""
    stops = np.flatnonzero(~is_route[group])
    yield "delay", None, False, _statistics(group[stops], visits[:, stops], visits[Visit.DELAY, stops])
    for band in bands:
        yield "on_time_share", band.channel, False, on_time_rows(group[stops], visits[:, stops], band)
    follows = visits[Visit.HEADWAY] != NONE
    for of_route in (False, True):
        chosen = np.flatnonzero(follows & (is_route[group] == of_route))
        for quantity, rows in _headway_rows(group[chosen], visits[:, chosen]):
            yield quantity, None, of_route, rows
    foreseen = np.flatnonzero(is_route[group] & (visits[Visit.FORECAST_ERROR] != NONE))
    error = np.abs(visits[Visit.FORECAST_ERROR, foreseen])
    rows = _statistics(group[foreseen], visits[:, foreseen], error)
    rows.value[:] = rows.mean
    yield "delay_forecast_error", None, True, rows


def on_time_rows(group: np.ndarray, visits: np.ndarray, band: Band) -> Indicators:
    """Share of visits inside the band, by group; `position` is the group."""
    if len(group) == 0:
        return Indicators.empty()
    on_time = (visits[Visit.DELAY] >= band.early_s) & (visits[Visit.DELAY] <= band.late_s)
    key, n, share, receive_time = shares(group, on_time, visits[Visit.RECEIVE_TIME])
    rows = Indicators.empty(len(key))
    rows.position[:], rows.n[:], rows.receive_time[:] = key, n, receive_time
    for column in ("mean", "min", "max", "last", "p50", "p95", "p99", "value"):
        getattr(rows, column)[:] = share
    rows.class_[:] = on_time_level(share)
    return rows


def empty_rows(group: np.ndarray) -> Indicators:
    """Rows that take back what was given out: n 0 and NaN; `position` is the group."""
    rows = Indicators.empty(len(group))
    for column in _STATISTICS:
        getattr(rows, column)[:] = np.nan
    rows.position[:], rows.class_[:] = group, -1
    return rows


def _statistics(group: np.ndarray, visits: np.ndarray, seconds: np.ndarray) -> Indicators:
    if len(group) == 0:
        return Indicators.empty()
    groups = delays(group, seconds, visits[Visit.TIME], visits[Visit.TRIP], visits[Visit.RECEIVE_TIME])
    rows = fill_statistics(groups)
    rows.position[:] = groups.key
    return rows


def fill_statistics(groups: Groups) -> Indicators:
    """Rows with the statistics of groups; value = median."""
    rows = Indicators.empty(len(groups.key))
    rows.n[:], rows.receive_time[:], rows.class_[:] = groups.n, groups.receive_time, -1
    rows.mean[:], rows.min[:], rows.max[:] = groups.mean, groups.low, groups.high
    rows.std[:], rows.last[:] = groups.std, groups.last
    rows.p50[:], rows.p95[:], rows.p99[:] = groups.quantiles
    rows.value[:] = rows.p50
    return rows


def _headway_rows(group: np.ndarray, visits: np.ndarray) -> Iterator[tuple[str, Indicators]]:
    rows = _statistics(group, visits, visits[Visit.HEADWAY])
    if len(group) == 0:
        for quantity in ("headway", "bunched_share", "gap_share", "excess_wait"):
            yield quantity, rows.take(slice(None))
        return
    found = regularity(group, visits[Visit.HEADWAY], visits[Visit.HEADWAY_SCHEDULED])
    for quantity, value in (
        ("bunched_share", found.bunched),
        ("gap_share", found.gaps),
        ("excess_wait", found.excess_wait_s),
    ):
        one = rows.take(np.arange(len(rows)))
        for column in _STATISTICS:
            getattr(one, column)[:] = value if column != "std" else 0.0
        yield quantity, one
    rows.value[:], rows.class_[:] = found.cvh, adherence_level(found.cvh)
    yield "headway", rows
