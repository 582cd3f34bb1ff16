"""subjects: what the indicators of service are about: a route in one direction, or one of its stops"""

from __future__ import annotations

import numpy as np

from pulssi.messages import SeriesInfo
from pulssi.series import is_device_id, series_id
from streams.transit.described import described

SERVED = (
    "delay",
    "on_time_share",
    "headway",
    "bunched_share",
    "gap_share",
    "excess_wait",
    "delay_forecast",
    "delay_forecast_error",
)
"""Quantities of subjects."""


class Subjects:
    """Names and numbers.

    Args:
        channels: of the series of on-time shares.
        names: of a snapshot.

    Attributes:
        columns: quantity and channel of each series of a subject.
        names: device ids, `route:<route>:<direction>` and `stop:<stop>:<route>:<direction>`.
        route: int64, number of the route of each; its own where it is one.
        described: bool, (subjects, columns): the series has been described.
    """

    def __init__(self, channels: tuple[str | None, ...], names: list[str] | None = None) -> None:
        self.channels = channels
        self.columns = [
            *((quantity, None) for quantity in SERVED),
            *(("on_time_share", one) for one in channels if one),
        ]
        self.names: list[str] = []
        self._number: dict[str, int] = {}
        self._series: list[list[int]] = []
        self.route = np.empty(0, np.int64)
        self.described = np.empty((0, len(self.columns)), np.bool_)
        for name in names or []:
            self._add(name)

    def __len__(self) -> int:
        return len(self.names)

    def find(self, route: str, stops: np.ndarray, subjects_max: int) -> tuple[int, np.ndarray]:
        """Number of a route and of some of its stops (distinct); new ones are added up to `subjects_max`, then -1."""
        kind, _, rest = route.partition(":")
        wanted = [route, *(f"stop:{stop}:{rest}" for stop in stops.tolist())]
        fresh = [name for name in wanted if name not in self._number and is_device_id(name)]
        if kind == "route":
            for name in fresh[: max(subjects_max - len(self), 0)]:
                self._add(name)
        found = [self._number.get(name, -1) for name in wanted]
        return found[0], np.array(found[1:], np.int64)

    def number(self, name: str) -> int:
        """Number of a name, -1 if it is not known."""
        return self._number.get(name, -1)

    def is_route(self) -> np.ndarray:
        """Whether each is a route."""
        return np.asarray(self.route == np.arange(len(self)))

    def series(self, subject: np.ndarray, column: int) -> np.ndarray:
        """Series ids of one column, int64."""
        return np.fromiter((self._series[one][column] for one in subject.tolist()), np.int64, len(subject))

    def keep(self, which: np.ndarray) -> np.ndarray:
        """Forget all others; the new number of each old one, -1 where forgotten."""
        renamed = np.full(len(self), -1, np.int64)
        renamed[which] = np.arange(len(which))
        self.names = [self.names[old] for old in which.tolist()]
        self._series = [self._series[old] for old in which.tolist()]
        self._number = {name: number for number, name in enumerate(self.names)}
        self.route, self.described = renamed[self.route[which]], self.described[which]
        return renamed

    def describe(self, subject: np.ndarray, column: int) -> list[SeriesInfo]:
        """Descriptions of those series that have had none."""
        fresh = np.unique(subject[~self.described[subject, column]])
        self.described[fresh, column] = True
        return [described(self.names[number], *self.columns[column]) for number in fresh.tolist()]

    def _add(self, name: str) -> None:
        number = len(self.names)
        kind, _, rest = name.partition(":")
        route = number if kind == "route" else self._number[f"route:{rest.partition(':')[2]}"]
        self._number[name] = number
        self.names.append(name)
        self._series.append([series_id(name, *column) for column in self.columns])
        self.route = np.r_[self.route, route]
        self.described = np.r_[self.described, np.zeros((1, len(self.columns)), np.bool_)]
