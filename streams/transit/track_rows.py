"""track_rows: vehicles that have vanished or stand still, and how many of a route, as rows of an indicator frame"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.series import series_id
from pulssi.times import US_PER_S
from streams.transit.described import described

STATES = (("vanished", "vanished_vehicles"), ("standing_s", "standing_vehicles"))
"""Quantities of a vehicle and of its route."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the rows of one step have in common.

    Attributes:
        start: us UTC.
        length_s: of the step.
        receive_time: newest receive time in it, us UTC.
        position: offset of the record that is being worked on.
    """

    start: int
    length_s: int
    receive_time: int
    position: int

    @property
    def end(self) -> int:
        """Us UTC."""
        return self.start + self.length_s * US_PER_S


def vehicle_rows(
    quantity: str,
    names: list[str],
    before: np.ndarray,
    value: np.ndarray,
    step: Step,
) -> tuple[Indicators, list[SeriesInfo]]:
    """Rows of those vehicles with a value above 0, and of those that had one before, which is over by a 0.

    Args:
        quantity: of the rows.
        names: of all vehicles.
        before: bool, by vehicle.
        value: float64, by vehicle.
        step: when.
    """
    which = np.flatnonzero(before | (value > 0))
    return _rows(quantity, names, which, ~before, value, np.ones(len(value), np.int64), step)


def route_rows(
    quantity: str,
    names: list[str],
    route: tuple[np.ndarray, np.ndarray],
    state: tuple[np.ndarray, np.ndarray],
    step: Step,
) -> tuple[Indicators, list[SeriesInfo]]:
    """Rows of how many vehicles of a route are in a state; `n` is how many were in service on it in the step.

    Args:
        quantity: of the rows.
        names: of all routes.
        route: number of the route of each vehicle, in the step before and now; -1 = none.
        state: bool of each vehicle, in the step before and now.
        step: when.
    """
    before, now = (np.bincount(r[s & (r >= 0)], minlength=len(names)) for r, s in zip(route, state, strict=True))
    left, here = route[0][(route[0] >= 0) & (route[0] != route[1])], route[1][route[1] >= 0]
    n = np.bincount(np.r_[left, here], minlength=len(names))
    return _rows(quantity, names, np.flatnonzero(before + now), before == 0, now, n, step)


def _rows(
    quantity: str,
    names: list[str],
    which: np.ndarray,
    begins: np.ndarray,
    value: np.ndarray,
    n: np.ndarray,
    step: Step,
) -> tuple[Indicators, list[SeriesInfo]]:
    devices = [names[one] for one in which.tolist()]
    rows = Indicators.empty(len(which))
    rows.series_id[:] = [series_id(device, quantity) for device in devices]
    for column in ("mean", "min", "max", "last", "p50", "p95", "p99", "value"):
        getattr(rows, column)[:] = value[which]
    rows.kind[:], rows.class_[:], rows.n[:], rows.completeness[:] = IndicatorKind.VEHICLE, -1, n[which], 1.0
    rows.window_start[:], rows.window_s[:] = step.start, step.length_s
    rows.receive_time[:], rows.position[:] = step.receive_time, step.position
    fresh = begins[which].tolist()
    return rows, [described(device, quantity) for device, begin in zip(devices, fresh, strict=True) if begin]
