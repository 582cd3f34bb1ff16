"""partition_state: everything derived from one partition of readings, from columns to columns"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pulssi.errors import PoisonError, Reason
from pulssi.frames import Indicators, Readings
from pulssi.quality import EXCLUDED, Quality
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.anomaly import Columns, Detector, EvidenceDetector, Scores
from streams.blob import Piece, joined, pieces, unpack
from streams.cadence import Cadence
from streams.catalogue import Limits, Lookup
from streams.grouping import Runs, order_by, ranges, starts_of
from streams.histograms import Histograms
from streams.indicator_rows import anomaly_rows, by_position, flag_rows, reading_rows, window_rows
from streams.pane_snapshot import arrays_of, fill
from streams.panes import NO_PANE, PaneRing
from streams.progress import NEVER, Bounds, Progress
from streams.quality.sequence import SequenceChecks
from streams.quality.settling import Settling
from streams.quality.single import clock_flags, range_flags
from streams.season import Calendar
from streams.series_table import SeriesTable
from streams.steps import Arrived, Due, Kept, Marks, united
from streams.windows import evaluate

VERSION = 9
"""Of the snapshot."""

ADVANCE_PANES = 16
"""How far the newest pane of a series may move in one step; further moves take more steps."""

_STRIDE = ADVANCE_PANES // 2
"""The same between two readings, and for all others of a step together; a greater move is a jump."""

_EXCLUDED, _LATE, _PROVISIONAL = int(EXCLUDED), int(Quality.LATE), int(Quality.PROVISIONAL)
_INTERVAL = [field.name for field in fields(Limits)].index("interval_s")

PROVISIONAL_REVISION = -(1 << 28)
"""Revisions of windows that only the passing of time has shown start here and rise with each reading in the window."""


@dataclass(slots=True)
class Counts:
    """What happened since the start of the process."""

    readings: int = 0
    duplicates: int = 0
    late: int = 0
    flagged: int = 0
    without_state: int = 0
    quarantined: int = 0
    crowded: int = 0
    windows: int = 0
    slid: int = 0
    revisions: int = 0
    anomalies: int = 0
    settled: int = 0


class PartitionState:
    """State of one partition: takes readings in the order of their offsets, gives rows of indicators.

    Args:
        settings: windows and bounds.
        lookup: limits of series seen for the first time.
        snapshot: what `snapshot()` gave, or None.

    Raises:
        PoisonError: the snapshot cannot be read or was made with other windows.
    """

    def __init__(self, settings: StreamsSettings, lookup: Lookup, snapshot: Piece | None = None) -> None:
        pane_us = settings.pane_s * US_PER_S
        self._settings = settings
        self._lookup = lookup
        self._bounds = Bounds(pane_us, settings.horizon_s * US_PER_S, settings.idle_s * US_PER_S)
        rolling = {length // settings.pane_s for length in settings.windows_s}
        self._lengths = tuple(sorted(rolling | {length // settings.pane_s for length in settings.long_windows_s}))
        long_slide = max(settings.long_slide_s // settings.pane_s, 1)
        self._slides = np.array([1 if length in rolling else long_slide for length in self._lengths])
        horizon_panes = -(-settings.horizon_s // settings.pane_s)
        self._pane_readings_max = settings.series_rate_max * settings.pane_s
        self.counts = Counts()
        self.clock = 0
        self.position = -1
        self.table = SeriesTable(settings.series_max)
        self._limits = np.zeros((len(fields(Limits)), 0))
        self._lateness_us = np.zeros(0, np.int64)
        self._progress = Progress(self._bounds)
        self._ring = PaneRing(self._lengths[-1] + horizon_panes + 2 + ADVANCE_PANES, pane_us, len(self._lengths))
        self._histograms = {
            step: Histograms(
                tuple(np.compress(self._slides == step, self._lengths).tolist()), settings.histograms_max, step
            )
            for step in np.unique(self._slides).tolist()
        }
        self._cadence = Cadence(pane_us, max(rolling))
        self._checks = SequenceChecks(pane_us, 0)
        self._settling = Settling(pane_us)
        self._detector: Detector = EvidenceDetector(Calendar(settings.zone, settings.holidays))
        self._quiet_position, self._quiet_since = -1, 0
        if snapshot is not None:
            self._restore(snapshot)

    # Readings in, rows out

    def apply(self, readings: Readings, position: np.ndarray) -> tuple[Indicators, Indicators]:
        """Take readings in; `position` is the source offset of each, rising.

        Returns:
            READING rows in order of arrival, and WINDOW and ANOMALY rows in order of position.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return self._apply(readings, position)

    def _apply(self, readings: Readings, position: np.ndarray) -> tuple[Indicators, Indicators]:
        clock = np.maximum.accumulate(np.maximum(readings.receive_time, self.clock))
        clock_before = np.concatenate(([self.clock], clock[:-1]))
        rows = self._rows_of(readings)
        order = order_by(rows + 1)
        row = rows[order]
        if row[0] < 0:  # neither series beyond the bound nor times beyond belief have a state
            known = int(row.searchsorted(0))
            order, row = order[known:], row[known:]
        time, value, received = readings.event_time[order], readings.value[order], readings.receive_time[order]
        runs, limits = Runs(row), self._limits_of(row)
        before = self._progress.newest_before(runs, runs.first(row), time)
        in_order = time > before
        self._cadence.learn(row, time, before, in_order & (before > NEVER))
        late, duplicate = self._out_of_order(row, time, before, in_order)
        flags = readings.quality[order].astype(np.int32)
        flags |= range_flags(value, limits.low, limits.high)
        flags |= clock_flags(time, received)
        kept = _those(~(late | duplicate))
        sure = flags[kept].copy()
        flags[late] |= _LATE
        checked = _those(in_order & ((flags & _EXCLUDED) == 0))
        scores = self._check(runs, row, time, value, limits, flags, checked)
        columns = (row, time, value, received, position[order], clock[order], clock_before[order])
        row, time, value, received, at, now, past = (column[kept] for column in columns)
        arrived = Arrived(row, time, value, sure, flags[kept], received, at, now, past)
        windows = self._advance(arrived, clock, position)
        windows += self._close_silent(int(clock[-1]), clock, position)
        self.clock, self.position = int(clock[-1]), int(position[-1])
        score = np.zeros(len(readings))
        all_flags = readings.quality | clock_flags(readings.event_time, readings.receive_time)
        all_flags[order], score[order[checked]] = flags, scores.score
        shown = reading_rows(readings, position, all_flags, score)
        if np.count_nonzero(duplicate):
            original = np.ones(len(readings), np.bool_)
            original[order[duplicate]] = False
            shown = shown.take(original)
        anomalies = self._anomalies(readings, position, all_flags, scores, order[checked])
        self._count(len(readings), late, duplicate, shown, windows, anomalies)
        return shown, by_position([*anomalies, *windows])

    def _anomalies(
        self, readings: Readings, position: np.ndarray, flags: np.ndarray, scores: Scores, place: np.ndarray
    ) -> list[Indicators]:
        """ANOMALY rows; `place` says of which readings the `scores` are."""
        unusual = (scores.fresh & (scores.score >= self._settings.anomaly_score_min)).nonzero()[0]
        if len(unusual) == 0:
            return []
        at = place[unusual]
        return [anomaly_rows(readings.take(at), position[at], flags[at], scores.take(unusual))]

    def _rows_of(self, readings: Readings) -> np.ndarray:
        """Row of each reading; -1 where there is no room for its series, and where its clock is beyond belief."""
        had = len(self.table)
        ahead = readings.event_time - readings.receive_time > self._settings.event_ahead_s_max * US_PER_S
        quarantined = int(np.count_nonzero(ahead))
        if quarantined:
            rows = np.full(len(readings), -1, np.int64)
            rows[~ahead] = self.table.rows_of(readings.series_id[~ahead])
        else:
            rows = self.table.rows_of(readings.series_id)
        if len(self.table) > had:
            self._grow(had)
        self.counts.quarantined += quarantined
        self.counts.without_state += int(np.count_nonzero(rows < 0)) - quarantined
        return rows

    def _grow(self, had: int) -> None:
        """Make room for the series that the table has got since it had `had`."""
        n = len(self.table)
        new = self._lookup(self.table.ids[had:])
        columns = [getattr(new, field.name) for field in fields(Limits)]
        self._limits = np.concatenate((self._limits, np.array(columns, np.float64)), axis=1)
        lateness_s = np.where(np.isnan(new.lateness_s), self._settings.lateness_s_max, new.lateness_s)
        self._lateness_us = np.concatenate((self._lateness_us, (lateness_s * US_PER_S).astype(np.int64)))
        for part in (self._progress, self._ring, self._cadence, self._checks, self._settling, self._detector):
            part.grow(n)
        for histograms in self._histograms.values():
            histograms.grow(n)

    def _limits_of(self, row: np.ndarray) -> Limits:
        return Limits(*self._limits[:, row])

    def _out_of_order(
        self, row: np.ndarray, time: np.ndarray, before: np.ndarray, in_order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which readings are late, and which have the series and time of one that came before within the horizon."""
        late = time < before - self._bounds.horizon_us
        duplicate = np.zeros(len(row), np.bool_)
        candidates = (~(in_order | late)).nonzero()[0]
        if len(candidates) == 0:
            return late, duplicate
        doubtful = np.zeros(len(self.table), np.bool_)
        doubtful[row[candidates]] = True
        among = np.flatnonzero(doubtful[row] & ~late)
        among = among[np.lexsort((time[among], row[among]))]  # stable: the first to come stays first
        first = np.zeros(len(among), np.bool_)
        first[starts_of(row[among], time[among])] = True
        duplicate[among[~first]] = True
        rest = candidates[~duplicate[candidates]]
        rest = rest[time[rest] // self._bounds.pane_us >= self._ring.oldest[row[rest]]]
        rest = rest[time[rest] <= self._progress.newest[row[rest]]]
        pane, place = np.divmod(time[rest], self._bounds.pane_us)
        duplicate[rest] = self._ring.holds(self._ring.cells(row[rest], pane), place)
        return late, duplicate

    def _check(
        self,
        runs: Runs,
        row: np.ndarray,
        time: np.ndarray,
        value: np.ndarray,
        limits: Limits,
        flags: np.ndarray,
        checked: np.ndarray | slice,
    ) -> Scores:
        """Checks of the readings `checked` that need those before, good ones in order; adds to their `flags`."""
        if isinstance(checked, np.ndarray):
            row, time, value = row[checked], time[checked], value[checked]
            runs, limits = Runs(row), self._limits_of(row)
        scores = self._detector.update(row, time, value)
        if len(row):
            nothing = np.zeros(len(row), np.int32)
            _, judged = self._checks.check(runs, runs.first(row), time, value, limits, nothing)
            flags[checked] |= np.where(judged.flags != 0, judged.flags | _PROVISIONAL, 0)
        return scores

    # Panes and windows

    def _advance(self, arrived: Arrived, clock: np.ndarray, position: np.ndarray) -> list[Indicators]:
        """Put readings into panes; rows of the windows that closed or changed."""
        if len(arrived.row) == 0:
            return []
        runs, pane_us = Runs(arrived.row), self._bounds.pane_us
        row = runs.first(arrived.row)
        closed, newest_pane = self._progress.closed[row], self._ring.newest[row]
        lateness_us = self._lateness_us[row]
        course = self._progress.follow(runs, row, arrived.time, lateness_us, arrived.clock, arrived.clock_before)
        pane = arrived.time // pane_us
        self._progress.closed[row] = np.where(closed == NEVER, runs.first(pane) - 1, closed)
        silence = np.minimum(clock.searchsorted(course.silent_from), len(position) - 1)
        marks = Marks(course.closed_after, arrived.position, course.silent, position[silence])
        newest = course.newest // pane_us
        kept = Kept(
            arrived.row,
            pane,
            arrived.time - pane * pane_us,
            arrived.value,
            arrived.flags,
            arrived.told,
            arrived.receive_time,
            arrived.position,
            newest,
            (course.newest - self._bounds.horizon_us) // pane_us - 1,
            course.closed_before,
        )
        step = self._steps(runs, newest, newest_pane)
        least, most = int(step.min()), int(step.max())
        if least == most:
            return self._step(runs, kept, marks)
        windows = []
        for i in range(least, most + 1):
            chosen = np.flatnonzero(step == i)
            if len(chosen):
                windows += self._step(Runs(kept.row[chosen]), kept.take(chosen), marks.take(chosen))
        return windows

    @staticmethod
    def _steps(runs: Runs, pane: np.ndarray, newest_pane: np.ndarray) -> np.ndarray:
        """Number of the step in which each reading is taken; a jump is the first move of its step."""
        before = runs.shifted(pane, np.where(newest_pane == NO_PANE, runs.first(pane), newest_pane))
        moved = np.minimum(pane - before, _STRIDE + 1)
        return runs.running_sum(moved, 0) // (_STRIDE + 1)

    def _step(self, runs: Runs, kept: Kept, marks: Marks) -> list[Indicators]:
        ring, row, windows = self._ring, runs.first(kept.row), []
        had = ring.newest[row]
        jumping = ((runs.first(kept.newest) - had > _STRIDE) & (had != NO_PANE)).nonzero()[0]
        if len(jumping):  # the ring cannot hold both ends of the gap: close what is before it first
            windows += self._jump(row[jumping], kept.take(runs.starts[jumping]), marks.take(runs.starts[jumping]))
        lowest, highest = runs.least(kept.pane), runs.last(kept.newest)
        opening = ((highest > had) | (lowest < ring.oldest[row])).nonzero()[0]
        if len(opening):
            ring.open(row[opening], lowest[opening], highest[opening])
        entering = self._add(runs, kept)
        rows, changed = self._settle(runs, row, kept)
        closings = self._closings(runs, row, runs.last(marks.closed_after), marks)
        late = self._corrections(entering.row, entering.pane, entering.closed_before, entering.position)
        return [*windows, *rows, *self._publish(closings, *changed, *late)]

    def _add(self, runs: Runs, kept: Kept) -> Kept:
        """Put readings into panes as far as these have room; those that went in."""
        cells = self._ring.cells(kept.row, kept.pane)
        longest = 1 if runs.single else int(runs.lengths.max())
        room = self._ring.room(cells, longest, self._pane_readings_max)
        if room is not None:
            self.counts.crowded += len(cells) - len(room)
            cells, kept = cells[room], kept.take(room)
        excluded = (kept.flags & _EXCLUDED) != 0
        told = kept.told * ~excluded
        self._ring.add(cells, kept.place_us, kept.value, kept.flags, kept.receive_time, excluded, told)
        return kept

    def _jump(self, row: np.ndarray, kept: Kept, marks: Marks) -> list[Indicators]:
        """Settle and close what the first reading of each of distinct rows leaves far behind."""
        runs = Runs(row)
        rows, changed = self._settle(runs, row, kept)
        return [*rows, *self._publish(self._closings(runs, row, marks.closed_after, marks), *changed)]

    def _settle(self, runs: Runs, row: np.ndarray, kept: Kept) -> tuple[list[Indicators], list[Due]]:
        """Settle what readings leave more than the horizon behind: FLAGS rows, and the windows that change."""
        done = self._settling.settle(self._ring, runs, row, kept.complete, self._limits_of)
        if done is None:
            return [], []
        rows = []
        if len(done.row):
            ids, by = self.table.ids[done.row], done.by
            rows = [flag_rows(ids, done.time, done.flags, kept.receive_time[by], kept.position[by])]
        self.counts.settled += len(done.row)
        by = done.pane_by
        return rows, self._corrections(done.pane_row, done.pane, kept.closed_before[by], kept.position[by])

    def _closings(self, runs: Runs, row: np.ndarray, until: np.ndarray, marks: Marks) -> Due:
        """Windows of distinct rows that end with the panes now closed, up to `until`; from now on they are closed.

        `marks` are those of the readings of each row: the first to reach a pane closed it.
        """
        closed = self._progress.closed[row]
        moved = until > closed
        if not np.count_nonzero(moved):
            return Due(row[:0], row[:0], np.zeros((len(self._lengths), 0), np.int64))
        last = np.minimum(until, self._ring.newest[row] + self._lengths[-1] - 1)  # later windows are empty
        end, owner = ranges(closed + 1, np.maximum(last - closed, 0))
        by = runs.reaching(marks.closed_after, closed, owner, end)
        position = np.where(end <= marks.silent[by], marks.silence[by], marks.position[by])
        self._progress.closed[row] = np.maximum(closed, until)
        return Due(row[owner], end, np.where(self._ends(end), position, -1))

    def _ends(self, end: np.ndarray) -> np.ndarray:
        """Whether a window of each length ends with each pane, [lengths, n]: long ones slide by several panes."""
        ends: np.ndarray = (end + 1) % self._slides[:, None] == 0
        return ends

    def _corrections(
        self, row_of: np.ndarray, pane_of: np.ndarray, closed_before: np.ndarray, position_of: np.ndarray
    ) -> list[Due]:
        """Windows that were closed when one of their panes changed; counts their revisions."""
        after = (pane_of <= closed_before).nonzero()[0]
        for histograms in self._histograms.values():
            histograms.forget(row_of[after])
        dues = []
        for w, length in enumerate(self._lengths if len(after) else ()):
            pane = pane_of[after]
            last = np.minimum(closed_before[after], pane + length - 1)
            end, owner = ranges(pane, last - pane + 1)
            if self._slides[w] > 1:
                sliding = np.flatnonzero((end + 1) % self._slides[w] == 0)
                end, owner = end[sliding], owner[sliding]
            row = row_of[after][owner]
            np.add.at(self._ring.revisions[w], self._ring.cells(row, end), np.uint32(1))
            position = np.full((len(self._lengths), len(end)), -1, np.int64)
            position[w] = position_of[after][owner]
            dues.append(Due(row, end, position))
        return dues

    def _close_silent(self, clock: int, clock_all: np.ndarray, position_all: np.ndarray) -> list[Indicators]:
        row = self._progress.fallen_silent(clock, len(self.table))
        if len(row) == 0:
            return []
        reached = np.searchsorted(clock_all, self._progress.active[row] + self._bounds.idle_us)
        until = self._progress.newest[row] // self._bounds.pane_us
        silence = position_all[reached]
        return self._publish(self._closings(Runs(row), row, until, Marks(until, silence, until, silence)))

    def _publish(self, *dues: Due) -> list[Indicators]:
        """Rows of the windows that are due, each once; the first of `dues` has each of its own once."""
        some = [due for due in dues if len(due.row)]
        if not some:
            return []
        due = some[0] if some[0] is dues[0] and len(some) == 1 else united(some)
        cells = self._end_cells(due)
        rows = self._rows(due, cells)
        self._ring.compact(cells[cells > 0])
        return rows

    def _end_cells(self, due: Due) -> np.ndarray:
        """Cell of the last pane of each window; 0, which has no revisions, where a jump left it unopened."""
        cells: np.ndarray = self._ring.window_cells(due.row, due.end, 1)[0]
        return cells

    def _rows(self, due: Due, cells: np.ndarray | None) -> list[Indicators]:
        """Rows of those windows that are due and not empty; without the `cells` of their ends they are provisional.

        Long windows end with few panes, so they are evaluated on their own.
        """
        found = []
        for long in np.unique(self._slides > 1):
            w = np.flatnonzero((self._slides > 1) == long)
            at = np.flatnonzero((due.position[w] >= 0).any(axis=0))
            if len(at):
                some = Due(due.row[at], due.end[at], due.position[w][:, at])
                found.append(self._some_rows(some, w, None if cells is None else cells[at]))
        return found

    def _some_rows(self, due: Due, lengths: np.ndarray, cells: np.ndarray | None) -> Indicators:
        """The same for some of the lengths, by number."""
        panes = np.array(self._lengths)[lengths]
        per_pane = self._cadence.per_pane(due.row, due.end, self._limits[_INTERVAL, due.row])
        histograms = None if cells is None else self._histograms[int(self._slides[lengths[0]])]
        windows = evaluate(self._ring, due.row, due.end, tuple(panes.tolist()), per_pane, histograms)
        chosen = np.flatnonzero((due.position >= 0) & ((windows.n > 0) | (windows.n_excluded > 0)))
        w, at = np.divmod(chosen, len(due.row))
        if cells is None:
            revision = (PROVISIONAL_REVISION + windows.n + windows.n_excluded).take(chosen)
        else:
            revision = self._ring.revisions[lengths[w], cells[at]]
        return window_rows(
            windows,
            chosen,
            self.table.ids[due.row[at]],
            (due.end[at] + 1) * self._bounds.pane_us,
            panes[w] * self._settings.pane_s,
            revision,
            due.position.take(chosen),
        )

    # Time without readings

    def tick(self, now: int) -> Indicators:
        """Open windows of the series of a partition that has been silent for `idle` at `now`, us.

        The state stays as it is, since this depends on when it was asked. The rows have revisions below all others,
        which rise with the readings in the window: any row that readings bring replaces them.
        """
        if self.position != self._quiet_position:
            self._quiet_position, self._quiet_since = self.position, now
        if self.position < 0 or now - self._quiet_since < self._bounds.idle_us:
            return Indicators.empty()
        self._quiet_since = 1 << 62  # once
        newest = self._progress.newest[: len(self.table)] // self._bounds.pane_us
        first = self._progress.closed[: len(self.table)] + 1
        end, row = ranges(first, np.maximum(newest - first + 1, 0))
        rows = self._rows(Due(row, end, np.where(self._ends(end), self.position, -1)), None)
        return Indicators.concat(rows) if rows else Indicators.empty()

    # Snapshots

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        return joined(self.pieces())

    def pieces(self) -> list[Piece]:
        """The same in pieces, some of them parts of the living state."""
        n = len(self.table)
        facts: dict[str, int | str | list[int]] = {**self._shape(), "clock": self.clock, "position": self.position}
        arrays: dict[str, np.ndarray | list[Piece]] = {"ids": self.table.ids}
        for prefix, part in self._parts():
            arrays |= {f"{prefix}.{name}": getattr(part, name)[:n] for name in part.COLUMNS}
        arrays |= {f"ring.{name}": array for name, array in arrays_of(self._ring, n).items()}
        return pieces(VERSION, facts, arrays)

    def _restore(self, snapshot: Piece) -> None:
        facts, arrays = unpack(snapshot, VERSION)
        differing = [name for name, value in self._shape().items() if facts.get(name) != value]
        if differing:
            raise PoisonError(Reason.BAD_RECORD, f"a snapshot made with other settings: {', '.join(differing)}")
        self.clock, self.position = int(str(facts["clock"])), int(str(facts["position"]))
        ids = arrays["ids"]
        self.table.rows_of(ids)
        self._grow(0)
        for prefix, part in self._parts():
            for name in part.COLUMNS:
                getattr(part, name)[: len(ids)] = arrays[f"{prefix}.{name}"]
        fill(self._ring, len(ids), {name.removeprefix("ring."): array for name, array in arrays.items()})

    def _shape(self) -> dict[str, int | str | list[int]]:
        """What a snapshot and the settings must agree on."""
        return {
            "pane_s": self._settings.pane_s,
            "windows": list(self._lengths),
            "slides": self._slides.tolist(),
            "ring": self._ring.length,
        }

    def _parts(self) -> tuple[tuple[str, Columns], ...]:
        return (
            ("progress", self._progress),
            ("cadence", self._cadence),
            ("checks", self._checks),
            ("checks.cadence", self._checks.cadence),
            ("settling", self._settling),
            ("settling.checks", self._settling.checks),
            ("settling.checks.cadence", self._settling.checks.cadence),
            *self._detector.parts(),
        )

    def _count(
        self,
        n: int,
        late: np.ndarray,
        duplicate: np.ndarray,
        shown: Indicators,
        windows: list[Indicators],
        anomalies: list[Indicators],
    ) -> None:
        counts = self.counts
        counts.readings += n
        counts.late += int(np.count_nonzero(late))
        counts.duplicates += int(np.count_nonzero(duplicate))
        counts.flagged += int(np.count_nonzero(shown.flags))
        counts.windows += sum(len(rows) for rows in windows)
        counts.slid = sum(histograms.slid for histograms in self._histograms.values())
        counts.revisions += sum(int(np.count_nonzero(rows.revision)) for rows in windows)
        counts.anomalies += sum(map(len, anomalies))


def _those(mask: np.ndarray) -> np.ndarray | slice:
    """Where the mask is true, as a slice when that is everywhere."""
    return slice(None) if np.count_nonzero(mask) == len(mask) else mask.nonzero()[0]
