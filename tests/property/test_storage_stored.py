"""What is taken for new is new: the newest stored time of each series, against a dictionary."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.newest import NOTHING, Newest

ROWS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-5, 5)), max_size=12)


def columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    series, times = zip(*rows, strict=True) if rows else ((), ())
    return np.array(series, np.int64), np.array(times, np.int64)


@given(st.lists(ROWS, max_size=8))
def test_only_rows_after_all_that_is_stored_are_new(batches):
    newest, oracle = Newest(), {}
    for rows in batches:
        series, times = columns(rows)
        assert not newest.are_new(series, times)[~np.isin(series, list(oracle))].any()  # unknown is not new
        unknown = newest.unknown(series)
        assert unknown.tolist() == sorted({one for one, _ in rows} - set(oracle))
        newest.learn(unknown, np.full(len(unknown), NOTHING))
        oracle |= dict.fromkeys(unknown.tolist(), NOTHING)
        assert newest.are_new(series, times).tolist() == [time > oracle[one] for one, time in rows]
        newest.follow(series, times)
        for one, time in rows:
            oracle[one] = max(oracle[one], time)


def test_what_is_stored_when_a_series_is_met_counts():
    newest = Newest()
    newest.learn(np.array([7, -7]), np.array([100, NOTHING]))
    series = np.array([7, 7, -7, 8])
    assert newest.are_new(series, np.array([100, 101, 0, 999])).tolist() == [False, True, True, False]
    newest.clear()
    assert not newest.are_new(series, np.array([100, 101, 0, 999])).any()
    assert newest.unknown(series).tolist() == [-7, 7, 8]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("storage.newest._SERIES_MAX", 3)
    newest = Newest()
    newest.learn(np.array([1, 2]), np.array([5, 5]))
    newest.learn(np.array([3, 4]), np.array([5, 5]))
    assert newest.unknown(np.array([1, 2, 3, 4])).tolist() == [1, 2]
