"""what a bench measures: CPU seconds and memory of processes from /proc, and the result that it prints"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in children.read_text().split())
            except OSError:  # the thread ended while we looked
                continue
    return found


def cpu_s(pid: int, *, descendants: bool = False) -> float:
    """CPU seconds, user and system, that a process (and its living descendants) used so far; 0 when it is gone."""
    total = 0
    for one in family(pid) if descendants else [pid]:
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS_PER_S


def rss_mib(pid: int) -> float:
    """Resident memory of one process in MiB; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * _PAGE_BYTES / 2**20


@dataclass(slots=True)
class Peer:
    """The same work done the naive way, in the same run."""

    rate_per_s: float
    cpu_us_per_unit: float


@dataclass(slots=True)
class Result:
    """What a bench says last, as one JSON object."""

    bench: str
    unit: str
    rate_per_s: float
    cpu_us_per_unit: float
    rss_mib: float
    peers: dict[str, Peer] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line; `more` stands beside the common fields, numbers rounded to what they mean."""
        common = asdict(self)
        more = common.pop("more")
        return json.dumps(_rounded({**common, **more}))


class Meter:
    """CPU and wall time of some processes between two moments."""

    def __init__(self, pids: dict[str, int], *, descendants: bool = False) -> None:
        self._pids = pids
        self._descendants = descendants
        self._cpu = self._now()
        self._start = time.perf_counter()

    def _now(self) -> dict[str, float]:
        return {name: cpu_s(pid, descendants=self._descendants) for name, pid in self._pids.items()}

    def read(self) -> tuple[float, dict[str, float]]:
        """Wall seconds and CPU seconds by name since the start."""
        now = self._now()
        return time.perf_counter() - self._start, {name: now[name] - self._cpu[name] for name in now}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return value
