"""service: the visits at stops of one partition, and which hours of them are open, changed or given out

Events wait until the partition's clock enters another second; then the visits of their routes are made anew, and the
windows of exactly those visits that are not what they were are marked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulssi.frames import Indicators
from pulssi.messages import SeriesInfo
from pulssi.quantities import Kind
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.transit.bands import bands
from streams.transit.board import Board
from streams.transit.entities import us
from streams.transit.events import AHEAD_S_MAX, Events
from streams.transit.service_rows import Window, forecast_rows, service_rows
from streams.transit.subjects import Subjects
from streams.transit.visits import HEADWAY_S_MAX, LOOP_S, Event, Visit, derive, latest, no_events, no_visits

FORESEEN_S_MAX = 900
"""Where a vehicle was longer ago than this, it has gone on by now, and a forecast for the next stop is of no use."""


@dataclass(slots=True)
class Changes:
    """Visits that are not what they were, of both states.

    Attributes:
        route: number of the subject.
        time_s: of the visit.
        latest: those that are the latest of their trip, as they are now.
    """

    route: np.ndarray
    time_s: np.ndarray
    latest: np.ndarray


class Service:
    """Visits by route, and the windows that they fall into.

    Attributes:
        refused: events of stops beyond `settings.series_max`.
    """

    def __init__(self, settings: StreamsSettings) -> None:
        self._settings = settings
        self.step_us = us(settings.service_step_s)
        self._steps = settings.service_window_s // settings.service_step_s
        self._horizon_us, self._lateness_us = us(settings.horizon_s), us(settings.lateness_of(Kind.TRANSIT))
        covered_us = self._horizon_us + us(AHEAD_S_MAX + settings.service_window_s)
        self._board = Board(covered_us // self.step_us + 3, np.array([self._steps]))
        self._bands = bands(settings)
        self._subjects = Subjects(tuple(band.channel for band in self._bands))
        self._events: dict[int, np.ndarray] = {}
        self._visits: dict[int, np.ndarray] = {}
        self._pending = no_events()
        self.refused = 0

    # -- taking events

    def add(self, events: Events) -> None:
        """Take events inside the horizon; those that tell of no stop are passed over."""
        chosen = np.flatnonzero((events.rank >= 0) & (events.route >= 0))
        if len(chosen) == 0:
            return
        one = events.take(chosen)
        route, place = self._numbers(one)
        fields = (one.event_id, one.event_time, one.receive_time, one.delay_s, route, place)
        rows = np.stack((*fields, one.trip, one.day, one.rank, one.scheduled_time))
        known = place >= 0
        self.refused += int(len(known) - known.sum())
        self._pending = np.concatenate((self._pending, rows[:, known]), axis=1)

    def _numbers(self, events: Events) -> tuple[np.ndarray, np.ndarray]:
        """Subject of route and of stop of each event."""
        route, place = np.empty_like(events.route), np.empty_like(events.route)
        for which in np.unique(events.route).tolist():
            mine = np.flatnonzero(events.route == which)
            stops, inverse = np.unique(events.stop[mine], return_inverse=True)
            number, places = self._subjects.find(events.names[which], stops, self._settings.series_max)
            route[mine], place[mine] = number, places[inverse]
        return route, place

    def settle(self) -> Changes | None:
        """Make the visits of events that have come; None when there are no new ones."""
        if self._pending.shape[1] == 0:
            return None
        routes = np.unique(self._pending[Event.ROUTE])
        before = self.visits(routes)
        held = [self._events[route] for route in routes.tolist() if route in self._events]
        events = np.concatenate([*held, self._pending], axis=1)
        self._pending = no_events()
        events = events[:, np.unique(events[Event.ID], return_index=True)[1]]
        after = derive(events)
        self._put(routes, events, after)
        both = np.concatenate((before, after), axis=1)
        rows, first, times = np.unique(both, axis=1, return_index=True, return_counts=True)
        changed = times == 1
        fresh = first[changed & (first >= before.shape[1])] - before.shape[1]
        rows = rows[:, changed]
        self._mark(rows)
        return Changes(rows[Visit.ROUTE], rows[Visit.TIME], after[:, np.intersect1d(fresh, latest(after))])

    def _put(self, routes: np.ndarray, events: np.ndarray, visits: np.ndarray) -> None:
        for route in routes.tolist():
            self._events[route] = events[:, events[Event.ROUTE] == route]
            self._visits[route] = visits[:, visits[Visit.ROUTE] == route]

    def _mark(self, visits: np.ndarray) -> None:
        step = visits[Visit.TIME] * US_PER_S // self.step_us
        self._board.grow(len(self._subjects))
        for number in np.unique(step).tolist():
            touched = visits[:, step == number]
            self._board.mark(number, np.unique(touched[[Visit.ROUTE, Visit.PLACE]]))

    # -- asking

    def visits(self, routes: np.ndarray) -> np.ndarray:
        """All visits that are held of some routes."""
        found = [self._visits[route] for route in routes.tolist() if route in self._visits]
        return np.concatenate([no_visits(), *found], axis=1)

    def number(self, route: str) -> int:
        """Number of a route by its device id, -1 if it has had no stop."""
        return self._subjects.number(route)

    def name(self, subject: int) -> str:
        """Device id of a subject."""
        return self._subjects.names[subject]

    def due(self, progress: np.ndarray, position: int) -> tuple[list[Indicators], list[SeriesInfo]]:
        """Rows of the windows that are complete now, or were and have changed, and descriptions of new series.

        Args:
            progress: us UTC, of the route of each subject.
            position: offset of the record that is being worked on.
        """
        self._board.grow(len(self._subjects))
        due = self._board.due((progress - self._lateness_us) // self.step_us)
        if len(due) == 0:
            return [], []
        window = Window(self.step_us, self._steps, position, self._bands)
        revision = self._board.give_out(due)
        routes = np.unique(self._subjects.route[due[:, 1]])
        return service_rows(self.visits(routes), due[:, :2], revision, window, self._subjects)

    def foresee(self, changes: Changes, clock: int, position: int) -> tuple[list[Indicators], list[SeriesInfo]]:
        """Rows of the delays that are foreseen at the next stops of vehicles that have just been at one."""
        recent = changes.latest[Visit.LEFT] * US_PER_S >= clock - us(FORESEEN_S_MAX)
        return forecast_rows(changes.latest[:, recent], position, self._subjects)

    def progress(self, routes: dict[str, int], idle: int) -> np.ndarray:
        """Progress of each subject: that of its route, `idle` where nobody knows it."""
        own = [routes.get(name, idle) for name in self._subjects.names]
        return np.array(own, np.int64)[self._subjects.route]

    # -- forgetting

    def overdue(self, clock: int) -> int | None:
        """Event time before which windows are about to be closed for good; None if nothing is."""
        first = (clock - self._horizon_us) // self.step_us
        return None if first <= self._board.first else first * self.step_us + self._lateness_us

    def forget(self, clock: int) -> None:
        """Let go of what no late event can change any more; call `settle` and `due` before."""
        self._board.move((clock - self._horizon_us) // self.step_us)
        oldest = clock - self._horizon_us - us(self._settings.service_window_s + HEADWAY_S_MAX + LOOP_S)
        for route in list(self._events):
            self._events[route] = self._events[route][:, self._events[route][Event.TIME] >= oldest]
            if self._events[route].shape[1] == 0:
                del self._events[route]
        self._renumber()

    def _renumber(self) -> None:
        events = self._all()
        held = np.unique(events[[Event.ROUTE, Event.PLACE]])
        if len(held) < len(self._subjects):
            self._board.grow(len(self._subjects))
            self._board.keep(held)
            renamed = self._subjects.keep(held)
            events[Event.ROUTE], events[Event.PLACE] = renamed[events[Event.ROUTE]], renamed[events[Event.PLACE]]
        self._fill(events)

    def _all(self) -> np.ndarray:
        return np.concatenate([no_events(), *(self._events[route] for route in sorted(self._events))], axis=1)

    def _fill(self, events: np.ndarray) -> None:
        self._events, self._visits = {}, {}
        self._put(np.unique(events[Event.ROUTE]), events, derive(events))

    # -- snapshots

    def state(self) -> tuple[list[int], list[str], dict[str, np.ndarray]]:
        """Numbers, names and arrays for a snapshot."""
        arrays = {
            "stop_events": self._all(),
            "stop_pending": self._pending,
            "service_changed": self._board.changed,
            "service_revision": self._board.revision,
            "described": self._subjects.described,
        }
        return [self._board.first, self.refused], self._subjects.names, arrays

    def restore(self, numbers: list[int], names: list[str], arrays: dict[str, np.ndarray]) -> None:
        """Become what `state` said."""
        self._board.first, self.refused = numbers
        self._subjects = Subjects(self._subjects.channels, names)
        self._subjects.described = arrays["described"]
        self._board.changed, self._board.revision = arrays["service_changed"], arrays["service_revision"]
        self._pending = arrays["stop_pending"]
        self._fill(arrays["stop_events"])
