"""Neither batches nor restarts nor the order of the series change a bit of what a detector says."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.anomaly import EvidenceDetector, Scores

ROWS = 5
N = 250
few = settings(max_examples=12, deadline=None)


def fresh(rows=ROWS):
    detector = EvidenceDetector()
    detector.grow(rows)
    return detector


def readings(seed):
    rng = np.random.default_rng(seed)
    rows = rng.choice(ROWS, N, p=[0.75, 0.1, 0.1, 0.04, 0.01])
    times = np.cumsum(rng.integers(1, 90_000_000, N))
    values = np.where(rng.random(N) < 0.02, 40.0, np.round(rng.normal(3, 1, N), 1)) * (1 + rows)
    return rows, times, values


def by_row(rows, some):
    return some[np.argsort(rows[some], kind="stable")]


def in_pieces(detectors, rows, times, values, cuts):
    """Scores of all readings, cut into batches; each batch is given to the next of the detectors."""
    result = None
    for i, some in enumerate(np.split(np.arange(len(rows)), cuts)):
        part = by_row(rows, some)
        found = detectors(i).update(rows[part], times[part], values[part])
        if result is None:
            result = Scores(*(np.empty(len(rows), column.dtype) for column in found))
        for column, piece in zip(result, found, strict=True):
            column[part] = piece
    return result


def assert_equal(one, other):
    for column, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(column, expected)


def copied(detector):
    """A detector made from the arrays of another, as a snapshot does."""
    other = fresh()
    for (_, part), (_, source) in zip(other.parts(), detector.parts(), strict=True):
        for name in part.COLUMNS:
            getattr(part, name)[:ROWS] = getattr(source, name)[:ROWS]
    return other


@few
@given(st.integers(0, 10**6), st.lists(st.integers(0, N), max_size=30).map(sorted))
def test_batches_change_no_bit(seed, cuts):
    data = readings(seed)
    whole, pieces = fresh(), fresh()
    expected = in_pieces(lambda _: whole, *data, [])
    assert_equal(in_pieces(lambda _: pieces, *data, cuts), expected)
    assert expected.score.max() > 0


@few
@given(st.integers(0, 10**6), st.lists(st.integers(0, N), max_size=8).map(sorted))
def test_restarts_change_no_bit(seed, cuts):
    data = readings(seed)
    whole, lives = fresh(), [fresh()]

    def reborn(_):
        lives.append(copied(lives[-1]))
        return lives[-1]

    assert_equal(in_pieces(reborn, *data, cuts), in_pieces(lambda _: whole, *data, []))


@few
@given(st.integers(0, 10**6), st.permutations(range(ROWS)))
def test_the_rows_of_the_series_change_no_bit(seed, places):
    rows, times, values = readings(seed)
    one, other = fresh(), fresh()
    moved = np.array(places)[rows]
    assert_equal(
        in_pieces(lambda _: other, moved, times, values, []), in_pieces(lambda _: one, rows, times, values, [])
    )


@few
@given(st.integers(0, 10**6))
def test_a_series_does_not_look_ahead(seed):
    rows, times, values = readings(seed)
    changed = values.copy()
    changed[N // 2 :] = -1000
    one, other = fresh(), fresh()
    before = in_pieces(lambda _: one, rows, times, values, [])
    after = in_pieces(lambda _: other, rows, times, changed, [])
    assert_equal([column[: N // 2] for column in after], [column[: N // 2] for column in before])
