"""The score is a tail probability on every series, finds what was planted, and does not depend on batches."""

from __future__ import annotations

import numpy as np
import pytest

from streams.anomaly import Cause, EvidenceDetector, Scores

MINUTE = 60_000_000
INTERVAL = 30 * MINUTE
DAY = 48
N = 40 * DAY


def fresh(rows=1):
    detector = EvidenceDetector()
    detector.grow(rows)
    return detector


def together(values, interval=INTERVAL, detector=None, start=0):
    """Scores of [time, series] values; each attribute is [time, series] too."""
    n, series = values.shape
    detector = detector or fresh(series)
    steps = [
        detector.update(np.arange(series), np.full(series, start + t * interval, np.int64), values[t]) for t in range(n)
    ]
    return Scores(*(np.array(column) for column in zip(*steps, strict=True)))


def alone(values, interval=INTERVAL):
    return Scores(*(column[:, 0] for column in together(np.asarray(values, np.float64)[:, None], interval)))


def daily(rng, n=N):
    return 20 + 5 * np.sin(np.arange(n) * 2 * np.pi / DAY) + rng.normal(0, 0.5, n)


NOISES = {
    "normal": lambda rng, shape: rng.normal(20, 2, shape),
    "small": lambda rng, shape: 1e-6 * rng.normal(0, 1, shape),
    "heavy": lambda rng, shape: rng.standard_t(3, shape),
    "skewed": lambda rng, shape: rng.exponential(5, shape),
    "rounded": lambda rng, shape: np.round(rng.normal(400, 1.5, shape)),
}


@pytest.mark.parametrize("noise", NOISES)
def test_one_threshold_means_the_same_on_every_series(noise):
    score = together(NOISES[noise](np.random.default_rng(3), (2_000, 60))).score[750:]
    for threshold in (0.9, 0.99, 0.999):
        share = np.mean(score >= threshold)
        assert (1 - threshold) / 4 <= share <= 4 * (1 - threshold), (threshold, share)


@pytest.mark.parametrize("noise", NOISES)
def test_what_never_happened_before_scores_near_one_and_is_fresh_once(noise):
    values = NOISES[noise](np.random.default_rng(4), 3_000)
    values[2_900:2_905] = np.median(values) + 12 * (np.percentile(values, 99) - np.percentile(values, 1))
    scores = alone(values)
    assert scores.score[2_900] > 0.99999
    assert scores.fresh[2_900]
    assert np.count_nonzero(scores.fresh[2_900:] & (scores.score[2_900:] > 0.9999)) <= 3


def planted(name, values, at):
    """Cause that is right for what is planted at a row of the values, which are changed."""
    if name == "level":
        values[at:] += 8
    elif name == "spread":
        values[at:] += np.where(np.arange(len(values) - at) % 2, 4.0, -4.0)
    elif name == "season":
        values[at : at + DAY] = values[at - DAY // 2 : at + DAY // 2].copy()
    return values


@pytest.mark.parametrize("name", ["level", "spread", "season"])
def test_a_planted_change_is_found_and_little_else(name):
    at, seeds = 35 * DAY + 7, 10
    values = [planted(name, daily(np.random.default_rng(seed)), at) for seed in range(seeds)]
    scores = together(np.stack(values, axis=1))
    alarms = scores.fresh & (scores.score >= 0.999)
    assert np.all(alarms[at : at + DAY].any(axis=0))
    assert np.count_nonzero(alarms[:at]) <= seeds * at * 2e-3


def test_a_shift_of_the_level_is_told_as_one():
    at = 35 * DAY + 7
    scores = alone(planted("level", daily(np.random.default_rng(1)), at))
    assert scores.cause[at] == Cause.LEVEL
    expected, spread = scores.expected[at], scores.spread[at]
    assert abs(expected - (20 + 5 * np.sin(at * 2 * np.pi / DAY))) < 1
    assert 0.2 < spread < 1.0


def test_a_value_usual_at_noon_is_unusual_at_midnight():
    values = daily(np.random.default_rng(2))
    midnight, noon = values.copy(), values.copy()
    midnight[35 * DAY + 36] = 25  # the least of the day
    noon[35 * DAY + 12] = 25
    assert alone(midnight).score[35 * DAY + 36] > 0.9999
    assert alone(noon).score[35 * DAY + 12] < 0.999


def test_a_series_that_freezes_shows():
    values = daily(np.random.default_rng(5))
    values[35 * DAY :] = values[35 * DAY]
    scores = alone(values)
    assert scores.score[35 * DAY : 36 * DAY].max() > 0.9999


def test_the_reading_that_ends_a_silence_says_so():
    detector = fresh()
    rng = np.random.default_rng(6)
    together(rng.normal(0, 1, (500, 1)), detector=detector)
    after = together(rng.normal(0, 1, (3, 1)), detector=detector, start=530 * INTERVAL)
    assert after.cause[0] == Cause.SILENCE
    assert after.cause[1] != Cause.SILENCE


def test_nothing_is_scored_before_the_series_is_known():
    assert not alone([1, 2, 1, 2, 50, 1] * 8).score.any()


def test_a_constant_series_is_calm():
    scores = alone([5.0] * 2_000)
    assert not np.any(scores.fresh & (scores.score >= 0.999))
    assert np.all(scores.expected == 5.0)


def test_it_learns_a_new_level():
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(0, 1, 2_000), rng.normal(40, 1, 2_000)])
    scores = alone(values)
    assert scores.score[2_000] > 0.9999
    assert np.mean(scores.score[3_000:] > 0.999) < 0.02


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300, -1e300])
def test_extreme_numbers_give_a_score_between_0_and_1(value):
    values = np.random.default_rng(8).normal(0, 1, 400)
    values[[120, 121, 300]] = value
    scores = alone(values)
    assert np.all((scores.score >= 0) & (scores.score <= 1))
    assert np.all(np.isfinite(scores.expected))
    assert np.all(np.isfinite(scores.spread))
