"""`pulssi bench incidents`: our incident detector against the published ones on simulated incidents

Every algorithm sees the same minutes. Each is calibrated on one set of simulated days, at several rates of false
alarms, and judged on another set with the parameters that it got there. An alarm counts as a detection only between the
two stations around the incident, while it lasts; every other new alarm is a false one, the queue of an incident at the
next station upstream included. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np

from pulssi.corridors import load_stations, pairs
from streams.traffic.health import without_repeats
from streams.traffic.incident_watch import CALIFORNIA_7, EVIDENCE_MIN
from streams.traffic.incidents import California7, California8, IncidentDetector, Samples, StandardNormalDeviate
from streams.traffic.seasonal_contrast import SeasonalContrast
from tests.bench._corridor_flow import CAPACITY_VEH_H, MINUTES, Flow, Incident, simulate
from tests.bench.measure import Peer, Result, rss_mib

ROAD, DIRECTION = 1, 2
LEARNING_DAYS = 5
AFTERWARDS_MIN = 5
TARGETS = (0.01, 0.02, 0.05, 0.2)
OURS = "seasonal_contrast"
PUBLISHED = {
    "apid": {"detection_rate": 0.86, "false_alarm_rate_per_decision": 0.0005, "mean_time_to_detect_min": 2.5},
    "standard_normal_deviate": {
        "detection_rate": 0.92,
        "false_alarm_rate_per_decision": 0.01,
        "mean_time_to_detect_min": 1.1,
    },
    "california_7": {"detection_rate": 0.67, "false_alarm_rate_per_decision": 0.00134, "mean_time_to_detect_min": 2.91},
    "california_8": {"detection_rate": 0.68, "false_alarm_rate_per_decision": 0.00177, "mean_time_to_detect_min": 3.04},
}
"""Rates in the literature (Martin, Perrin, Hansen, Incident Detection Algorithm Evaluation, 2001; Nuckles 1974), each
on roads and with definitions of its own."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What all algorithms see, [minutes, columns] with one column for each pair of each world, and the truth."""

    occupancy_up: np.ndarray
    occupancy_down: np.ndarray
    flow_up: np.ndarray
    flow_down: np.ndarray
    incidents: list[tuple[Incident, int]]  # with its column; those that hold traffic back
    planted: list[tuple[Incident, int]]  # all of them
    detector_days: int

    def samples(self, minute: int) -> Samples:
        """One minute."""
        columns = (self.occupancy_up, self.occupancy_down, self.flow_up, self.flow_down)
        return Samples(minute * 60_000_000, *(column[minute] for column in columns))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well one algorithm did."""

    detection_rate: float
    false_alarms_per_detector_day: float
    mean_time_to_detect_min: float


def every_day(at: int) -> tuple[int, int]:
    """All simulated days are of one kind."""
    return 0, at // 60_000_000 % MINUTES


def station_km() -> np.ndarray:
    """Where the stations of the corridor stand: a real road into Helsinki."""
    along = [pair.distance_km for pair in pairs(load_stations()) if (pair.road, pair.direction) == (ROAD, DIRECTION)]
    return np.cumsum([0.0, *along])


def trial(seed: int, worlds: int, days: int, sliding_min: int = 1) -> Trial:
    """Simulated days as pairs of stations see them; means of the last `sliding_min` minutes."""
    flow = simulate(seed, station_km(), worlds, days)
    occupancy, volume = _clean(flow, sliding_min)
    count = occupancy.shape[2] - 1

    def columns(values: np.ndarray, first: int) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(values[:, :, first : first + count], 1, 0)).reshape(days * MINUTES, -1)

    after = [one for one in flow.incidents if one.start >= LEARNING_DAYS * MINUTES]
    planted = [(one, one.world * count + one.pair) for one in after]
    volumes = columns(volume, 0)
    felt = [
        (one, column)
        for one, column in planted
        if np.nan_to_num(volumes[one.start - 15 : one.start, column]).mean() > CAPACITY_VEH_H * one.capacity_left
    ]
    return Trial(
        columns(occupancy, 0),
        columns(occupancy, 1),
        volumes,
        columns(volume, 1),
        felt,
        planted,
        (days - LEARNING_DAYS) * worlds * count,
    )


def _clean(flow: Flow, sliding_min: int) -> tuple[np.ndarray, np.ndarray]:
    """Occupancy and flow without what a hanging detector repeats, [worlds, minutes, stations]."""
    both = np.stack([flow.occupancy, flow.flow])
    for world in range(both.shape[1]):
        both[:, world] = without_repeats(both[:, world])
    if sliding_min > 1:
        padded = np.concatenate([np.full_like(both[:, :, : sliding_min - 1], np.nan), both], axis=2)
        both = np.lib.stride_tricks.sliding_window_view(padded, sliding_min, axis=2).mean(axis=-1)
    return both[0], both[1]


def judge(run: Trial, detector: IncidentDetector) -> list[Outcome]:
    """Outcome for each set of parameters, the first axis of what the detector says."""
    minutes = len(run.occupancy_up)
    starting: dict[int, list[int]] = {}
    for number, (incident, _) in enumerate(run.incidents):
        starting.setdefault(incident.start, []).append(number)
    explained = np.zeros(run.occupancy_up.shape, np.bool_)
    for incident, column in run.planted:
        explained[incident.start : incident.end + AFTERWARDS_MIN, column] = True
    before: np.ndarray | None = None
    false = np.zeros(0)
    delay = np.zeros((0, 0))
    open_: list[int] = []
    for minute in range(minutes):
        said = np.atleast_2d(detector.update(run.samples(minute)))
        if before is None:
            before, false = np.zeros_like(said), np.zeros(len(said))
            delay = np.full((len(said), len(run.incidents)), np.nan)
        new = said & ~before
        before = said.copy()
        if minute < LEARNING_DAYS * MINUTES:
            continue
        false += np.count_nonzero(new & ~explained[minute], axis=1)
        open_ = [n for n in open_ if run.incidents[n][0].end > minute] + starting.get(minute, [])
        for number in open_:
            incident, column = run.incidents[number]
            hit = new[:, column] & np.isnan(delay[:, number])
            delay[hit, number] = minute - incident.start + 1
    found = ~np.isnan(delay)
    total = np.where(found, delay, 0).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    rates = zip(found.mean(axis=1).tolist(), (false / run.detector_days).tolist(), total.tolist(), strict=True)
    return [Outcome(*one) for one in rates]


def _grid(*axes: tuple[float, ...]) -> list[np.ndarray]:
    return [np.array(axis)[:, None] for axis in zip(*product(*axes), strict=True)]


def california_7(columns: int) -> California7:
    """Every threshold worth trying."""
    grid = _grid((4, 6, 8, 12, 16, 22, 30), (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (8, 10, 13, 17, 22))
    return California7((len(grid[0]), columns), *grid)


def california_8(columns: int) -> California8:
    """Every threshold worth trying."""
    grid = _grid((4, 6, 8, 12, 16, 22, 30), (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (8, 10, 13, 17, 22))
    return California8((len(grid[0]), columns), *grid)


def standard_normal_deviate(columns: int) -> StandardNormalDeviate:
    """Every threshold worth trying."""
    deviate, spread = _grid((2, 3, 4, 5, 6, 8, 11, 15), (0.3, 0.5, 1, 2, 4))
    return StandardNormalDeviate((len(deviate), columns), deviate, spread_min=spread)


def seasonal_contrast(columns: int) -> SeasonalContrast:
    """Thresholds of evidence around the one that we ship."""
    return SeasonalContrast(columns, np.geomspace(4, 27, 24)[:, None], calendar=every_day)


ALGORITHMS: dict[str, Callable[[int], IncidentDetector]] = {
    OURS: seasonal_contrast,
    "california_7": california_7,
    "california_8": california_8,
    "standard_normal_deviate": standard_normal_deviate,
}


def best(outcomes: list[Outcome], target: float) -> int | None:
    """The parameters that find most at no more than `target` false alarms per detector-day, and then the fastest."""
    allowed = [i for i, one in enumerate(outcomes) if one.false_alarms_per_detector_day <= target]
    rank = {i: (round(outcomes[i].detection_rate, 3), -outcomes[i].mean_time_to_detect_min) for i in allowed}
    return max(allowed, key=lambda i: rank[i], default=None)


def compare(calibration: Trial, evaluation: Trial) -> dict[str, dict[float, Outcome | None]]:
    """Outcome on `evaluation` of each algorithm with what suits it best on `calibration`, for each target."""
    found: dict[str, dict[float, Outcome | None]] = {}
    for name, make in ALGORITHMS.items():
        columns = calibration.occupancy_up.shape[1]
        tried = judge(calibration, make(columns))
        judged = judge(evaluation, make(evaluation.occupancy_up.shape[1]))
        chosen = {target: best(tried, target) for target in TARGETS}
        found[name] = {target: None if i is None else judged[i] for target, i in chosen.items()}
    return found


def live(evaluation: Trial) -> dict[str, dict[float, Outcome | None]]:
    """The same for the thresholds that `pulssi streams` has."""
    columns = evaluation.occupancy_up.shape[1]
    ours, california = (
        SeasonalContrast(columns, EVIDENCE_MIN, calendar=every_day),
        California7((columns,), *CALIFORNIA_7),
    )
    found = {f"{OURS}, live": judge(evaluation, ours)[0], "california_7, live": judge(evaluation, california)[0]}
    return {name: {TARGETS[1]: one} for name, one in found.items()}


def _speed(run: Trial) -> dict[str, Peer]:
    """Detector-minutes per second of each algorithm with one set of parameters."""
    columns = run.occupancy_up.shape[1]
    single: dict[str, IncidentDetector] = {
        OURS: SeasonalContrast(columns, calendar=every_day),
        "california_7": California7((columns,)),
        "california_8": California8((columns,)),
        "standard_normal_deviate": StandardNormalDeviate((columns,)),
    }
    speeds = {}
    for name, detector in single.items():
        start, used = time.perf_counter(), time.process_time()
        for minute in range(MINUTES):
            detector.update(run.samples(minute))
        units = MINUTES * columns
        speeds[name] = Peer(units / (time.perf_counter() - start), (time.process_time() - used) * 1e6 / units)
    return speeds


def main(argv: list[str]) -> int:
    """Run the bench; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="pulssi bench incidents")
    parser.add_argument("--json", action="store_true", help="the result is JSON in any case")
    parser.add_argument("--worlds", type=int, default=6, help="corridors side by side, in each of both sets")
    parser.add_argument("--days", type=int, default=20, help=f"days of each, of which {LEARNING_DAYS} only teach")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    more: dict[str, object] = {"targets_per_detector_day": list(TARGETS), "published": PUBLISHED}
    for name, sliding_min in (("one_minute", 1), ("sliding_five_minutes", 5)):
        calibration = trial(2 * options.seed, options.worlds, options.days, sliding_min)
        evaluation = trial(2 * options.seed + 1, options.worlds, options.days, sliding_min)
        outcomes = compare(calibration, evaluation) | live(evaluation)
        more[name] = {
            algorithm: {str(target): None if one is None else asdict(one) for target, one in by_target.items()}
            for algorithm, by_target in outcomes.items()
        }
        _print(name, evaluation, outcomes)
    more["incidents"] = {"planted": len(evaluation.planted), "felt": len(evaluation.incidents)}
    more["detector_days"] = evaluation.detector_days
    peers = _speed(evaluation)
    ours = peers.pop(OURS)
    result = Result(
        "incidents", "detector-minute", ours.rate_per_s, ours.cpu_us_per_unit, rss_mib(os.getpid()), peers, more
    )
    sys.stdout.write(f"{result.to_json()}\n")
    return 0


def _print(name: str, run: Trial, outcomes: dict[str, dict[float, Outcome | None]]) -> None:
    sys.stdout.write(f"{name}: {len(run.incidents)} incidents on {run.detector_days} detector-days\n")
    sys.stdout.write("algorithm                 allowed   found   false alarms/detector-day   minutes to detect\n")
    for algorithm, by_target in outcomes.items():
        for target, one in by_target.items():
            if one is not None:
                sys.stdout.write(
                    f"{algorithm:25} {target:7} {one.detection_rate:7.3f} {one.false_alarms_per_detector_day:27.4f} "
                    f"{one.mean_time_to_detect_min:19.2f}\n"
                )
