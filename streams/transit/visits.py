"""visits: each call of a vehicle at a stop, its headway and how well its delay could be foreseen

Everything here is a function of a set of stop events, so that neither order nor repetition can be seen in it. Times of
visits are whole seconds, as those of timetables are, so that sums are exact.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from pulssi.times import US_PER_S
from streams.transit.events import STOP_EVENTS
from streams.transit.forecast import NONE, forecasts

HEADWAY_S_MAX = 7200
"""Two vehicles further apart than this do not follow each other: service had paused, or nothing was seen."""
LOOP_S = 600
"""A trip that is due at a stop again after more than this has come round to it; that is another visit."""

_ARRIVAL = np.arange(len(STOP_EVENTS))
_LEAVING = np.array([("dep", "pas", "ars", "arr").index(name) for name in STOP_EVENTS])


class Event(IntEnum):
    """Rows of a matrix of stop events, int64 of shape (10, n)."""

    ID = 0
    TIME = 1  # us UTC
    RECEIVE_TIME = 2  # us UTC
    DELAY = 3  # s
    ROUTE = 4  # number of route and direction
    PLACE = 5  # number of stop, route and direction
    TRIP = 6
    DAY = 7  # operating day
    RANK = 8  # index into STOP_EVENTS
    SCHEDULED = 9  # us UTC


class Visit(IntEnum):
    """Rows of a matrix of visits, int64 of shape (15, n); `NONE` where there is no such number."""

    ROUTE = 0
    PLACE = 1
    TRIP = 2
    DAY = 3
    TIME = 4  # s UTC at which it came, or began to wait for the next one: what headways are between
    SCHEDULED = 5  # s UTC, of the arrival
    ARRIVAL_DELAY = 6  # s
    DELAY = 7  # s, where it left, else where it came
    LEFT = 8  # s UTC of the event behind DELAY
    RECEIVE_TIME = 9  # us UTC, newest of the two events
    HEADWAY = 10  # s since the vehicle before it
    HEADWAY_SCHEDULED = 11  # s since the trip before it in the timetable
    FORECAST_ERROR = 12  # s, delay on arrival less what was foreseen when it left the stop before
    NEXT_PLACE = 13  # where the vehicles ahead went from here
    NEXT_DELAY = 14  # s, foreseen there


def no_events() -> np.ndarray:
    """A matrix of events without columns."""
    return np.empty((len(Event), 0), np.int64)


def no_visits() -> np.ndarray:
    """A matrix of visits without columns."""
    return np.empty((len(Visit), 0), np.int64)


def derive(events: np.ndarray) -> np.ndarray:
    """Visits of a matrix of events without repetitions, by place, trip and schedule.

    A vehicle arrives when it stands (ars), else passes (pas), else comes near (arr), else leaves. Its delay is measured
    where it leaves (dep), else passes, else arrives. One that came early and waits counts from its scheduled time on.
    """
    if events.shape[1] == 0:
        return no_visits()
    events = events[:, np.lexsort((events[Event.SCHEDULED], events[Event.TRIP], events[Event.PLACE]))]
    again = np.diff(events[Event.SCHEDULED]) > LOOP_S * US_PER_S
    changes = (np.diff(events[[Event.PLACE, Event.TRIP]]) != 0).any(axis=0)
    starts = np.flatnonzero(np.r_[True, changes | again])
    visit = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, events.shape[1]]))
    came = events[:, _best(events, visit, starts, _ARRIVAL)]
    left = events[:, _best(events, visit, starts, _LEAVING)]
    found = np.full((len(Visit), len(starts)), NONE)
    found[Visit.ROUTE : Visit.DAY + 1] = came[[Event.ROUTE, Event.PLACE, Event.TRIP, Event.DAY]]
    ready = np.maximum(came[Event.TIME], np.minimum(came[Event.SCHEDULED], left[Event.TIME]))
    found[Visit.TIME], found[Visit.LEFT] = ready // US_PER_S, left[Event.TIME] // US_PER_S
    found[Visit.SCHEDULED] = came[Event.SCHEDULED] // US_PER_S
    found[Visit.ARRIVAL_DELAY], found[Visit.DELAY] = came[Event.DELAY], left[Event.DELAY]
    found[Visit.RECEIVE_TIME] = np.maximum(came[Event.RECEIVE_TIME], left[Event.RECEIVE_TIME])
    _add_headways(found)
    _add_forecasts(found)
    return found


def latest(visits: np.ndarray) -> np.ndarray:
    """Index of the last visit of each trip."""
    order = np.lexsort((visits[Visit.PLACE], visits[Visit.TIME], visits[Visit.TRIP], visits[Visit.ROUTE]))
    ordered = visits[:, order]
    changes = (np.diff(ordered[[Visit.ROUTE, Visit.TRIP]]) != 0).any(axis=0)
    last: np.ndarray = order[np.flatnonzero(np.r_[changes, True])]
    return last


def _best(events: np.ndarray, visit: np.ndarray, starts: np.ndarray, preference: np.ndarray) -> np.ndarray:
    """For each visit the event of the kind that is preferred, and the first of those."""
    order = np.lexsort((events[Event.ID], events[Event.TIME], preference[events[Event.RANK]], visit))
    best: np.ndarray = order[starts]
    return best


def _add_headways(visits: np.ndarray) -> None:
    headway, scheduled = _gaps(visits, Visit.TIME), _gaps(visits, Visit.SCHEDULED)
    both = (headway != NONE) & (scheduled != NONE)
    visits[Visit.HEADWAY] = np.where(both, headway, NONE)
    visits[Visit.HEADWAY_SCHEDULED] = np.where(both, scheduled, NONE)


def _gaps(visits: np.ndarray, time: Visit) -> np.ndarray:
    """Seconds to the visit before it at the same place on the same operating day."""
    order = np.lexsort((visits[Visit.TRIP], visits[time], visits[Visit.DAY], visits[Visit.PLACE]))
    ordered = visits[:, order]
    gap = np.diff(ordered[time])
    follows = (np.diff(ordered[[Visit.PLACE, Visit.DAY]]) == 0).all(axis=0) & (gap <= HEADWAY_S_MAX)
    found = np.full(len(order), NONE)
    found[order[1:]] = np.where(follows, gap, NONE)
    return found


def _add_forecasts(visits: np.ndarray) -> None:
    """What was foreseen for each visit from the one before it in its trip, and what is foreseen for the next."""
    order = np.lexsort((visits[Visit.PLACE], visits[Visit.TIME], visits[Visit.TRIP], visits[Visit.ROUTE]))
    ordered = visits[:, order]
    goes_on = np.flatnonzero((np.diff(ordered[[Visit.ROUTE, Visit.TRIP]]) == 0).all(axis=0))
    before, after = order[goes_on], order[goes_on + 1]
    foreseen, next_place, next_delay = forecasts(
        visits[Visit.PLACE],
        visits[Visit.LEFT],
        visits[Visit.DELAY],
        visits[Visit.TIME],
        visits[Visit.ARRIVAL_DELAY],
        before,
        after,
    )
    visits[Visit.FORECAST_ERROR, after] = visits[Visit.ARRIVAL_DELAY, after] - foreseen
    visits[Visit.NEXT_PLACE], visits[Visit.NEXT_DELAY] = next_place, next_delay
