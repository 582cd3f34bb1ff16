"""Counts that slide with the windows are a cache: every row is the same to the last bit with and without them."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulssi.topics import Topics
from streams import histograms
from streams.histograms import Histograms
from streams.panes import PaneRing
from streams.quality import sequence
from streams.readings_processor import ReadingsProcessor
from streams.sketch import codes_of, entries_of, quantiles
from streams.windows import evaluate
from tests.property.test_streams_windows import (
    STREAMS,
    T0,
    S,
    close,
    decoded,
    journeys,
    lookup,
    readings_of,
    records,
    same,
    told,
    windows_of,
)

slow = settings(max_examples=25, suppress_health_check=list(HealthCheck))
LENGTHS, PANE_US, PER_MILLE = (1, 3, 8), 60 * S, (500, 950, 990)


@pytest.fixture(autouse=True)
def easily(monkeypatch):
    """Few readings are worth counts, and few codes have room, so that short journeys see all of it."""
    monkeypatch.setattr(histograms, "PAYS_FROM", 2)
    monkeypatch.setattr(histograms, "SPAN", 64)
    monkeypatch.setattr(histograms, "_MARGIN", 4)
    monkeypatch.setattr(sequence, "STUCK_REPEATS_MIN", 4)
    monkeypatch.setattr(sequence, "STUCK_CHANGES_MIN", 3)


def rows_of(source, rows_max, cuts=(), restarts=(), **settings_):
    """All rows, and how often windows slid, with counts of at most `rows_max` series."""
    own = STREAMS.model_copy(update={"histograms_max": rows_max, **settings_})
    processor, rows, slid = ReadingsProcessor(0, own, Topics(), lookup), [], 0
    bounds = sorted({0, len(source), *cuts, *restarts})
    for start, stop in pairwise(bounds):
        if start in restarts:
            slid += processor.counts.slid
            processor = ReadingsProcessor(0, own, Topics(), lookup, processor.snapshot())
        rows += decoded(processor.process(source[start:stop]))
    return rows, slid + processor.counts.slid


@st.composite
def busy(draw):
    """Frames of readings of busy series: some levels drift or jump, some readings are late, stuck, far off."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    level = {sid: rng.choice([0.02, 20.0, 20.0, 45.0]) for sid in (1, 2, -3, 4)}
    drift = draw(st.sampled_from([1.0, 1.0, 1.001, 1.02]))
    late = draw(st.sampled_from([0.0, 0.002, 0.05]))
    pause = draw(st.sampled_from([0.0, 0.02]))
    stuck = draw(st.sampled_from([0.0, 0.0, 0.3]))
    now, frames, held = T0, [], {}
    for _ in range(draw(st.integers(20, 120))):
        frame = []
        now += rng.choice([60, 61, 200, 700, 3000]) * S if rng.random() < pause else 0
        if rng.random() < stuck:
            held = {sid: rng.choice([None, level[sid]]) for sid in level}
        for _ in range(rng.randint(5, 15)):
            now += rng.randint(1, 4) * S
            sid = rng.choice(list(level))
            level[sid] *= drift
            value = round(rng.gauss(level[sid], level[sid] / 20), 3) if held.get(sid) is None else held[sid]
            value = rng.choice([0.0, -1.0, 1e6]) if rng.random() < 0.02 else value
            back = rng.choice([5, 40, 130, 500, 900]) * S if rng.random() < late else 0
            frame.append((sid, now - back + rng.randint(0, 999), now, value, rng.choice([0] * 40 + [4])))
        frames.append(frame)
    return frames


@slow
@given(busy(), st.sampled_from([1, 2, 100]), st.data())
def test_no_bit_depends_on_the_counts(frames, rows_max, data):
    source = records(frames)
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=20))
    restarts = data.draw(st.lists(st.integers(1, len(frames) - 1), max_size=3))
    plain, slid = rows_of(source, 0)
    assert slid == 0
    every, newest = windows_of(plain)
    for counted, _ in (rows_of(source, rows_max), rows_of(source, rows_max, cuts, restarts)):
        some, last = windows_of(counted)
        assert last.keys() == newest.keys()
        for key, row in last.items():
            assert all(same(row[name], newest[key][name]) for name in row), key
        for key, row in some.items():
            assert key not in every or all(same(row[name], every[key][name]) for name in row), key
        assert readings_of(counted) == readings_of(plain)


@slow
@given(st.one_of(journeys(), busy()), st.data())
def test_windows_that_slide_are_those_of_the_oracle(frames, data):
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=20))
    _, newest = windows_of(rows_of(records(frames), 100, cuts)[0])
    expected = told(frames).rows
    assert newest.keys() == expected.keys()
    for key, row in expected.items():
        for name in ("n", "min", "max", "p50", "p95", "p99", "flags"):
            assert same(newest[key][name], row[name]), (key, name)
        assert close(newest[key]["mean"], row["mean"], max(abs(row["min"]), abs(row["max"]), 1e-9))


def steady(seed, minutes=40, spread=0.3):
    rng = random.Random(seed)
    return [
        [(2, at * S, at * S, round(rng.gauss(20, spread), 2), 0) for at in range(start, start + 60, 3)]
        for start in range(T0 // S, T0 // S + 60 * minutes, 60)
    ]


def one_by_one(frames, rows_max):
    return rows_of(records(frames), rows_max, range(len(frames)), long_windows_s=())


def test_what_comes_in_order_slides():
    frames = steady(1)
    rows, slid = one_by_one(frames, 1)
    assert slid >= len(frames) - 3
    assert windows_of(rows) == windows_of(one_by_one(frames, 0)[0])


@pytest.mark.parametrize("long_slide_s", [60, 180])
def test_long_windows_slide_too(monkeypatch, long_slide_s):
    monkeypatch.setattr(histograms, "_SHORT", 5)
    frames = steady(9, minutes=80)
    batches = range(len(frames))
    (plain, _), (counted, slid) = (
        rows_of(records(frames), rows_max, batches, long_slide_s=long_slide_s) for rows_max in (0, 1)
    )
    assert windows_of(plain) == windows_of(counted)
    assert slid >= (78 if long_slide_s == 60 else 78 + 80 // 3 - 3)


def test_a_late_reading_costs_one_look_at_the_panes():
    frames = steady(2)
    at = frames[20][7][1] + 1
    frames[22].append((2, at, frames[22][-1][2], 90.0, 0))
    rows, slid = one_by_one(frames, 1)
    assert len(frames) - 5 <= slid < len(frames) - 2
    every, _ = windows_of(rows)
    expected = windows_of(one_by_one(frames, 0)[0])[0]
    assert every == expected
    assert any(key[-1] == 1 for key in every)


def test_levels_that_leave_the_span_are_counted_around_a_new_middle():
    frames = [[(sid, t, r, v * 2 ** (i // 10 * 2), q) for sid, t, r, v, q in f] for i, f in enumerate(steady(3))]
    rows, slid = one_by_one(frames, 1)
    assert 10 < slid < len(frames) - 3
    assert windows_of(rows) == windows_of(one_by_one(frames, 0)[0])


def test_values_too_far_apart_are_not_counted_at_all():
    frames = [[(sid, t, r, 10.0 ** (i % 9), q) for i, (sid, t, r, _, q) in enumerate(f)] for f in steady(4)]
    assert one_by_one(frames, 1)[1] == 0


# the counts alone


class Panes:
    """A ring of a few rows with readings put into it pane by pane, and the counts beside it."""

    def __init__(self, rows, rows_max, step=1):
        self.ring = PaneRing(LENGTHS[-1] + 8, PANE_US, len(LENGTHS))
        self.counts = Histograms(LENGTHS, rows_max, step)
        for part in (self.ring, self.counts):
            part.grow(rows)

    def put(self, row, pane, values):
        rows, pane = np.array([row]), np.array([pane])
        self.ring.open(rows, np.minimum(pane, np.maximum(self.ring.oldest[rows], pane - 1)), pane)
        cells = np.repeat(self.ring.cells(rows, pane), len(values))
        nothing = np.zeros(len(values), np.int32)
        place = np.arange(len(values)) * 1000 + int(self.ring.n[cells[0]])
        self.ring.add(cells, place, np.array(values), nothing, place, nothing > 0, nothing)

    def both(self, rows, ends):
        """Quantiles with the counts and without."""
        expected = np.full(len(rows), np.nan)
        windows = [evaluate(self.ring, rows, ends, LENGTHS, expected, one) for one in (self.counts, None)]
        return [one.quantiles for one in windows]


def test_more_rows_than_places_take_turns():
    panes, rng = Panes(6, 2), np.random.default_rng(5)
    for pane in range(100, 130):
        rows = np.arange(6) if pane < 112 else np.array([4, 5])  # the others fall silent
        for row in rows.tolist():
            panes.put(row, pane, rng.normal(20, 1, 10).round(2))
        had = panes.counts.slid
        np.testing.assert_array_equal(*panes.both(rows, np.full(len(rows), pane)))
        found = panes.counts.slid - had
        assert found == 0 if pane == 100 else found <= 2
    assert found == 2
    assert sorted(panes.counts._owner.tolist()) == [4, 5]


def test_counts_that_do_not_fit_16_bits_are_not_kept():
    panes, rng, slid = Panes(1, 1), np.random.default_rng(6), []
    panes.counts._count_max = 60
    for pane in range(100, 140):
        panes.put(0, pane, rng.normal(20, 1, 5 if pane < 120 else 9).round(2))
        np.testing.assert_array_equal(*panes.both(np.array([0]), np.array([pane])))
        slid.append(panes.counts.slid)
    assert slid[19] == 19
    assert slid[-1] == slid[26]


@slow
@given(st.integers(0, 2**32), st.sampled_from([1, 3]), st.sampled_from([1, 2, 5]))
def test_any_calls_give_what_the_panes_give(seed, rows_max, step):
    rng = np.random.default_rng(seed)
    panes, newest = Panes(3, rows_max, step), np.array([100, 200, 300])
    for _ in range(40):
        rows, ends = [], []
        for row in range(3):
            moved = int(rng.choice([0, 1, 1, 1, 2, 3, 12], p=[0.1, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1]))
            for pane in range(newest[row] + 1, newest[row] + moved + 1):
                if rng.random() < 0.9:
                    panes.put(row, pane, rng.normal(20, rng.choice([1.0, 1.0, 9.0]), rng.integers(1, 9)).round(2))
                if pane % step == 0:
                    rows.append(row)
                    ends.append(pane)
            newest[row] += moved
            if rng.random() < 0.1:
                panes.put(row, int(newest[row]), [rng.normal(20, 1)])
                panes.counts.forget(np.array([row]))
        if rows:
            rows, ends = np.array(rows), np.array(ends)
            np.testing.assert_array_equal(*panes.both(rows, ends))
            panes.ring.compact(np.unique(panes.ring.window_cells(rows, ends, 1)[0])[1:])


def test_quantiles_of_kept_counts_are_those_of_the_entries():
    panes, rng = Panes(40, 40), np.random.default_rng(7)
    sizes = rng.integers(4, 200, 40)
    codes = [codes_of(rng.normal(20, 1, n)) for n in sizes]
    among = np.array([sizes // 4, sizes // 2, sizes])
    together = entries_of(np.concatenate(codes))
    expected = quantiles(together, among, PER_MILLE)
    rows = np.arange(40)
    panes.counts.keep(rows, np.full(40, 7), together, among, expected[-1])
    index, empty = panes.counts._find(panes.counts._place[rows], PER_MILLE)
    base = panes.counts._base[panes.counts._place[rows]]
    assert not empty.any()
    for w, q, row in np.ndindex(expected.shape):
        own = np.sort(codes[row][: among[w, row]])
        assert base[row] + index[w, q, row] == own[-(-PER_MILLE[q] * len(own) // 1000) - 1]


def test_an_empty_window_among_counted_ones_is_no_number():
    frames = steady(8)
    del frames[20:22]
    rows, slid = one_by_one(frames, 1)
    assert slid >= len(frames) - 3
    assert windows_of(rows) == windows_of(one_by_one(frames, 0)[0])
