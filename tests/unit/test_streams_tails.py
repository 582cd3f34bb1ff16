"""Decades of rarity are what they say, and what has come too often is not rare any more."""

from __future__ import annotations

import numpy as np
import pytest

from streams.record import Record
from streams.tails import MeanTail, Precedents, QuantileTail

SERIES, N, KNOWN = 200, 3_000, 500
TAILS = {
    "exponential": lambda rng: rng.exponential(5, (N, SERIES)),
    "normal": lambda rng: np.abs(rng.normal(0, 2, (N, SERIES))),
    "heavy": lambda rng: np.abs(rng.standard_t(4, (N, SERIES))),
    "small": lambda rng: 1e-7 * rng.exponential(1, (N, SERIES)),
}


def quantile_decades(values):
    record = Record()
    tail = QuantileTail(record, 1)
    state = record.rows(SERIES).T.copy()
    steps = [
        tail.decades(state, np.full(SERIES, float(n)), np.full(SERIES, 1 / (n + 1)), values[n : n + 1])[0]
        for n in range(len(values))
    ]
    return np.array(steps)


@pytest.mark.parametrize("name", TAILS)
def test_decades_are_those_of_the_tail_probability(name):
    found = quantile_decades(TAILS[name](np.random.default_rng(1)))[KNOWN:]
    for decades in (1.5, 2.0, 2.5):
        share = np.mean(found >= decades) * 10**decades
        assert 0.5 <= share <= 2, (decades, share)


def test_a_threshold_that_nothing_passes_comes_down():
    values = np.random.default_rng(5).exponential(1, (2 * N, SERIES))
    values[:300] *= 50
    found = quantile_decades(values)
    assert 0.03 <= np.mean(found[5_000:] > 0) <= 0.08


def test_one_giant_does_not_hide_the_next():
    values = np.random.default_rng(2).exponential(1, (N, SERIES))
    values[2_000] = values[2_500] = 60.0
    found = quantile_decades(values)
    assert np.median(found[2_500]) > 6
    assert np.median(found[2_500]) < np.median(found[2_000])


def test_sizes_around_a_mean_are_judged_by_it():
    record = Record()
    tail = MeanTail(record)
    state = record.rows(SERIES).T.copy()
    values = np.random.default_rng(3).exponential(5, (N, SERIES))
    steps = [tail.decades(state, np.full(SERIES, float(n)), np.full(SERIES, 1 / (n + 1)), values[n]) for n in range(N)]
    share = np.mean(np.array(steps)[KNOWN:] >= 2) * 100
    assert 0.5 <= share <= 2


def claims(decades, n, blocks):
    """What is left of the same claim in each of some blocks of time, one reading each, after `n` quiet readings."""
    record = Record()
    precedents = Precedents(record, 100, 20_000)
    state = record.rows(1).T.copy()
    left = []
    for i in range(blocks):
        precedents.enter(state, np.zeros(1, np.int64))
        left.append(float(precedents.decades(state, np.array([float(n + i)]), np.array([decades]))[0]))
        again = precedents.decades(state, np.array([float(n + i)]), np.array([decades]))
        assert again.shape == (1,)
    return left


def test_a_claim_without_precedent_stands_as_far_as_so_many_readings_bear_it():
    assert claims(3.5, 100, 1) == [3.5]
    assert claims(3.5, 20_100, 1) == [3.5]


def test_precedents_lower_a_claim_towards_their_share():
    left = claims(3.0, 2_100, 40)
    assert left[0] == 3.0
    assert np.all(np.diff(left) < 1e-3)
    share = 39.5 / (2_039 + 500)
    assert left[-1] == pytest.approx(-np.log10(share), abs=0.02)


def test_a_greater_claim_is_never_left_with_less():
    record = Record()
    precedents = Precedents(record, 100, 20_000)
    state = record.rows(1).T.copy()
    rng = np.random.default_rng(4)
    for n in range(100, 3_000):
        precedents.enter(state, np.zeros(1, np.int64))
        precedents.decades(state, np.array([float(n)]), rng.exponential(0.8, 1))
    claimed = np.linspace(1, 9, 500)
    many = np.repeat(state, len(claimed), axis=1)
    left = precedents.decades(many, np.full(len(claimed), 3_000.0), claimed)
    assert np.all(np.diff(left) >= 0)
    assert np.all(left <= claimed)
