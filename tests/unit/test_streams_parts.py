"""Facts of the parts that the processor of readings is made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulssi.errors import PoisonError, Reason
from pulssi.messages import SeriesInfo
from streams.blob import pack, unpack
from streams.cadence import INTERVALS, Cadence
from streams.catalogue import Catalogue
from streams.grouping import Runs, order_by, ranges, running_max, shifted, starts_of
from streams.lists import Lists
from streams.quality.single import range_flags
from streams.series_table import SeriesTable
from streams.sketch import (
    NO_CODE,
    RELATIVE_ERROR,
    codes_of,
    entries_of,
    merge,
    quantiles,
    quantiles_of_rows,
    values_of,
)

S = 1_000_000
numbers = st.floats(-1e30, 1e30).filter(lambda x: x == 0 or abs(x) > 1e-30)


# grouping


@given(st.lists(st.integers(0, 5), max_size=50))
def test_order_by_is_a_stable_sort(keys):
    keys = np.array(keys, np.int64)
    assert order_by(keys).tolist() == np.argsort(keys, kind="stable").tolist()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9) | st.integers(-(2**62), 2**62)), max_size=60))
def test_running_max_and_shift_stay_within_their_runs(rows):
    rows.sort(key=lambda row: row[0])
    keys, values = (np.array([row[i] for row in rows], np.int64) for i in range(2))
    starts = starts_of(keys)
    best, before = [], []
    for i, (key, value) in enumerate(rows):
        same = i > 0 and rows[i - 1][0] == key
        best.append(max(best[-1], value) if same else value)
        before.append(rows[i - 1][1] if same else 100 + key)
    assert running_max(values, starts).tolist() == best
    assert shifted(values, starts, 100 + keys[starts]).tolist() == before


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8), st.booleans())
def test_runs_say_the_same_whether_each_is_one_row_or_more(rows, distinct):
    rows.sort(key=lambda row: row[0])
    rows = list(dict(rows).items()) if distinct else rows
    keys, values = (np.array([row[i] for row in rows], np.int64) for i in range(2))
    runs, own = Runs(keys), sorted(set(keys.tolist()))
    before = 3 * np.arange(len(own))
    groups = [[value for key, value in rows if key == one] for one in own]
    assert runs.first(values).tolist() == [group[0] for group in groups]
    assert runs.last(values).tolist() == [group[-1] for group in groups]
    assert runs.least(values).tolist() == [min(group) for group in groups]
    assert runs.lengths.tolist() == [len(group) for group in groups]
    started = [[first, *group] for first, group in zip(before.tolist(), groups, strict=True)]
    inside = [(group[: i + 1], group[i]) for group in started for i in range(1, len(group))]
    assert runs.spread(before).tolist() == [so_far[0] for so_far, _ in inside]
    assert runs.shifted(values, before).tolist() == [so_far[-2] for so_far, _ in inside]
    assert runs.running_max(values, before).tolist() == [max(so_far) for so_far, _ in inside]
    assert runs.running_sum(values, before).tolist() == [sum(so_far) for so_far, _ in inside]
    rising = runs.running_sum(values, before)
    run = np.flatnonzero(runs.last(rising) > before)
    wanted = runs.last(rising)[run]
    found = runs.reaching(rising, before, run, wanted)
    expected = [np.flatnonzero((keys == own[i]) & (rising >= one))[0] for i, one in zip(run, wanted, strict=True)]
    assert found.tolist() == expected


def test_ranges_run_one_after_the_other():
    values, owner = ranges(np.array([5, 9, 2]), np.array([2, 0, 3]))
    assert values.tolist() == [5, 6, 2, 3, 4]
    assert owner.tolist() == [0, 0, 2, 2, 2]


# sketch


@given(st.lists(numbers, min_size=1, max_size=200))
def test_a_code_is_within_the_stated_error_and_sorts_as_its_value(values):
    values = np.array(sorted(values))
    codes = codes_of(values)
    assert (np.diff(codes.astype(np.int64)) >= 0).all()
    close = np.abs(values_of(codes) - values) <= (RELATIVE_ERROR + 1e-6) * np.abs(values)
    assert (close | (values == 0)).all()
    assert np.abs(values_of(codes_of(np.zeros(1)))[0]) < 1e-38


def test_values_beyond_float32_keep_their_sign_and_order():
    codes = codes_of(np.array([-1e308, -3.0, 0.0, 3.0, 1e308]))
    assert (np.diff(codes.astype(np.int64)) > 0).all()


@given(st.lists(st.lists(numbers, max_size=40), max_size=5), st.booleans())
def test_quantiles_of_entries_are_the_nearest_ranks(values, merged):
    codes = [codes_of(np.array(some, np.float64)) for some in values]
    entries = [entries_of(some) for some in codes]
    if merged:
        entries = [merge(np.zeros(len(some), np.int64), some)[1] if len(some) else some for some in entries]
    counts = np.array([len(some) for some in entries], np.int64)
    together = np.concatenate([*entries, np.zeros(0, np.uint32)])
    found = quantiles(together, counts[None], (500, 950, 990))[0]
    for who, some in enumerate(codes):
        mine = sorted(some.tolist())
        for i, q in enumerate((500, 950, 990)):
            if not mine:
                assert np.isnan(found[i, who])
                continue
            code = mine[max(-(-q * len(mine) // 1000), 1) - 1]
            assert found[i, who] == values_of(np.array([code], np.uint16))[0]


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_of_long_lists_are_the_nearest_ranks_too(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 3000, 300)
    codes = codes_of(rng.normal(0, 10.0 ** rng.integers(-2, 5), counts.sum()).round(2))
    entries = entries_of(codes) + rng.integers(0, 3, len(codes)).astype(np.uint32)
    starts = np.cumsum(counts) - counts
    few = counts // rng.integers(2, 9, 300)
    found, all_of_few = quantiles(entries, np.array([few, counts]), (500, 950, 990))[::-1]
    alone = [entries[start : start + count] for start, count in zip(starts, few, strict=True)]
    np.testing.assert_array_equal(all_of_few, quantiles(np.concatenate(alone), few[None], (500, 950, 990))[0])
    for who, (start, count) in enumerate(zip(starts, counts, strict=True)):
        mine = slice(start, start + count)
        ordered = np.sort(np.repeat(codes[mine], entries[mine] & 0xFFFF))
        ranks = [-(-q * len(ordered) // 1000) - 1 for q in (500, 950, 990)]
        assert found[:, who].tolist() == values_of(ordered[ranks]).tolist()


@given(st.lists(st.lists(numbers | st.none(), min_size=6, max_size=6), max_size=20))
def test_quantiles_of_rows_are_those_of_entries(rows):
    values = np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64).reshape(-1, 6)
    filled = ~np.isnan(values)
    codes = np.full(values.shape, NO_CODE)
    codes[filled] = codes_of(values[filled])
    counts = np.array([filled[:, :2].sum(axis=1), filled.sum(axis=1)])
    expected = quantiles(entries_of(codes[filled]), counts, (500, 950, 990))
    np.testing.assert_array_equal(quantiles_of_rows(codes, (2, 6), (500, 950, 990)), expected)


# lists


@given(st.lists(st.one_of(st.tuples(st.integers(0, 6), st.integers(1, 40)), st.integers(0, 6)), max_size=30))
def test_lists_hold_what_dictionaries_hold(steps):
    lists, told, number = Lists(np.uint32, 4), {cell: [] for cell in range(7)}, 0
    lists.grow(7)
    for step in steps:
        if isinstance(step, int):
            lists.clear(np.array([step]))
            told[step] = []
            continue
        cell, n = step
        values = list(range(number, number + n))
        number += n
        other = (cell + 1) % 7
        cells = np.array([cell] * n + [other], np.int64)
        lists.append(cells, np.array([*values, number], np.uint32))
        told[cell] += values
        told[other].append(number)
        number += 1
    values, owner = lists.gather(np.arange(7))
    for cell in range(7):
        assert sorted(values[owner == cell].tolist()) == sorted(told[cell])
        for value in range(0, number, 7):
            found = lists.contains(np.array([cell]), np.array([value], np.uint32), 0)
            assert found.tolist() == [value in told[cell]]


# series table


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), max_size=40), max_size=8))
def test_rows_are_dense_in_the_order_of_first_sight(batches):
    table, told = SeriesTable(50), {}
    for batch in batches:
        rows = table.rows_of(np.array(batch, np.int64))
        for series, row in zip(batch, rows.tolist(), strict=True):
            if series not in told:
                told[series] = len(told) if len(told) < 50 else -1
            assert row == told[series]
    assert table.ids.tolist() == [series for series, row in told.items() if row >= 0]


def test_the_table_grows_past_its_first_size():
    ids = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 20_000)
    table = SeriesTable(100_000)
    for part in np.array_split(ids, 7):
        table.rows_of(part)
    assert table.rows_of(ids).tolist() == list(range(20_000))


# blob


def test_a_blob_gives_back_every_bit():
    arrays = {"a": np.array([1.5, np.nan, -0.0]), "b": np.zeros((0, 3), np.int64), "c": np.arange(6).reshape(2, 3)}
    facts, again = unpack(pack(3, {"clock": 7, "windows": [1, 2]}, arrays), 3)
    assert facts == {"clock": 7, "windows": [1, 2]}
    for name, array in arrays.items():
        assert again[name].tobytes() == array.tobytes()
        assert again[name].shape == array.shape
        assert again[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:3], "damaged"),
        (lambda data: data[:-1], "damaged"),
        (lambda data: data + b"x", "instead of"),
        (lambda data: b"other" + data, "not a snapshot"),
    ],
)
def test_a_damaged_blob_is_poison(damage, words):
    with pytest.raises(PoisonError, match=words) as caught:
        unpack(damage(pack(1, {}, {"a": np.arange(4)})), 1)
    assert caught.value.reason is Reason.BAD_RECORD


def test_a_blob_of_another_version_is_refused():
    with pytest.raises(PoisonError, match="version 2, not 1"):
        unpack(pack(2, {}, {}), 1)


# catalogue


def test_limits_follow_the_quantity_and_unknown_series_have_none():
    catalogue = Catalogue()
    catalogue.add(SeriesInfo(series_id=5, device_id="d", quantity="humidity", unit="%RH", kind="weather"))
    limits = catalogue.limits(np.array([9, 5]))
    assert limits.low.tolist() == [-np.inf, 0.0]
    assert limits.high.tolist() == [np.inf, 100.0]
    assert limits.step_max.tolist() == [np.inf, 40.0]
    assert catalogue.missing(np.array([9, 5])).tolist() == [9]


# quality checks


def test_range_is_closed_at_both_ends():
    flags = range_flags(np.array([-0.1, 0.0, 5.0, 5.1]), np.zeros(4), np.full(4, 5.0))
    assert flags.tolist() == [1, 0, 0, 1]


# cadence


def test_the_cadence_is_the_median_of_the_first_intervals_and_counts_one_window_later():
    cadence = Cadence(60 * S, 5)
    cadence.grow(2)
    intervals = np.array([10, 10, 10, 11, 9, 300] * 3)[: INTERVALS + 2] * S
    times = np.cumsum(intervals)
    cadence.learn(np.full(len(times), 1), times, times - intervals, np.ones(len(times), np.bool_))
    last = int(times[INTERVALS - 1]) // (60 * S)
    ends = np.array([last + 4, last + 5])
    rows, unknown = np.array([1, 1]), np.full(2, np.nan)
    assert np.isnan(cadence.per_pane(rows, ends, unknown)).tolist() == [True, False]
    assert cadence.per_pane(rows, ends, unknown)[1] == 6.0
    assert cadence.per_pane(rows, ends, np.full(2, 30.0)).tolist() == [2.0, 2.0]
    assert np.isnan(cadence.per_pane(np.array([0]), ends[:1], unknown[:1])).all()
