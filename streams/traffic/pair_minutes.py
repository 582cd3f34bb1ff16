"""pair_minutes: brings the minutes of two stations together, in whatever order their partitions bring them

A pair has four signals, and a minute of it is whole when all four have told it. Each signal goes forward: what it has
skipped it does not tell any more, and what comes again is old. So the whole minutes of a pair come out in rising order,
each as soon as its last signal has come, and are the same however partitions take turns, also while one catches up.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from streams.grouping import Runs, lengths_of, order_by, starts_of

SIGNALS: Final = 4
UP_FLOW, UP_SPEED, DOWN_FLOW, DOWN_SPEED = range(SIGNALS)
NEVER: Final = -(1 << 40)
"""A minute before all others."""


class Told(NamedTuple):
    """What signals say, in the order in which it came: equally long arrays."""

    pair: np.ndarray  # int64
    signal: np.ndarray  # int64
    minute: np.ndarray  # int64, since 1970
    value: np.ndarray
    receive_time: np.ndarray  # int64, us UTC
    position: np.ndarray  # int64

    def take(self, index: np.ndarray) -> Told:
        """Some of it."""
        return Told(*(column[index] for column in self))


class Whole(NamedTuple):
    """Minutes of pairs, in order of minute and pair."""

    pair: np.ndarray  # int64 [n]
    minute: np.ndarray  # int64 [n]
    value: np.ndarray  # float64 [SIGNALS, n]
    receive_time: np.ndarray  # int64 [n], newest
    position: np.ndarray  # int64 [n], newest

    def take(self, index: np.ndarray | slice) -> Whole:
        """Some of them."""
        return Whole(*(column[..., index] for column in self))


class PairMinutes:
    """What is known of the minutes of pairs that some signal has yet to tell.

    Args:
        pairs: how many.
        apart_min: minutes that a signal may be behind the newest one of its pair; others are not waited for.

    Attributes:
        newest: [pairs, SIGNALS] newest minute that each has told.
        too_late: how often a signal was further behind.
    """

    def __init__(self, pairs: int, apart_min: int) -> None:
        self._apart = apart_min
        self.newest = np.full((pairs, SIGNALS), NEVER, np.int64)
        self.too_late = 0
        whole, value = np.zeros(0, np.int64), np.zeros(0)
        self._open = Told(whole, whole, whole, value, whole, whole)

    def take(self, told: Told) -> Whole:
        """Take what came, and give out the minutes that are whole now."""
        both = zip(self._open, self._forward(told), strict=True)
        table = Told(*(np.concatenate(columns) for columns in both))
        table = table.take(np.lexsort((table.signal, table.minute, table.pair)))
        starts = starts_of(table.pair, table.minute)
        lengths = lengths_of(starts, len(table.pair))
        reached = self.newest[table.pair[starts]]
        minute = table.minute[starts]
        whole = lengths == SIGNALS
        hopeful = (reached >= minute[:, None]).sum(axis=1) == lengths  # the others have not skipped it
        hopeful &= ~whole & (minute > reached.max(axis=1) - self._apart)
        self._open = table.take(np.repeat(hopeful, lengths))
        pair, _, minute, *more = (column.reshape(-1, SIGNALS).T for column in table.take(np.repeat(whole, lengths)))
        value, receive_time, position = more
        found = Whole(pair[0], minute[0], value, receive_time.max(axis=0), position.max(axis=0))
        return found.take(np.lexsort((found.pair, found.minute)))

    def _forward(self, told: Told) -> Told:
        """What brings its signal forward and is not too far behind the others when it comes."""
        signal = told.pair * SIGNALS + told.signal
        forward = told.minute > _reached(signal, told.minute, self.newest.ravel())
        behind = told.minute <= _reached(told.pair, told.minute, self.newest.max(axis=1)) - self._apart
        np.maximum.at(self.newest, (told.pair, told.signal), told.minute)
        self.too_late += int(np.count_nonzero(forward & behind))
        return told.take(forward & ~behind)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state, for a snapshot."""
        return {"newest": self.newest, **self._open._asdict()}

    def fill(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore what `arrays` gave."""
        self.newest = arrays["newest"].copy()
        self._open = Told(*(arrays[name] for name in Told._fields))


def _reached(key: np.ndarray, minute: np.ndarray, newest: np.ndarray) -> np.ndarray:
    """Newest minute of the key of each row before it came; `newest` of each key before all of them."""
    order = order_by(key)
    runs = Runs(key[order])
    first = newest[runs.first(key[order])]
    reached = np.empty_like(minute)
    reached[order] = runs.shifted(runs.running_max(minute[order], first), first)
    return reached
