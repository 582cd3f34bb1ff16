"""The scorer gives what the benchmark published: exactly for a silent detector and a recomputed simple one.

Of the others only counts and scores were published: those fit the windows and the prices here.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from functools import cache
from math import erfc

import numpy as np
import pytest

from tests.nab_scorer import (
    FOLDER,
    PROFILES,
    Series,
    at_threshold,
    best,
    corpus,
    published,
    published_scores,
    raw_score,
    worth,
)

HALF_A_DIGIT = 5e-13  # the scores that were published had been written with twelve digits


def windowed_gaussian(values, size=6400, step=100):
    """NAB's simplest detector: tail of a normal distribution fitted to the last `size` values, every `step`."""
    window, buffer, mean, deviation = [], [], 0.0, 1.0
    scores = np.zeros(len(values))
    for i, value in enumerate(values):
        if window:
            scores[i] = 1 - 0.5 * erfc(abs(value - mean) / deviation / 1.4142)
        buffer.append(value)
        if len(window) < size or len(buffer) == step:
            window = [*window[max(len(window) + len(buffer) - size, 0) :], *buffer]
            buffer = []
            mean, deviation = np.mean(window), np.std(window) or 1e-6
    return scores


@pytest.fixture(scope="module")
def gaussian():
    return {name: windowed_gaussian(series.value) for name, series in corpus().items()}


def series(n, *windows):
    return Series(np.arange(n), np.zeros(n), windows)


def detections(n, *rows):
    return np.isin(np.arange(n), rows)


def test_the_corpus_is_whole():
    files = corpus()
    assert len(files) == 48
    assert sum(len(one.windows) for one in files.values()) == 91
    assert all(np.all(np.isfinite(one.value)) for one in files.values())


@pytest.mark.parametrize("profile", PROFILES)
def test_a_silent_detector_scores_as_published(profile):
    for name, one in corpus().items():
        silent = np.zeros(len(one.value), np.bool_)
        assert raw_score(one, silent, PROFILES[profile]) == published()["null"][profile][name][0]


@pytest.mark.parametrize("profile", PROFILES)
def test_windowed_gaussian_scores_as_published(profile, gaussian):
    for name, one in corpus().items():
        score, threshold = published()["windowedGaussian"][profile][name]
        detected = gaussian[name] >= threshold - HALF_A_DIGIT
        assert raw_score(one, detected, PROFILES[profile]) == pytest.approx(score, abs=1e-9), name


def published_rows():
    """Rows of published detectors on the shipped files; those of `random` are means of several runs."""
    text = gzip.decompress((FOLDER / "published_scores_per_file.csv.gz").read_bytes()).decode()
    return [row for row in csv.DictReader(io.StringIO(text)) if row["File"] in corpus() and row["Detector"] != "random"]


@cache
def inside_and_outside(name):
    """How many rows after the probation are in windows, and what detections at the others are worth, rising."""
    one = corpus()[name]
    window, earns = (column[one.probation :] for column in worth(one))
    return np.count_nonzero(window >= 0), np.sort(earns[window < 0])


def counts(row):
    return [int(float(row[name])) for name in ("TP", "TN", "FP", "FN")]


def test_windows_and_probations_hold_as_many_rows_as_published_for_every_detector():
    for row in published_rows():
        inside, outside = inside_and_outside(row["File"])
        right, quiet, false, missed = counts(row)
        assert (right + missed, quiet + false) == (inside, len(outside)), row


def test_published_scores_are_possible_for_the_published_numbers_of_detections():
    """Positions were not published: the dearest and the cheapest ones bound the score of every detector."""
    for row in published_rows():
        profile, windows = PROFILES[row["Profile"]], len(corpus()[row["File"]].windows)
        _, outside = inside_and_outside(row["File"])
        right, _, false, _ = counts(row)
        found = min(right, windows)
        dearest = profile.false_cost * outside[:false].sum() - profile.missed_cost * (windows - min(found, 1))
        cheapest = profile.false_cost * outside[::-1][:false].sum() + found - profile.missed_cost * (windows - found)
        assert dearest - 1e-9 <= float(row["Score"]) <= cheapest + 1e-9, row


def test_published_profiles_of_the_same_detections_differ_by_whole_windows():
    """Missing costs 2 instead of 1 where false negatives count more, and nothing else changes."""
    same = defaultdict(dict)
    for row in published_rows():
        same[row["Detector"], row["File"], *counts(row)][row["Profile"]] = float(row["Score"])
    differences = [
        (key[1], both["standard"] - both["reward_low_FN_rate"])
        for key, both in same.items()
        if {"standard", "reward_low_FN_rate"} <= both.keys()
    ]
    assert len(differences) > 500
    for name, missed in differences:
        assert missed == pytest.approx(round(missed), abs=1e-9)
        assert 0 <= round(missed) <= len(corpus()[name].windows)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_best_threshold_is_the_best_of_all(profile, gaussian):
    rng = np.random.default_rng(7)
    names = list(corpus())[5:14]
    files = {name: corpus()[name] for name in names}
    scores = {name: np.round(gaussian[name] * rng.random(len(gaussian[name])), 2) for name in names}
    found = best(files, scores, PROFILES[profile])
    each = [at_threshold(files, scores, PROFILES[profile], t) for t in np.unique(np.concatenate(list(scores.values())))]
    assert found.score == pytest.approx(max(each), abs=1e-9)
    assert at_threshold(files, scores, PROFILES[profile], found.threshold) == pytest.approx(found.score, abs=1e-9)


def test_published_totals_are_those_of_the_table():
    assert published_scores()["ARTime"] == pytest.approx(
        {"standard": 71.62, "reward_low_FP_rate": 60.89, "reward_low_FN_rate": 77.42}, abs=0.01
    )
    assert published_scores()["contextOSE"]["standard"] == pytest.approx(70.02, abs=0.01)


def test_early_is_worth_more_and_the_first_row_most():
    _, earns = worth(series(1000, (400, 499)))
    assert earns[400] == pytest.approx(1.0)
    assert np.all(np.diff(earns[400:500]) < 0)
    assert 0 < earns[499] < 0.1


def test_only_the_best_detection_of_a_window_counts():
    one, profile = series(1000, (400, 499)), PROFILES["standard"]
    assert raw_score(one, detections(1000, 400, 450, 499), profile) == raw_score(one, detections(1000, 400), profile)


def test_a_detection_just_behind_its_window_costs_less_than_one_far_from_it():
    one, profile = series(2000, (400, 499)), PROFILES["standard"]
    just, far, before = (raw_score(one, detections(2000, 400, row), profile) - 1 for row in (505, 1500, 300))
    assert far == before == pytest.approx(-0.11)
    assert far < just < 0


def test_nothing_counts_in_the_probation():
    one = series(1000, (400, 499))
    assert raw_score(one, detections(1000, 3, 149), PROFILES["standard"]) == -1
    assert raw_score(one, detections(1000, 150), PROFILES["standard"]) == pytest.approx(-1.11)
