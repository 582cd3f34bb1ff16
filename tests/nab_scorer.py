"""nab_scorer: the scoring of the Numenta Anomaly Benchmark

Source: A. Lavin, S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly Benchmark", IEEE
ICMLA 2015, and the released scorer of NAB v1.1: one threshold for the whole corpus, chosen for each profile.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).parent / "data" / "nab"
PROBATION_SHARE = 0.15
PROBATION_ROWS_MAX = 750
FORGOTTEN_WINDOWS = 3.0
"""A detection further behind a window than so many of its lengths costs the whole price of a false one."""


class Profile(NamedTuple):
    """What a false detection and a missed window cost; a window found at once earns 1."""

    false_cost: float
    missed_cost: float


PROFILES = {
    "standard": Profile(0.11, 1.0),
    "reward_low_FP_rate": Profile(0.22, 1.0),
    "reward_low_FN_rate": Profile(0.11, 2.0),
}


class Series(NamedTuple):
    """One file: seconds since 1970 of its naive timestamps, values, and [first, last] rows of its windows."""

    time_s: np.ndarray
    value: np.ndarray
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """Rows at the start that are not scored."""
        return min(int(PROBATION_SHARE * len(self.value)), PROBATION_ROWS_MAX)


@cache
def corpus() -> dict[str, Series]:
    """All files shipped, by name."""
    windows = json.loads((FOLDER / "windows.json").read_text())
    return {name: _series(FOLDER / "data" / f"{name}.gz", windows[name]) for name in sorted(windows)}


def _series(path: Path, windows: list[list[str]]) -> Series:
    with gzip.open(path, "rt") as file:
        times, values = zip(*((row["timestamp"], float(row["value"])) for row in csv.DictReader(file)), strict=True)
    time = np.array(times, "datetime64[s]")
    bounds = np.array(windows, "datetime64[s]").reshape(-1, 2)
    first = np.searchsorted(time, bounds[:, 0])
    last = np.searchsorted(time, bounds[:, 1], "right") - 1
    return Series(time.astype(np.int64), np.array(values), tuple(zip(first.tolist(), last.tolist(), strict=True)))


def sigmoid(place: np.ndarray) -> np.ndarray:
    """1 far before 0, -1 far behind."""
    return np.asarray(2 / (1 + np.exp(5 * place)) - 1)


class Worth(NamedTuple):
    """What a detection at each row is worth: `window` holding it or -1, `earns` 0..1 in a window, -1..0 outside."""

    window: np.ndarray
    earns: np.ndarray


def worth(series: Series) -> Worth:
    """What detections are worth at each row, before the prices of a profile."""
    n = len(series.value)
    window, earns = np.full(n, -1), np.full(n, -1.0)
    for i, (first, last) in enumerate(series.windows):
        rows = np.arange(first, last + 1)
        window[rows] = i
        earns[rows] = sigmoid(-(last - rows + 1) / (last - first + 1)) / sigmoid(np.array(-1.0))
    for i, (first, last) in enumerate(series.windows):
        stop = series.windows[i + 1][0] if i + 1 < len(series.windows) else n
        behind = np.arange(last + 1, stop)
        far = (behind - last) / (last - first)
        earns[behind] = np.where(far > FORGOTTEN_WINDOWS, -1.0, sigmoid(far))
    return Worth(window, earns)


def raw_score(series: Series, detected: np.ndarray, profile: Profile) -> float:
    """Score of one file for given detections (bool by row)."""
    window, earns = worth(series)
    detected = detected & (np.arange(len(detected)) >= series.probation)
    total = profile.false_cost * float(earns[detected & (window < 0)].sum())
    for i in range(len(series.windows)):
        found = earns[detected & (window == i)]
        total += float(found.max()) if len(found) else -profile.missed_cost
    return total


def normalised(total: float, windows: int, profile: Profile) -> float:
    """Sum of the raw scores of files with so many windows as 0 for a silent detector, 100 for a perfect one."""
    return 100 * (total + windows * profile.missed_cost) / (windows * (1 + profile.missed_cost))


class Best(NamedTuple):
    """Normalised score of a corpus at the threshold that makes it greatest."""

    score: float
    threshold: float


def best(files: Mapping[str, Series], scores: Mapping[str, np.ndarray], profile: Profile) -> Best:
    """Best threshold for all files together, as the benchmark chooses it, and what it gives."""
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for name, series in files.items():
        window, earns = worth(series)
        score, rows = scores[name], np.arange(len(series.value)) >= series.probation
        outside = rows & (window < 0)
        steps.append((score[outside], profile.false_cost * earns[outside]))
        for i in range(len(series.windows)):
            inside = np.flatnonzero(rows & (window == i))
            inside = inside[np.argsort(-score[inside], kind="stable")]
            gained = np.maximum.accumulate(earns[inside])
            steps.append((score[inside], np.diff(gained, prepend=-profile.missed_cost)))
    threshold = np.concatenate([score for score, _ in steps])
    order = np.argsort(-threshold, kind="stable")
    threshold = threshold[order]
    windows = sum(len(series.windows) for series in files.values())
    total = np.cumsum(np.concatenate([gain for _, gain in steps])[order]) - windows * profile.missed_cost
    whole = np.append(threshold[1:] != threshold[:-1], values=True)
    at = np.flatnonzero(whole)[np.argmax(total[whole])]
    return Best(normalised(float(total[at]), windows, profile), float(threshold[at]))


def at_threshold(
    files: Mapping[str, Series],
    scores: Mapping[str, np.ndarray],
    profile: Profile,
    threshold: float,
) -> float:
    """Normalised score of files at a threshold chosen elsewhere."""
    windows = sum(len(series.windows) for series in files.values())
    total = sum(raw_score(series, scores[name] >= threshold, profile) for name, series in files.items())
    return normalised(total, windows, profile)


@cache
def published() -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Published detectors: raw score and threshold by detector, profile and file."""
    found: dict[str, dict[str, dict[str, tuple[float, float]]]] = defaultdict(lambda: defaultdict(dict))
    text = gzip.decompress((FOLDER / "published_scores_per_file.csv.gz").read_bytes()).decode()
    for row in csv.DictReader(io.StringIO(text)):
        if row["Detector"] != "Totals":
            found[row["Detector"]][row["Profile"]][row["File"]] = float(row["Score"]), float(row["Threshold"])
    return found


def published_scores() -> dict[str, dict[str, float]]:
    """Normalised score on the shipped files by published detector and profile; only detectors published for all."""
    files = corpus()
    windows = sum(len(series.windows) for series in files.values())
    return {
        detector: {
            name: normalised(sum(profiles[name][file][0] for file in files), windows, profile)
            for name, profile in PROFILES.items()
        }
        for detector, profiles in sorted(published().items())
        if all(files.keys() <= profiles[name].keys() for name in PROFILES)
    }
