"""headways: how regular a service is that nobody reads the timetable of"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BUNCHED, GAP = 0.5, 1.5
"""A headway is bunched below, a gap above this share of the scheduled one."""

ADHERENCE_LIMITS = np.array([0.21, 0.30, 0.39, 0.52, 0.74])
"""Highest coefficient of variation of headways, in hundredths, of levels of service A to E.

Source: Transit Cooperative Research Program, report 100, Transit Capacity and Quality of Service Manual, exhibit 3-30,
2003.
"""

ON_TIME_LIMITS = np.array([75.0, 80.0, 85.0, 90.0, 95.0])
"""Lowest on-time share in percent of levels of service E to A.

Source: Transit Cooperative Research Program, report 100, Transit Capacity and Quality of Service Manual, 2003.
"""


@dataclass(slots=True)
class Regularity:
    """One row for each group of headways, by rising key.

    Attributes:
        key: of the group.
        cvh: standard deviation of (actual - scheduled headway) over mean scheduled headway; NaN below two headways.
        bunched: share of headways below half of the scheduled one, percent.
        gaps: share of headways above one and a half of the scheduled one, percent.
        excess_wait_s: E[h^2] / 2 E[h] less the same of the timetable: what irregularity adds to the mean wait.
    """

    key: np.ndarray
    cvh: np.ndarray
    bunched: np.ndarray
    gaps: np.ndarray
    excess_wait_s: np.ndarray


def regularity(key: np.ndarray, headway_s: np.ndarray, scheduled_s: np.ndarray) -> Regularity:
    """Regularity of groups; all arrays int64 of one length, at least one row. Sums are exact integers."""
    order = np.argsort(key, kind="stable")
    keys, headway, scheduled = key[order], headway_s[order], scheduled_s[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    n = np.diff(np.r_[starts, len(keys)])

    def total(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.add.reduceat(values.astype(np.int64), starts))

    off = headway - scheduled
    planned, actual = total(scheduled), total(headway)
    spread = np.sqrt(n * total(off * off) - total(off) ** 2)
    none = np.full(len(n), np.nan)
    return Regularity(
        keys[starts],
        np.divide(spread, planned, out=none.copy(), where=(n > 1) & (planned > 0)),
        100.0 * total(headway < BUNCHED * scheduled) / n,
        100.0 * total((headway > GAP * scheduled) & (scheduled > 0)) / n,
        _wait(total(headway * headway), actual) - _wait(total(scheduled * scheduled), planned),
    )


def _wait(squares: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean wait of passengers who come at any time, s: E[h^2] / 2 E[h]; 0 where vehicles come together."""
    wait: np.ndarray = np.divide(squares, 2.0 * total, out=np.zeros(len(total)), where=total > 0)
    return wait


def adherence_level(cvh: np.ndarray) -> np.ndarray:
    """Level of service 0 (A) to 5 (F) by headway adherence, rounded to hundredths as the table is; -1 where NaN."""
    return np.where(np.isnan(cvh), -1, np.searchsorted(ADHERENCE_LIMITS, np.round(cvh, 2))).astype(np.int16)


def on_time_level(share: np.ndarray) -> np.ndarray:
    """Level of service 0 (A) to 5 (F) by on-time share in percent."""
    return (len(ON_TIME_LIMITS) - np.searchsorted(ON_TIME_LIMITS, share, side="right")).astype(np.int16)
