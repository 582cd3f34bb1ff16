"""pair_minutes: brings the minutes of two stations together, in whatever order their partitions bring them

A pair has four signals, and a minute of it is whole when all four have told it. Whole minutes come out of each pair in
rising order: at once when nothing before them is open, else when that is whole, or when a signal of the pair is so far
ahead that the rest counts as missing. The first word on a signal and minute counts, so what comes again changes
nothing, and neither does the order in which partitions take turns, as long as none is further behind than that.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from streams.grouping import Runs, lengths_of, order_by, running_max, starts_of

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
    """What is known of the minutes of pairs that are still open.

    Args:
        pairs: how many.
        wait_min: minutes that a signal may be behind the newest one of its pair.

    Attributes:
        newest: [pairs] newest minute that a signal has told.
        done: [pairs] newest minute that has come out.
        too_late: how often a signal was further behind, for its pair.
    """

    def __init__(self, pairs: int, wait_min: int) -> None:
        self._wait = wait_min
        self.newest = np.full(pairs, NEVER, np.int64)
        self.done = np.full(pairs, NEVER, np.int64)
        self.too_late = 0
        whole, value = np.zeros(0, np.int64), np.zeros(0)
        self._open = Told(whole, whole, whole, value, whole, whole)

    def take(self, told: Told) -> Whole:
        """Take what came, and give out the minutes that are whole now."""
        both = zip(self._open, self._on_time(told), strict=True)
        table = Told(*(np.concatenate(columns) for columns in both))
        table = table.take(np.lexsort((table.signal, table.minute, table.pair)))
        table = table.take(starts_of(table.pair, table.minute, table.signal))
        starts = starts_of(table.pair, table.minute)
        lengths = lengths_of(starts, len(table.pair))
        past, ready = self._settled(table.pair[starts], table.minute[starts], lengths == SIGNALS)
        out = table.take(np.repeat(ready, lengths))
        self._open = table.take(np.repeat(~(past | ready), lengths))
        np.maximum.at(self.done, out.pair, out.minute)
        pair, _, minute, *more = (column.reshape(-1, SIGNALS).T for column in out)
        value, receive_time, position = more
        found = Whole(pair[0], minute[0], value, receive_time.max(axis=0), position.max(axis=0))
        return found.take(np.lexsort((found.pair, found.minute)))

    def _on_time(self, told: Told) -> Told:
        """What is not too far behind when it comes, nor about a minute that has come out."""
        order = order_by(told.pair)
        told = told.take(order)
        runs = Runs(told.pair)
        newest = runs.running_max(told.minute, self.newest[runs.first(told.pair)])
        self.newest[runs.last(told.pair)] = runs.last(newest)
        on_time = told.minute > newest - self._wait
        self.too_late += int(np.count_nonzero(~on_time))
        return told.take(on_time & (told.minute > self.done[told.pair]))

    def _settled(self, pair: np.ndarray, minute: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which minutes nothing can come to any more, and which come out, of minutes in order of pair and minute."""
        floor = self.newest[pair] - self._wait
        past = minute <= floor
        ready = past & whole
        rest = np.flatnonzero(~past)
        starts = starts_of(pair[rest])
        nth = np.arange(len(rest)) - np.repeat(starts, lengths_of(starts, len(rest)))
        expected = np.maximum(floor, self.done[pair])[rest] + 1 + nth
        stopped = ~(whole[rest] & (minute[rest] == expected))
        ready[rest] = running_max(stopped.astype(np.int8), starts) == 0
        return past, ready

    def arrays(self) -> dict[str, np.ndarray]:
        """The state, for a snapshot."""
        return {"newest": self.newest, "done": self.done, **self._open._asdict()}

    def fill(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore what `arrays` gave."""
        self.newest, self.done = arrays["newest"].copy(), arrays["done"].copy()
        self._open = Told(*(arrays[name] for name in Told._fields))
