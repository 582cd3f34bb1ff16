"""A slow and obvious account of what streams does with readings: one at a time, in dictionaries."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from itertools import pairwise

import numpy as np

from pulssi.quality import EXCLUDED, Quality
from streams.cadence import INTERVALS
from streams.quality.sequence import ORDERED
from streams.quality.single import AHEAD_S_MAX
from streams.sketch import codes_of, values_of
from tests.property import sequence_oracle

S = 1_000_000


class Oracle:
    def __init__(self, settings, limits, lateness_s):
        self.s, self.limits = settings, limits
        self.lateness_s = {sid: settings.lateness_s_max if math.isnan(own) else own for sid, own in lateness_s.items()}
        self.pane = settings.pane_s * S
        self.clock = 0
        self.series = {}
        self.rows = {}  # (series, window_s, window_start) -> row with the newest revision
        self.every = {}  # (series, window_s, window_start, revision) -> row
        self.flags = []  # (series, event_time, flags) of each reading that is no duplicate
        self.settled = []  # (series, event_time, flags, position) where they are not those above
        self.duplicates = 0

    def take(self, sid, time, received, value, quality, position):
        if time > received + self.s.event_ahead_s_max * S:
            self.flags.append((sid, time, quality | int(Quality.CLOCK)))
            return self.move_clock(received, position)
        one = self.series.setdefault(sid, Series())
        late = one.newest is not None and time < one.newest - self.s.horizon_s * S
        duplicate = not late and time in one.readings
        low, high, *_ = self.limits[sid]
        flags = quality | (int(Quality.RANGE) if not low <= value <= high else 0)
        flags |= int(Quality.CLOCK) if time > received + AHEAD_S_MAX * S else 0
        if late:
            self.flags.append((sid, time, flags | int(Quality.LATE)))
        elif duplicate:
            self.duplicates += 1
        else:
            self.add(sid, one, time, received, value, flags, position)
        return self.move_clock(received, position)

    def move_clock(self, received, position):
        self.clock = max(self.clock, received)
        for sid, one in self.series.items():
            if one.newest is not None and self.clock >= one.active + self.s.idle_s * S:
                self.close(sid, one, one.newest // self.pane, position)

    def add(self, sid, one, time, received, value, flags, position):
        in_order = one.newest is None or time > one.newest
        good = not flags & int(EXCLUDED)
        shown = flags
        if good and in_order:
            one.arrived.append((time, sequence_oracle.as_compared(value)))
            shown |= sequence_oracle.arrived(one.arrived, self.limits[sid], self.pane)
        if good:
            one.told[time] = shown
        self.flags.append((sid, time, shown))
        if one.newest is None:
            one.closed = time // self.pane - 1
        elif in_order and len(one.intervals) < INTERVALS:
            one.intervals.append(time - one.newest)
            if len(one.intervals) == INTERVALS:
                one.known_from = time // self.pane + max(self.s.windows_s) // self.s.pane_s
        pane = time // self.pane
        crowd = sum(other // self.pane == pane for other in one.readings)
        entering = crowd < self.s.series_rate_max * self.s.pane_s
        if entering:
            one.readings[time] = (received, value, flags)
        one.newest = time if one.newest is None else max(one.newest, time)
        one.active = max(self.clock, received)
        if entering:
            self.correct(sid, one, pane, position)
        self.settle(sid, one, position)
        self.close(sid, one, int(one.newest - self.lateness_s[sid] * S) // self.pane - 1, position)

    def correct(self, sid, one, pane, position):
        for end in range(pane, one.closed + 1):
            for length_s in self.lengths_that_end(end):
                if end < pane + length_s // self.s.pane_s:
                    key = (length_s, end)
                    one.revisions[key] = one.revisions.get(key, 0) + 1
                    self.publish(sid, one, end, length_s, position)

    def lengths_that_end(self, end):
        long = (end + 1) * self.s.pane_s % self.s.long_slide_s == 0
        return self.s.windows_s + (self.s.long_windows_s if long else ())

    def settle(self, sid, one, position):
        limits, until = self.limits[sid], (one.newest - self.s.horizon_s * S) // self.pane - 1
        panes = {}
        for time in sorted(one.readings):
            _, value, flags = one.readings[time]
            if one.settled_until < time // self.pane <= until and not flags & int(EXCLUDED):
                one.settled.append((time, sequence_oracle.as_compared(value)))
                stuck = sequence_oracle.own_flags(one.settled, limits, self.pane) & int(Quality.STUCK)
                panes.setdefault(time // self.pane, []).append((time, stuck))
                self.judge(sid, one, limits, position)
        for readings in panes.values():
            if all(stuck for _, stuck in readings):
                for time, stuck in readings:
                    received, value, flags = one.readings[time]
                    one.readings[time] = (received, value, flags | stuck)
        for pane, readings in panes.items():
            if all(stuck for _, stuck in readings):
                self.correct(sid, one, pane, position)
        one.settled_until = max(one.settled_until, until)

    def judge(self, sid, one, limits, position):
        judged = sequence_oracle.settled(one.settled, limits, self.pane)
        if judged is not None:
            time, flags = judged
            flags |= one.told[time] & ~int(ORDERED | Quality.PROVISIONAL)
            if flags != one.told[time]:
                self.settled.append((sid, time, flags, position))

    def close(self, sid, one, until, position):
        last_end = one.newest // self.pane + max(self.s.windows_s + self.s.long_windows_s) // self.s.pane_s
        for end in range(one.closed + 1, min(until, last_end) + 1):
            for length_s in self.lengths_that_end(end):
                self.publish(sid, one, end, length_s, position)
        one.closed = max(one.closed, until)

    def publish(self, sid, one, end, length_s, position):
        stop = (end + 1) * self.pane
        start = stop - length_s * S
        inside = {time: one.readings[time] for time in sorted(one.readings) if start <= time < stop}
        if not inside:
            return
        good = [value for _, value, flags in inside.values() if not flags & int(EXCLUDED)]
        all_flags = 0
        for _, _, flags in inside.values():
            all_flags |= flags
        row = {
            "n": len(good),
            "n_excluded": len(inside) - len(good),
            "flags": all_flags,
            "receive_time": max(received for received, _, _ in inside.values()),
            "position": position,
            "completeness": self.completeness(one, inside, end, length_s),
            **statistics_of(good),
        }
        revision = one.revisions.get((length_s, end), 0)
        self.rows[sid, length_s, start] = {**row, "revision": revision}
        self.every[sid, length_s, start, revision] = row

    def completeness(self, one, inside, end, length_s):
        panes = length_s // self.s.pane_s
        counts = {}
        for time, (_, _, flags) in inside.items():
            if not flags & int(EXCLUDED):
                counts[time // self.pane] = counts.get(time // self.pane, 0) + 1
        n = sum(counts.values())
        if one.known_from is not None and end >= one.known_from:
            per_pane = self.pane / statistics.median_low(one.intervals)
        elif n <= 1:
            per_pane = 0
        else:
            per_pane = statistics.median_low(counts.values())
            if per_pane == 1:
                places = sorted(counts)
                per_pane = 1 / statistics.median_low([b - a for a, b in pairwise(places)])
        return min(n / max(per_pane * panes, 1.0), 1.0)


class Series:
    def __init__(self):
        self.readings = {}
        self.newest = None
        self.active = 0
        self.closed = -1
        self.revisions = {}
        self.intervals = []
        self.known_from = None
        self.arrived, self.settled, self.told = [], [], {}
        self.settled_until = -1


def statistics_of(good):
    names = ("mean", "std", "min", "max", "p50", "p95", "p99")
    if not good:
        return dict.fromkeys((*names, "last"), math.nan)
    mean = math.fsum(good) / len(good)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in good) / len(good))
    codes = sorted(codes_of(np.array(good)).tolist())

    def quantile(per_mille):
        code = codes[max(-(-per_mille * len(good) // 1000), 1) - 1]
        return float(np.clip(values_of(np.array([code], np.uint16))[0], min(good), max(good)))

    found = (mean, std, min(good), max(good), quantile(500), quantile(950), quantile(990))
    return dict(zip(names, found, strict=True)) | {"last": good[-1]}


def exact_quantile(good, per_mille):
    """The nearest-rank quantile of the values themselves."""
    ordered = sorted(good)
    return ordered[bisect_left(range(1, len(good) + 1), per_mille * len(good) / 1000)]
