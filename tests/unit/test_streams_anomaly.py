"""The score is a tail probability on every series, finds what was planted, and does not depend on batches."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from pulssi.errors import ConfigurationError
from streams.anomaly import Cause, EvidenceDetector, Scores
from streams.season import Calendar

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


def slow(rng, shape, stays=0.95):
    values = rng.normal(0, 1, shape)
    for t in range(1, shape[0]):
        values[t] = stays * values[t - 1] + np.sqrt(1 - stays**2) * values[t]
    return values


def bursts(rng, shape):
    values, variance = rng.normal(0, 1, shape), np.ones(shape[1:])
    for t in range(shape[0]):
        values[t] *= np.sqrt(variance)
        variance = 0.05 + 0.1 * values[t] ** 2 + 0.85 * variance
    return values


NOISES = {
    "normal": lambda rng, shape: rng.normal(20, 2, shape),
    "small": lambda rng, shape: 1e-6 * rng.normal(0, 1, shape),
    "heavy": lambda rng, shape: rng.standard_t(3, shape),
    "skewed": lambda rng, shape: rng.exponential(5, shape),
    "very skewed": lambda rng, shape: rng.lognormal(0, 1, shape),
    "rounded": lambda rng, shape: np.round(rng.normal(400, 1.5, shape)),
    "few": lambda rng, shape: rng.poisson(0.3, shape).astype(np.float64),
    "slow": slow,
    "slower": lambda rng, shape: slow(rng, shape, 0.995),
    "bursts": bursts,
    "steps": lambda rng, shape: np.repeat(rng.normal(0, 1, (shape[0] // 40, *shape[1:])), 40, axis=0),
}
LIKE_THE_LAW = ["heavy", "skewed", "very skewed"]
"""Those whose tails are not lighter than the exponential, so that the score says not too little either."""
ONE_OFF = ["normal", "small", "heavy", "skewed", "rounded"]
RARE = {
    "values": lambda rng, shape: np.where(rng.random(shape) < 0.01, rng.normal(0, 1, shape), 0.0),
    "flags": lambda rng, shape: (rng.random(shape) < 0.002).astype(np.float64),
}
KNOWN = 400


@pytest.mark.parametrize("interval", [MINUTE, INTERVAL])
@pytest.mark.parametrize("noise", NOISES)
def test_noise_scores_no_more_often_than_the_score_says(noise, interval):
    score = together(NOISES[noise](np.random.default_rng(3), (2_000, 100)), interval).score
    n = np.arange(KNOWN, 2_000) + 1
    for threshold in (0.9, 0.99, 0.999, 0.9999):
        share, claim = np.mean(score[KNOWN:] >= threshold), (1 - threshold) * np.mean(EvidenceDetector.SCORED_FROM / n)
        assert share <= 1 - threshold, (threshold, share)
        if threshold < 0.9999:  # of what there is enough to count
            assert share <= 4 * claim, (threshold, share, claim)
            assert share >= claim / 4 or noise not in LIKE_THE_LAW, (threshold, share, claim)


@pytest.mark.parametrize("noise", RARE)
def test_what_is_rare_is_news_only_the_first_times(noise):
    scores = together(RARE[noise](np.random.default_rng(3), (4_000, 100)), MINUTE)
    alarms = scores.fresh & (scores.score >= 0.9999)
    assert np.mean(alarms.sum(axis=0)) <= 1.5
    assert np.mean(alarms[2_000:].sum(axis=0)) <= 0.5


@pytest.mark.parametrize("noise", ONE_OFF)
def test_what_never_happened_before_scores_near_one_and_is_fresh_once(noise):
    values = NOISES[noise](np.random.default_rng(4), 3_000)
    values[2_900:2_905] = np.median(values) + 12 * (np.percentile(values, 99) - np.percentile(values, 1))
    scores = alone(values)
    assert scores.score[2_900] > 0.99
    assert scores.fresh[2_900]
    assert np.count_nonzero(scores.fresh[2_900:] & (scores.score[2_900:] > 0.99)) <= 3


AT, LASTS, SERIES = 35 * DAY + 7, DAY - 9, 40
ALERT = 0.9


def fast(rng, n=N):
    """Seven readings from one maximum to the next, so that no time of the day is like another day's."""
    return 20 + 5 * np.sin(np.arange(n) * 2 * np.pi / 7) + rng.normal(0, 0.5, n)


def shifted(values, _):
    values[AT:] += 8


def spiked(values, _):
    values[AT : AT + 2] += 10


def dropped(values, _):
    values[AT : AT + LASTS] -= 8


def half_a_day_late(values, _):
    values[AT : AT + DAY] = values[AT - DAY // 2 : AT + DAY // 2].copy()


def spread(values, rng):
    values[AT : AT + LASTS] += rng.normal(0, 3, LASTS)


def slowed(values, _):
    values[AT : AT + LASTS] = values[AT : AT + LASTS // 3].repeat(3)


PLANTED = {
    "shifted": (daily, shifted, Cause.LEVEL, 0.95),
    "spiked": (daily, spiked, Cause.LEVEL, 0.95),
    "dropped": (daily, dropped, Cause.LEVEL, 0.95),
    "half a day late": (daily, half_a_day_late, Cause.LEVEL, 0.95),
    "spread": (daily, spread, Cause.SPREAD, 0.75),
    "slowed": (fast, slowed, Cause.SHAPE, 0.6),
}
"""Series, what happens to it, the cause that is right, and the least share that must have it: of alerts where the first
unusual reading can tell, else of unusual readings."""


def scored(name):
    """Scores of many series to which the same happens."""
    series, happens, _, _ = PLANTED[name]
    columns = []
    for seed in range(SERIES):
        rng = np.random.default_rng(seed)
        values = series(rng)
        happens(values, rng)
        columns.append(values)
    return together(np.stack(columns, axis=1))


@pytest.fixture(scope="module", params=PLANTED)
def event(request):
    """What happens, and the scores."""
    return request.param, scored(request.param)


def test_what_happens_is_found_and_little_else(event):
    _, scores = event
    alarms = scores.fresh & (scores.score >= ALERT)
    assert np.mean(alarms[AT : AT + DAY].any(axis=0)) >= 0.95
    assert np.count_nonzero(alarms[:AT]) <= SERIES * AT * 2e-3


def test_the_cause_is_told(event):
    name, scores = event
    _, _, cause, least = PLANTED[name]
    unusual = scores.score[AT : AT + LASTS] >= ALERT
    if cause == Cause.LEVEL:
        unusual &= scores.fresh[AT : AT + LASTS]
    share = np.mean(scores.cause[AT : AT + LASTS][unusual] == cause)
    assert share >= least, share


def test_an_event_is_one_alert_or_each_is_more_unusual_than_the_one_before(event):
    name, scores = event
    alarms = (scores.fresh & (scores.score >= ALERT))[AT : AT + DAY]
    assert alarms.sum() <= SERIES * (1.2 if PLANTED[name][2] == Cause.LEVEL else 3.5)
    for series in range(SERIES):
        assert np.all(np.diff(scores.score[AT : AT + DAY, series][alarms[:, series]]) > 0)


def test_the_expected_range_holds_what_would_have_come():
    scores = scored("dropped")
    usual = np.stack([daily(np.random.default_rng(seed)) for seed in range(SERIES)], axis=1)
    off = np.abs(usual - scores.expected)[AT : AT + 12]
    assert np.mean(off <= 3 * scores.spread[AT : AT + 12]) >= 0.95
    assert np.all((scores.spread[AT] > 0.2) & (scores.spread[AT] < 1.0))


def test_a_jump_is_found_however_far_the_series_has_wandered():
    """Compared with its season alone, a series that wanders by 10 would hide a jump of 8."""
    rng = np.random.default_rng(1)
    values = 10 * slow(rng, (3_000, SERIES), 0.9998) + rng.normal(0, 0.5, (3_000, SERIES))
    values[2_900:] += 8
    scores = together(values)
    assert np.mean((scores.fresh & (scores.score >= ALERT))[2_900:2_910].any(axis=0)) >= 0.9


def test_a_value_usual_at_noon_is_unusual_at_midnight():
    values = daily(np.random.default_rng(2))
    midnight, noon = values.copy(), values.copy()
    midnight[35 * DAY + 36] = 25  # the least of the day
    noon[35 * DAY + 12] = 25
    assert alone(midnight).score[35 * DAY + 36] > 0.9999
    assert alone(noon).score[35 * DAY + 12] < 0.999


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


def instants(*local):
    """us of naive local times of Helsinki."""
    zone = ZoneInfo("Europe/Helsinki")
    moments = [datetime.fromisoformat(one).replace(tzinfo=zone) for one in local]
    return np.array([int(moment.timestamp()) * 1_000_000 for moment in moments])


def test_slots_are_of_local_days_and_weeks_with_holidays_as_sundays():
    some = ("2026-01-05T08:29", "2026-07-06T08:30", "2026-12-06T23:59", "2025-12-25T10:00", "2026-02-02T00:00")
    day, week = Calendar("Europe/Helsinki", "FI").slots(instants(*some))
    assert day.tolist() == [16, 17, 47, 20, 0]
    monday, sunday = 48, 48 + 6 * 24
    assert week.tolist() == [monday + 8, monday + 8, sunday + 23, sunday + 10, monday]
    assert Calendar("Europe/Helsinki").slots(instants("2025-12-25T10:00"))[1].tolist() == [48 + 3 * 24 + 10]


def test_times_beyond_every_calendar_have_slots():
    limits = np.iinfo(np.int64)
    slots = Calendar("Europe/Helsinki", "FI").slots(np.array([limits.min, -1, 0, limits.max]))
    assert slots.min() >= 0
    assert slots.max() < 216


def by_day(rng, days):
    """Times and values of a series that is silent from 22 to 6 h."""
    times = np.arange(days * DAY) * INTERVAL
    hour = times // (60 * MINUTE) % 24
    values = 20 + 5 * np.sin(np.arange(len(times)) * 2 * np.pi / DAY) + rng.normal(0, 0.5, len(times))
    some = (hour >= 6) & (hour < 22)
    return times[some], values[some]


@pytest.mark.parametrize(("value", "unusual"), [(19.0, False), (45.0, True)])
def test_a_half_hour_that_is_new_is_judged_by_those_around_it(value, unusual):
    times, values = by_day(np.random.default_rng(7), 30)
    midnight = 30 * DAY * INTERVAL
    times = np.append(times, midnight + np.arange(3) * 10 * MINUTE)
    values = np.append(values, np.full(3, value))
    scores = fresh().update(np.zeros(len(times), np.int64), times, values)
    assert np.all((scores.score[-3:] > ALERT) == unusual)
    assert np.all((scores.expected[-3:-1] > 15) & (scores.expected[-3:-1] < 35))


def test_nobody_knows_the_holidays_of_nowhere():
    with pytest.raises(ConfigurationError, match=r"streams\.holidays"):
        Calendar("UTC", "QQ")


def weekly(rng, weeks):
    """A series that is low on Saturdays and Sundays, every hour."""
    hour = np.arange(weeks * 168)
    return np.where(hour % 168 >= 120, 5.0, 20.0) + rng.normal(0, 0.5, len(hour))


def test_the_week_is_expected_once_it_is_known():
    values = weekly(np.random.default_rng(1), 60)
    tuesday = 59 * 168 + 36
    values[tuesday] = 5.0  # like a Sunday
    monday = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000
    scores = fresh().update(np.zeros(len(values), np.int64), monday + np.arange(len(values)) * 60 * MINUTE, values)
    off = np.abs(values - scores.expected)
    assert off[168 : 2 * 168].mean() > 3
    assert off[5 * 168 : tuesday].mean() < 0.5
    assert not np.any(scores.score[5 * 168 : tuesday] > 0.9)
    assert scores.score[tuesday] > 0.95


def test_an_event_is_fresh_again_after_a_day():
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1, 3_000)
    values[[2_000, 2_030, 2_000 + 3 * DAY]] = 30.0, 28.0, 30.0
    scores = alone(values)
    assert scores.fresh[[2_000, 2_030, 2_000 + 3 * DAY]].tolist() == [True, False, True]
