"""entities: the vehicles and routes of one partition, each with its progress in event time"""

from __future__ import annotations

import numpy as np

from pulssi.messages import SeriesInfo
from pulssi.series import series_id
from pulssi.times import US_PER_S
from streams.transit.described import described

NEVER = -(1 << 62)
VEHICLE = "veh:"
ROUTE = "route:"


class Entities:
    """Names and progress; arrays of one length.

    Args:
        channels: of the series of on-time shares.
        names: of a snapshot.

    Attributes:
        names: device ids.
        newest: newest event time of a vehicle, us UTC.
        received: receive time of its newest event, us UTC.
        route: index of the route that it was last seen on, -1 = none.
        is_route: whether this is a route.
    """

    def __init__(self, channels: tuple[str | None, ...], names: list[str] | None = None) -> None:
        self._channels = channels
        self.names: list[str] = []
        self._index: dict[str, int] = {}
        self.newest = np.empty(0, np.int64)
        self.received = np.empty(0, np.int64)
        self.route = np.empty(0, np.int64)
        self.is_route = np.empty(0, np.bool_)
        self.delay_series = np.empty(0, np.int64)
        self.on_time_series = np.empty((0, len(channels)), np.int64)
        self.index(names or [])

    def __len__(self) -> int:
        return len(self.names)

    def index(self, names: list[str]) -> np.ndarray:
        """Index of each name; new ones are added at the end."""
        fresh = [name for name in dict.fromkeys(names) if name not in self._index]
        for name in fresh:
            self._index[name] = len(self.names)
            self.names.append(name)
        if fresh:
            count = len(fresh)
            self.newest = np.r_[self.newest, np.full(count, NEVER)]
            self.received = np.r_[self.received, np.full(count, NEVER)]
            self.route = np.r_[self.route, np.full(count, -1)]
            self.is_route = np.r_[self.is_route, [name.startswith(ROUTE) for name in fresh]].astype(np.bool_)
            self.delay_series = np.r_[self.delay_series, [series_id(name, "delay") for name in fresh]]
            series = [[series_id(name, "on_time_share", channel) for channel in self._channels] for name in fresh]
            self.on_time_series = np.r_[self.on_time_series, series]
        return np.fromiter((self._index[name] for name in names), np.int64, len(names))

    def find(self, names: list[str]) -> np.ndarray:
        """Index of each name, -1 where it is not here."""
        return np.fromiter((self._index.get(name, -1) for name in names), np.int64, len(names))

    def keep(self, which: np.ndarray) -> np.ndarray:
        """Forget all others; the new index of each old one, -1 where forgotten, and -1 at the end for "none"."""
        renamed = np.full(len(self) + 1, -1, np.int64)
        renamed[which] = np.arange(len(which))
        self.names = [self.names[old] for old in which.tolist()]
        self._index = {name: number for number, name in enumerate(self.names)}
        for column in ("newest", "received", "is_route", "delay_series", "on_time_series"):
            setattr(self, column, getattr(self, column)[which])
        self.route = renamed[self.route[which]]
        return renamed

    def seen(self, vehicle: np.ndarray, route: np.ndarray, event_time: np.ndarray, receive_time: np.ndarray) -> None:
        """Note the progress of vehicles: their newest event, and the route of it."""
        order = np.lexsort((receive_time, event_time, vehicle))
        vehicles = vehicle[order]
        last = order[np.flatnonzero(np.r_[vehicles[1:] != vehicles[:-1], True])]
        index = vehicle[last]
        ahead = event_time[last] >= self.newest[index]
        self.route[index[ahead]] = route[last[ahead]]
        np.maximum.at(self.newest, vehicle, event_time)
        np.maximum.at(self.received, vehicle, receive_time)

    def progress(self, clock: int, idle_us: int) -> np.ndarray:
        """Event time up to which each entity is complete but for late events, us UTC.

        A vehicle is as far as its newest event, and once it is silent for `idle_us`, as far as the clock less that. A
        route is as far as the slowest vehicle that is on it and not silent.
        """
        live = self.received > clock - idle_us
        progress = np.where(live, self.newest, np.maximum(self.newest, clock - idle_us))
        slowest = np.full(len(self), np.iinfo(np.int64).max)
        on_route = live & (self.route >= 0)
        np.minimum.at(slowest, self.route[on_route], self.newest[on_route])
        empty = slowest == np.iinfo(np.int64).max
        return np.where(self.is_route, np.where(empty, clock - idle_us, slowest), progress)

    def silent(self, clock: int, idle_us: int) -> np.ndarray:
        """Progress of what is silent, us UTC, and `NEVER` for what is not."""
        live = self.received > clock - idle_us
        on_route = self.route[live & (self.route >= 0)]
        live = live.copy()
        live[on_route] = True
        return np.where(live, NEVER, self.progress(clock, idle_us))

    def describe(self, index: int) -> list[SeriesInfo]:
        """What the series of one entity are called."""
        name = self.names[index]
        on_time = [("on_time_share", channel) for channel in self._channels if self.is_route[index]]
        return [described(name, quantity, channel) for quantity, channel in [("delay", None), *on_time]]


def us(seconds: float) -> int:
    """Microseconds."""
    return round(seconds * US_PER_S)
