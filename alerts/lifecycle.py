"""lifecycle: the state machine of one rule on one series, and the numpy filter before it

pending -> firing -> resolved, in event time. A pending alert whose value comes back before the hold time ends is
resolved without ever having fired. Most rows are far from every level and touch nothing but one array.

Order: a row counts when its `progress` is greater than that of every row of its series before it. Progress is the event
time of a reading, or end and revision of a window, so replays, late rows and windows of an old revision change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xxhash

from pulssi.messages import AlertState

NEVER = -(2**62)


class Levels(NamedTuple):
    """A condition as numbers; `sign` -1 turns "below" into "above", and `fire` and `clear` are turned already.

    The condition begins when sign * value > fire and is over when sign * value <= clear <= fire. Times are us. `told`
    says whether pending, and its end without having fired, are steps for others to hear.
    """

    sign: float
    fire: float
    clear: float
    for_us: int = 0
    clear_for_us: int = 0
    refractory_us: int = 0
    told: bool = True


def alert_id(rule: str, subject: str, onset: int) -> str:
    """Identity of an alert: 32 hexadecimal digits of rule, subject (series or device) and onset in us."""
    return xxhash.xxh3_128_hexdigest(f"{rule}\x1f{subject}\x1f{onset}".encode())


@dataclass(slots=True)
class Track:
    """Where one rule stands on one series. `state` None is rest; `sequence` is that of the next step."""

    state: AlertState | None = None
    onset: int = 0
    sequence: int = 0
    fired: bool = False
    over_since: int = NEVER
    quiet_until: int = NEVER
    extreme: float = 0.0
    rows: int = 0

    def see(self, levels: Levels, time: int, value: float) -> AlertState | None:
        """Take one row, newer than all before it, and return the state that begins with it, if one does."""
        if self.state is None:
            return self._begin(levels, time, value) if self.begins(levels, time, value) else None
        signed = levels.sign * value
        self.rows += 1
        if signed > levels.sign * self.extreme:
            self.extreme = value
        if self.state is AlertState.PENDING:
            if signed <= levels.fire:
                return self._end(levels, time)
            return self._fire() if time - self.onset >= levels.for_us else None
        if signed > levels.clear:
            self.over_since = NEVER
            return None
        if self.over_since == NEVER:
            self.over_since = time
        return self._end(levels, time) if time - self.over_since >= levels.clear_for_us else None

    def begins(self, levels: Levels, time: int, value: float) -> bool:
        """Whether a row begins an alert on a track at rest."""
        return levels.sign * value > levels.fire and time >= self.quiet_until

    def _begin(self, levels: Levels, time: int, value: float) -> AlertState:
        self.onset, self.sequence, self.fired, self.over_since = time, 0, False, NEVER
        self.extreme, self.rows = value, 1
        self.state = AlertState.PENDING
        return self._fire() if levels.for_us == 0 else AlertState.PENDING

    def _fire(self) -> AlertState:
        self.state, self.fired = AlertState.FIRING, True
        return AlertState.FIRING

    def _end(self, levels: Levels, time: int) -> AlertState:
        self.state = None
        self.quiet_until = time + levels.refractory_us if self.fired and levels.refractory_us else NEVER
        return AlertState.RESOLVED


class Step(NamedTuple):
    """One step in the life of an alert, before it is dressed up: `row` is the index of its row in the batch."""

    rule: int
    series: int
    state: AlertState
    onset: int
    sequence: int
    fired: bool
    time: int
    value: float
    extreme: float
    rows: int
    row: int


@dataclass(slots=True)
class Room:
    """How many alerts of a partition may be open at once; what does not fit is counted in `refused`."""

    limit: int
    refused: Counter[str] = field(default_factory=Counter)
    open: int = 0

    def take(self) -> bool:
        """Take a place when there is one."""
        if self.open >= self.limit:
            self.refused["open_alerts"] += 1
            return False
        self.open += 1
        return True


@dataclass(slots=True)
class Layer:
    """Every rule that looks at one column, on all series of a partition, by dense series index.

    Attributes:
        levels: by rule number.
        room: shared by all layers of the partition.
        high, low: least and greatest level over the rules of a series; infinite where there is none.
        busy: whether an alert is open on the series.
        newest: progress of the series.
        tracks: (rule, series) -> where it stands, for those that do not rest.
    """

    levels: dict[int, Levels]
    room: Room
    rules: list[tuple[int, ...]] = field(default_factory=list)
    high: np.ndarray = field(default_factory=lambda: np.empty(0))
    low: np.ndarray = field(default_factory=lambda: np.empty(0))
    busy: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    newest: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    tracks: dict[tuple[int, int], Track] = field(default_factory=dict)

    def add_series(self, rules: Sequence[tuple[int, ...]]) -> None:
        """Append series, each with the numbers of the rules that it is in scope of."""
        known = len(self.rules)
        self.rules += rules
        n = len(self.rules)
        self.high, self.low = grown(self.high, n, np.inf), grown(self.low, n, -np.inf)
        self.busy, self.newest = grown(self.busy, n, False), grown(self.newest, n, NEVER)
        for i, numbers in enumerate(rules, start=known):
            levels = [self.levels[number] for number in numbers]
            self.high[i] = min((one.fire for one in levels if one.sign > 0), default=np.inf)
            self.low[i] = max((-one.fire for one in levels if one.sign < 0), default=-np.inf)

    def see(self, series: np.ndarray, progress: np.ndarray, time: np.ndarray, value: np.ndarray) -> list[Step]:
        """Take rows in stream order and return the steps that follow.

        Args:
            series: dense index, integer.
            progress: int64 that rises with time, see the head of this module.
            time: int64, us of event time.
            value: float64, finite.
        """
        near = (value > self.high[series]) | (value < self.low[series]) | self.busy[series]
        if not near.any():
            np.maximum.at(self.newest, series, progress)
            return []
        hot = np.zeros(len(self.rules), bool)
        hot[series[near]] = True
        among = hot[series]
        cold = ~among
        np.maximum.at(self.newest, series[cold], progress[cold])
        rows = np.flatnonzero(among)
        steps: list[Step] = []
        for row, one, reached, moment, number in zip(
            rows.tolist(),
            series[rows].tolist(),
            progress[rows].tolist(),
            time[rows].tolist(),
            value[rows].tolist(),
            strict=True,
        ):
            if reached > self.newest[one]:
                self.newest[one] = reached
                self._see_one(one, moment, number, row, steps.append)
        return steps

    def _see_one(self, series: int, time: int, value: float, row: int, emit: Callable[[Step], None]) -> None:
        open_ = False
        for rule in self.rules[series]:
            levels = self.levels[rule]
            track = self.tracks.get((rule, series), _REST)
            if track.state is None:
                if not track.begins(levels, time, value) or not self.room.take():
                    continue
                track = self.tracks.setdefault((rule, series), Track())
            state = track.see(levels, time, value)
            if state is not None and (levels.told or track.fired):
                emit(_step(rule, series, state, track, time, value, row))
                track.sequence += 1
            if track.state is None:
                self.room.open -= 1
                if track.quiet_until == NEVER:
                    del self.tracks[rule, series]
            else:
                open_ = True
        self.busy[series] = open_


_REST = Track()


def _step(rule: int, series: int, state: AlertState, track: Track, time: int, value: float, row: int) -> Step:
    life = (track.onset, track.sequence, track.fired)
    return Step(rule, series, state, *life, time, value, track.extreme, track.rows, row)


def grown(array: np.ndarray, n: int, fill: float) -> np.ndarray:
    """The array with `fill` appended up to length `n`, in its own dtype."""
    return np.concatenate([array, np.full(n - len(array), fill, array.dtype)])
