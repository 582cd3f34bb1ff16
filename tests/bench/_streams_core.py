"""bench of the pure core of readings: records in, records out, no Kafka; one core, CPU time, windows full

Each case runs in a process of its own, so that memory is that of the case. A case is warmed up until every pane of the
longest window and of the horizon is full, so that all checks are at work, those that settle, too; what is measured is
the CPU time of `ReadingsProcessor.process` alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pulssi.frames import Readings
from pulssi.messages import SeriesInfo
from pulssi.partitions import Record
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.anomaly import Columns, Scores
from streams.catalogue import Limits
from streams.readings_processor import ReadingsProcessor
from tests.bench.measure import Peer, Result, rss_mib

ROOT = Path(__file__).parents[2]
START_US = 1_790_000_000_000_000
FRAME = 100
BATCH = 500
"""Frames processed at once while catching up: 50,000 readings, as in the settings."""
LIVE = 50
"""Readings in a small live batch."""


@dataclass(frozen=True, slots=True)
class Case:
    """How many series speak how often; how many minutes they do before they are measured, and how many while."""

    series: int
    cadence_s: int
    warm_min: int
    minutes: int


CASES = (Case(10_000, 1, 200, 3), Case(10_000, 10, 200, 12), Case(10_000, 60, 200, 60), Case(100_000, 60, 200, 10))
PEER_CASES = (Case(1000, 1, 60, 2), Case(1000, 10, 60, 5))


def main(argv: list[str]) -> int:
    """Run every case and every peer; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="pulssi bench streams --core")
    parser.add_argument("--json", action="store_true", help="the result is JSON in any case")
    parser.add_argument("--quick", action="store_true", help="windows of a few minutes only, for a look")
    quick = parser.parse_args(argv).quick
    cases = [Case(case.series, case.cadence_s, 3, 3) if quick else case for case in CASES]
    found = {_name(case): _alone("ours", case) for case in cases}
    peers = {f"pandas {_name(case)}": _alone("pandas", case) for case in PEER_CASES}
    first = found[_name(cases[0])]
    result = Result("streams-core", "reading", first["rate_per_s"], 1e6 / first["rate_per_s"], first["rss_mib"])
    result.peers = {name: Peer(one["rate_per_s"], 1e6 / one["rate_per_s"]) for name, one in peers.items()}
    result.more = {"cases": found, "windows_s": StreamsSettings().windows_s}
    sys.stdout.write(f"{result.to_json()}\n")
    return 0


def _name(case: Case) -> str:
    return f"{case.series} series, {case.cadence_s} s"


def _alone(who: str, case: Case) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench._streams_core", who, json.dumps(asdict(case))]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


class Source:
    """Readings of all series, round by round, in frames; the same in every run."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._random = np.random.default_rng(1)
        self._ids = self._random.integers(-(2**63), 2**63 - 1, case.series)
        self._level = self._random.uniform(5, 50, case.series)
        self._round = 0
        self._offset = 0

    def rounds(self, minutes: int) -> Iterator[Readings]:
        """Columns of one reading of every series, as often as they speak in so many minutes."""
        for _ in range(minutes * 60 // self.case.cadence_s):
            cadence_us = self.case.cadence_s * 1_000_000
            event = START_US + self._round * cadence_us + np.sort(self._random.integers(0, cadence_us, len(self._ids)))
            value = np.round(self._random.normal(self._level, 3), 1).clip(0)
            seq = np.full(len(self._ids), self._round)
            yield Readings(self._ids, event, event + 50_000, value, np.zeros(len(seq), np.uint16), seq)
            self._round += 1

    def records(self, readings: Readings, size: int) -> list[Record]:
        """The same as records of `size` readings."""
        found = []
        for start in range(0, len(readings), size):
            found.append(Record(self._offset, None, readings.take(slice(start, start + size)).encode(), {}))
            self._offset += 1
        return found


def checked(series_ids: np.ndarray) -> Limits:
    """Limits that every check has to look at."""
    n = len(series_ids)
    bounds = (0.0, 500.0, 100.0, 86_400.0, np.nan, np.nan)
    return Limits(*(np.full(n, bound) for bound in bounds))


def described(series_id: int) -> SeriesInfo:
    """A series that is of no station with indices of its own."""
    return SeriesInfo(
        series_id=series_id, device_id=f"bench-{series_id}", quantity="air_temperature", unit="Cel", kind="sensor"
    )


class NoScores:
    """A detector that says nothing: the core without anomaly scores."""

    def parts(self) -> tuple[tuple[str, Columns], ...]:
        """None."""
        return ()

    def grow(self, rows: int) -> None:
        """Nothing."""

    def update(self, rows: np.ndarray, _times: np.ndarray, _values: np.ndarray) -> Scores:
        """Zeros."""
        n = len(rows)
        return Scores(np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n, np.int8), np.zeros(n, np.bool_))


def ours(case: Case) -> dict[str, float]:
    """Rates with and without scores, memory, snapshot and the time of a small batch, once the windows are full."""
    before = rss_mib(os.getpid())
    source = Source(case)
    core = ReadingsProcessor(0, StreamsSettings(), Topics(), checked, describe=described)
    _rate(core, source, case.warm_min)
    found: dict[str, Any] = {"rate_with_scores_per_s": _rate(core, source, case.minutes)}
    found["rss_mib"] = rss_mib(os.getpid())
    found["bytes_per_series"] = (found["rss_mib"] - before) * 2**20 / case.series
    if case.series <= 10_000:
        found["snapshot_mib"] = len(core.snapshot()) / 2**20
    found["live_batch_readings"], found["live_batch_ms"] = LIVE, _live_ms(core, source)
    windows, slid = core.counts.windows, core.counts.slid
    core._state._detector = NoScores()
    found["rate_per_s"] = _rate(core, source, case.minutes)
    readings = case.series * case.minutes * 60 / case.cadence_s
    windows = core.counts.windows - windows
    found["rows_per_reading"] = 1 + windows / readings
    found["slid_share"] = (core.counts.slid - slid) * len(StreamsSettings().windows_s) / windows
    return found


def _rate(core: ReadingsProcessor, source: Source, minutes: int) -> float:
    """Readings per second of CPU."""
    cpu, n = 0.0, 0
    waiting: list[Record] = []
    for readings in source.rounds(minutes):
        waiting += source.records(readings, FRAME)
        n += len(readings)
        while len(waiting) >= BATCH:
            cpu += _cpu_s(core, waiting[:BATCH])
            del waiting[:BATCH]
    if waiting:
        cpu += _cpu_s(core, waiting)
    return n / cpu


def _live_ms(core: ReadingsProcessor, source: Source) -> float:
    """Median CPU milliseconds of a batch of one frame of 50 readings that closes no pane."""
    readings = next(source.rounds(1))
    return float(np.median([_cpu_s(core, [one]) for one in source.records(readings, LIVE)[:200]])) * 1000


def _cpu_s(core: ReadingsProcessor, records: list[Record]) -> float:
    start = time.process_time()
    core.process(records)
    return time.process_time() - start


def with_pandas(case: Case) -> dict[str, float]:
    """The same windows every minute, by groupby over the readings of the last hour; no checks, nothing late."""
    import pandas as pd

    source = Source(case)
    history = pd.concat([_frame(pd, readings) for readings in source.rounds(case.warm_min)], ignore_index=True)
    cpu, n = 0.0, 0
    for _ in range(case.minutes):
        arrived = [_frame(pd, readings) for readings in source.rounds(1)]
        n += sum(map(len, arrived))
        start = time.process_time()
        history = pd.concat([history, *arrived], ignore_index=True)
        now = history["time"].iloc[-1]
        history = history[history["time"] > now - 3_600_000_000]
        for window_s in StreamsSettings().windows_s:
            groups = history[history["time"] > now - window_s * 1_000_000].groupby("series")["value"]
            groups.agg(["count", "mean", "min", "max", "std", "last"])
            groups.quantile([0.5, 0.95, 0.99])
        cpu += time.process_time() - start
    return {"rate_per_s": n / cpu}


def _frame(pd: Any, readings: Readings) -> Any:
    return pd.DataFrame({"series": readings.series_id, "time": readings.event_time, "value": readings.value})


if __name__ == "__main__":
    which = {"ours": ours, "pandas": with_pandas}[sys.argv[1]]
    sys.stdout.write(json.dumps(which(Case(**json.loads(sys.argv[2])))))
