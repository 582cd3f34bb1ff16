"""bench of the anomaly detector: its scores by the Numenta benchmark's rules, and what a reading costs

The production detector runs over all files side by side, one reading of each at a time, as streams would give them.
One threshold for all files is chosen for each profile, as the benchmark does it; `held_out` says what remains when the
threshold is chosen without the files that are scored (ten parts, each scored at the threshold of the others).
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from streams.anomaly import EvidenceDetector
from tests.nab_scorer import PROFILES, Series, at_threshold, best, corpus, published_scores

US_PER_S = 1_000_000
PARTS = 10
WARM = 60


def detections(files: dict[str, Series]) -> dict[str, np.ndarray]:
    """Score of every reading that is fresh, 0 for the others, from the production detector."""
    detector = EvidenceDetector()
    detector.grow(len(files))
    series = list(files.values())
    length = np.array([len(one.value) for one in series])
    time_us, value = np.zeros((len(series), length.max()), np.int64), np.zeros((len(series), length.max()))
    for i, one in enumerate(series):
        time_us[i, : length[i]], value[i, : length[i]] = one.time_s * US_PER_S, one.value
    found = np.zeros(value.shape)
    for t in range(length.max()):
        rows = np.flatnonzero(length > t)
        scores = detector.update(rows, time_us[rows, t], value[rows, t])
        found[rows, t] = np.where(scores.fresh, scores.score, 0.0)
    return {name: found[i, : length[i]] for i, name in enumerate(files)}


def held_out(files: dict[str, Series], scores: dict[str, np.ndarray], name: str) -> float:
    """Score of all files, each at the threshold that is best for the files of other parts."""
    profile, names, total = PROFILES[name], sorted(files), 0.0
    for part in range(PARTS):
        out = {one: files[one] for one in names[part::PARTS]}
        rest = {one: files[one] for one in names if one not in out}
        threshold = best(rest, scores, profile).threshold
        windows = sum(len(one.windows) for one in out.values())
        total += at_threshold(out, scores, profile, threshold) * windows
    return total / sum(len(one.windows) for one in files.values())


def cpu_us_per_reading(series: int, steps: int) -> float:
    """CPU of the detector alone, one reading of each series at a time."""
    detector, rng, rows = EvidenceDetector(), np.random.default_rng(1), np.arange(series)
    detector.grow(series)
    values = rng.normal(0, 1, (steps + WARM, series))
    begun = 0.0
    for t in range(steps + WARM):
        if t == WARM:
            begun = time.process_time()
        detector.update(rows, np.full(series, t * 60 * US_PER_S), values[t])
    return (time.process_time() - begun) / (steps * series) * 1e6


def main(argv: list[str]) -> int:
    """Run the bench; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="pulssi bench anomalies")
    parser.add_argument("--json", action="store_true", help="the result is JSON in any case")
    parser.add_argument("--series", type=int, default=10_000)
    options = parser.parse_args(argv)
    files = corpus()
    scores = detections(files)
    found = {name: best(files, scores, profile) for name, profile in PROFILES.items()}
    cost = cpu_us_per_reading(options.series, 30)
    result = {
        "bench": "anomalies",
        "unit": "reading",
        "rate_per_s": round(1e6 / cost),
        "cpu_us_per_unit": round(cost, 3),
        "scores": {name: round(one.score, 2) for name, one in found.items()},
        "thresholds": {name: one.threshold for name, one in found.items()},
        "held_out": {name: round(held_out(files, scores, name), 2) for name in PROFILES},
        "peers": {
            detector: {name: round(score, 2) for name, score in profiles.items()}
            for detector, profiles in published_scores().items()
        },
    }
    sys.stdout.write(f"{json.dumps(result)}\n")
    return 0
