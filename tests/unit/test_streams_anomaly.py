"""The score is a tail probability on every series, and does not depend on batches."""

from __future__ import annotations

import numpy as np
import pytest

from streams.anomaly import ResidualDetector

S = 1_000_000
MINUTE = 60 * S


def series(values, start=0, step=MINUTE):
    return start + np.arange(len(values), dtype=np.int64) * step, np.asarray(values, np.float64)


def scored(detector, row, times, values):
    return detector.update(np.full(len(values), row, np.int64), times, values).score


def fresh(rows=4):
    detector = ResidualDetector(MINUTE)
    detector.grow(rows)
    return detector


NOISES = {
    "normal": lambda rng, n: rng.normal(20, 2, n),
    "small": lambda rng, n: 1e-6 * rng.normal(0, 1, n),
    "heavy": lambda rng, n: rng.standard_t(3, n),
    "skewed": lambda rng, n: rng.exponential(5, n),
    "rounded": lambda rng, n: np.round(rng.normal(400, 1.5, n)),
}


@pytest.mark.parametrize("noise", NOISES)
def test_one_threshold_means_the_same_on_every_series(noise):
    values = NOISES[noise](np.random.default_rng(3), 12_000)
    score = scored(fresh(), 0, *series(values))[4_000:]
    for threshold in (0.9, 0.99):
        share = np.mean(score >= threshold)
        assert 0.5 * (1 - threshold) <= share <= 1.7 * (1 - threshold), (threshold, share)


@pytest.mark.parametrize("noise", NOISES)
def test_what_never_happened_before_scores_near_one(noise):
    values = NOISES[noise](np.random.default_rng(4), 3_000)
    detector = fresh()
    scored(detector, 0, *series(values))
    far = np.median(values) + 12 * (np.percentile(values, 99) - np.percentile(values, 1))
    assert scored(detector, 0, *series([far], start=3_000 * MINUTE))[0] > 0.9999


def test_nothing_is_scored_before_the_level_is_known():
    assert not scored(fresh(), 0, *series([1, 2, 1, 2, 50, 1])).any()


def test_a_constant_series_is_calm_and_its_first_change_is_no_certainty():
    detector = fresh()
    assert scored(detector, 0, *series([5.0] * 500)).max() < 0.999
    assert scored(detector, 0, *series([6.0], start=500 * MINUTE))[0] < 0.999


def test_it_learns_a_new_level():
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(0, 1, 2_000), rng.normal(40, 1, 1_000)])
    score = scored(fresh(), 0, *series(values))
    assert score[2_000] > 0.9999
    assert np.mean(score[2_200:] > 0.999) < 0.02


def test_batches_change_no_bit():
    rng = np.random.default_rng(6)
    rows = np.sort(rng.integers(0, 4, 2_000))
    times = np.empty(2_000, np.int64)
    for row in range(4):
        mine = rows == row
        times[mine] = np.cumsum(rng.integers(1, 90 * S, np.count_nonzero(mine)))
    values = np.round(rng.normal(3, 1, 2_000), 1)
    whole = fresh().update(rows, times, values)
    order = np.argsort(times, kind="stable")
    pieces, detector = [np.empty(2_000) for _ in range(3)], fresh()
    for some in np.array_split(order, 97):
        part = some[np.lexsort((times[some], rows[some]))]
        for column, found in zip(pieces, detector.update(rows[part], times[part], values[part]), strict=True):
            column[part] = found
    for column, expected in zip(pieces, whole, strict=True):
        np.testing.assert_array_equal(column, expected)
    assert whole.score.max() > 0.9
