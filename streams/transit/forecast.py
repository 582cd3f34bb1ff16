"""forecast: the delay of a vehicle at its next stop, from its own and from those that went there before it

Between two stops a vehicle gains or loses what those ahead of it did, shrunk towards nothing when there are few:
`delay at the next stop = own delay + n / (n + 1) * mean change of the last n`, n at most `VEHICLES_AHEAD`.
"""

from __future__ import annotations

import numpy as np

NONE = -(1 << 62)
"""Stands where there is no number."""
VEHICLES_AHEAD = 4
"""How many of the last vehicles are asked."""
RECENT_S = 3600
"""A vehicle that arrived longer ago than this says nothing about traffic now."""
_SECOND_BITS = 33


def forecasts(
    place: np.ndarray,
    left: np.ndarray,
    delay: np.ndarray,
    came: np.ndarray,
    arrival_delay: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Foreseen delays in whole seconds; whatever is foreseen at a time comes from arrivals before that time.

    Args:
        place: [visits] number of stop and route.
        left: [visits] s UTC when its delay was measured.
        delay: [visits] s.
        came: [visits] s UTC of the arrival.
        arrival_delay: [visits] s.
        before: [links] index of a visit that the same trip followed with another.
        after: [links] index of that other visit.

    Returns:
        for each link the delay foreseen at `after` when the vehicle left `before`; for each visit the place where the
        last vehicle went from there and the delay foreseen there, `NONE` where nobody had gone ahead.
    """
    change = arrival_delay[after] - delay[before]
    pair, link_pair = np.unique(np.stack((place[before], place[after])), axis=1, return_inverse=True)
    link_pair = link_pair.reshape(-1)
    known = _Log(link_pair, came[after], np.arange(len(before)))
    foreseen = delay[before] + _change(known, change, link_pair, left[before], np.arange(len(before)))
    onward = _Log(place[before], came[after], np.arange(len(before))).last(place, left, 1)[:, 0]
    asked = np.flatnonzero(onward >= 0)
    next_place, next_delay = np.full(len(place), NONE), np.full(len(place), NONE)
    which = link_pair[onward[asked]]
    next_place[asked] = pair[1, which]
    next_delay[asked] = delay[asked] + _change(known, change, which, left[asked], np.full(len(asked), -1))
    return foreseen, next_place, next_delay


def _change(known: _Log, change: np.ndarray, pair: np.ndarray, time: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Whole seconds that a vehicle is expected to lose on the way; `own` is the link that is being foreseen."""
    ahead = known.last(pair, time, VEHICLES_AHEAD + 1)
    ahead = np.where(ahead == own[:, None], -1, ahead)
    counts = (ahead >= 0) & (np.cumsum(ahead >= 0, axis=1) <= VEHICLES_AHEAD)
    n = counts.sum(axis=1)
    total = np.where(counts, np.r_[change, 0][ahead], 0).sum(axis=1)
    expected: np.ndarray = np.rint(total / (n + 1)).astype(np.int64)
    return expected


class _Log:
    """Items by key and time, to be asked for the last ones before a time."""

    def __init__(self, key: np.ndarray, time: np.ndarray, item: np.ndarray) -> None:
        place = (key << _SECOND_BITS) | time
        order = np.lexsort((item, place))
        self._place, self._item = place[order], item[order]

    def last(self, key: np.ndarray, time: np.ndarray, count: int) -> np.ndarray:
        """The last `count` items of each key before its time but recent, newest first; -1 where there are no more."""
        end = np.searchsorted(self._place, (key << _SECOND_BITS) | time)
        oldest = np.searchsorted(self._place, (key << _SECOND_BITS) | (time - RECENT_S))
        place = end[:, None] - 1 - np.arange(count)
        there = place >= oldest[:, None]
        found = np.full(there.shape, -1)
        found[there] = self._item[place[there]]
        return found
