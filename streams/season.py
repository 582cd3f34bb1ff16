"""season: what a series has been at this time of the day and of the week, in the local time of the city"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cache, lru_cache
from typing import ClassVar
from zoneinfo import ZoneInfo

import holidays
import numpy as np

from pulssi.errors import ConfigurationError
from pulssi.times import US_PER_S, us_datetime
from streams.record import Record

DAY_SLOTS = 48
"""Half hours of a day."""
WEEK_SLOTS = 168
"""Hours of a week, from Monday."""

_HALF_HOUR_US = 1800 * US_PER_S
_CHUNK = 1 << 14
"""Half hours worked out at once: 341 days."""
_CHUNKS_LAST = 7_600
"""That of the year 9060: later times, and those before 1970, are taken as the nearest that is known."""


@cache
def _is_holiday(country: str) -> Callable[[date], bool]:
    if not country:
        return lambda _: False
    try:
        return holidays.country_holidays(country).__contains__
    except NotImplementedError as error:
        raise ConfigurationError(f"streams.holidays: the public holidays of {country!r} are not known") from error


@lru_cache(maxsize=64)
def _slots(zone: str, country: str, chunk: int) -> np.ndarray:
    """Slots of the day and, past them, of the week of each half hour of a chunk, int64 [2, _CHUNK]."""
    local, is_holiday = ZoneInfo(zone), _is_holiday(country)
    found = np.empty((2, _CHUNK), np.int64)
    for i in range(_CHUNK):
        moment = us_datetime((chunk * _CHUNK + i) * _HALF_HOUR_US).astimezone(local)
        day = 6 if is_holiday(moment.date()) else moment.weekday()
        found[:, i] = moment.hour * 2 + moment.minute // 30, DAY_SLOTS + day * 24 + moment.hour
    return found


class Calendar:
    """Local time of day and of the week; a public holiday is a Sunday.

    Args:
        zone: name of the time zone.
        country: whose public holidays, by its code of ISO 3166; empty for none.

    Raises:
        ConfigurationError: nobody knows that country's holidays.
    """

    def __init__(self, zone: str = "UTC", country: str = "") -> None:
        self._zone, self._country = zone, country
        _is_holiday(country)

    def slots(self, times: np.ndarray) -> np.ndarray:
        """Slots of the day (0 ... 47) and of the week (48 ... 215), int64 [2, times]; `times` are us UTC."""
        half_hour = np.clip(times // _HALF_HOUR_US, 0, _CHUNKS_LAST * _CHUNK)
        chunk = half_hour // _CHUNK
        first, last = int(chunk.min(initial=_CHUNKS_LAST)), int(chunk.max(initial=0))
        if first == last:
            return np.asarray(_slots(self._zone, self._country, first).take(half_hour - first * _CHUNK, axis=1))
        found = np.empty((2, len(times)), np.int64)
        for one in np.unique(chunk).tolist():
            at = np.flatnonzero(chunk == one)
            found[:, at] = _slots(self._zone, self._country, one)[:, half_hour[at] - one * _CHUNK]
        return found


class Season:
    """Running means by half hour of the day and by hour of the week, of which it takes what has been nearer.

    The hour of the week counts once it has been there `WEEKS_LEAST` times and the mean deviation from it is clearly the
    smaller one; until then the half hour of the day does. In a half hour that is new to a series of `BORROWED_FROM`
    readings, what the nearest known ones before and after it lead to expect counts as a first reading, so that neither
    its first value nor those that follow are judged by that value itself.

    Args:
        record: takes up what is needed at each reading.

    Attributes:
        means: float32 [rows, DAY_SLOTS + WEEK_SLOTS] relative to the first value of the series.
        seen: uint8 [rows, DAY_SLOTS + WEEK_SLOTS] how many readings are in each, up to 255.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("means", "seen")

    BORROWED_FROM = 100
    DAY_RATE = 0.1
    WEEK_RATE = 0.3
    WEEKS_LEAST = 2
    CLEARLY = 0.9
    ERROR_RATE = 0.005
    CLIP = 20.0
    CLIPPED_FROM = 10
    EXACT = 2.0**-22
    """Deviations of a smaller share of what a mean holds are rounding."""

    def __init__(self, record: Record) -> None:
        self.means = np.zeros((0, DAY_SLOTS + WEEK_SLOTS), np.float32)
        self.seen = np.zeros((0, DAY_SLOTS + WEEK_SLOTS), np.uint8)
        self._origin, self._compared, self._errors = record.number(), record.number(), record.numbers(2)
        self._rates = np.array([[self.DAY_RATE], [self.WEEK_RATE]])

    def start(self, state: np.ndarray, first: np.ndarray, values: np.ndarray) -> None:
        """Let the series begin with their first values."""
        state[self._origin, first] = values

    def deviation(
        self, state: np.ndarray, rows: np.ndarray, n: np.ndarray, slots: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """How far each value is from what was expected, 0 where nothing is known; then learn.

        Args:
            state: records.
            rows: int64, distinct.
            n: float64 [rows], readings that each had before.
            slots: int64 [2, rows] of a calendar.
            values: float64.
        """
        at = slots + rows * (DAY_SLOTS + WEEK_SLOTS)
        all_means, all_seen = self.means.reshape(-1), self.seen.reshape(-1)
        seen, known = all_seen.take(at), all_means.take(at).astype(np.float64)
        new = ((seen[0] == 0) & (n >= self.BORROWED_FROM)).nonzero()[0]
        if len(new):
            known[0, new], seen[0, new] = self._between(rows[new], slots[0, new]), 1
        away = values - state[self._origin]
        means = np.where(seen, known, away)
        off = away - means
        off *= np.abs(off) > self.EXACT * np.abs(away)
        off[1] = np.where(seen[1], off[1], off[0])
        ready = seen[1] >= self.WEEKS_LEAST
        errors = state[self._errors]
        weekly = ready & (errors[1] < self.CLEARLY * errors[0])
        self._compare(state[self._compared], errors, np.abs(off), ready)
        more = np.minimum(seen, 254) + np.uint8(1)
        all_means[at] = means + np.maximum(self._rates, 1.0 / more) * (away - means)
        all_seen[at] = more
        return np.asarray(np.where(weekly, off[1], off[0]))

    def _between(self, rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """What the nearest known half hours of the day before and after new ones lead to expect, by their distance."""
        known = self.seen[rows, :DAY_SLOTS] > 0
        ahead = (np.arange(DAY_SLOTS) - slots[:, None]) % DAY_SLOTS
        after = np.argmin(np.where(known, ahead, DAY_SLOTS), axis=1)
        before = np.argmin(np.where(known, DAY_SLOTS - ahead, DAY_SLOTS), axis=1)
        to_after, to_before = (after - slots) % DAY_SLOTS, (slots - before) % DAY_SLOTS
        means = self.means[rows, before] * to_after + self.means[rows, after] * to_before
        return np.asarray(means / (to_after + to_before))

    def _compare(self, compared: np.ndarray, errors: np.ndarray, sizes: np.ndarray, ready: np.ndarray) -> None:
        """Learn the mean deviations from both, where there are both."""
        compared += ready
        limit = np.where((compared > self.CLIPPED_FROM) & (errors[0] > 0), self.CLIP * errors[0], np.inf)
        weight = np.where(ready, np.maximum(self.ERROR_RATE, 1.0 / np.maximum(compared, 1.0)), 0.0)
        errors += weight * (np.minimum(sizes, limit) - errors)
