"""latency: counted in buckets of 5 %, so that a quantile over millions of rows is right to 2.5 % in a few rows"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

_LOWEST_S = 1e-4
_STEP = math.log(1.05)
BUCKETS = 350
"""From 0.1 ms to 2600 s; the last bucket holds everything above."""


def bucket_of(seconds: np.ndarray) -> np.ndarray:
    """Bucket numbers, 0 to BUCKETS - 1, of latencies in seconds; negative ones (a clock was set) count as 0."""
    ratio = np.maximum(seconds, _LOWEST_S) / _LOWEST_S
    buckets: np.ndarray = np.minimum(np.log(ratio) / _STEP, BUCKETS - 1).astype(np.int16)
    return buckets


def seconds_of(bucket: int) -> float:
    """The middle of a bucket, in seconds."""
    return _LOWEST_S * math.exp((bucket + 0.5) * _STEP)


def quantiles(counts: Mapping[int, int], shares: Sequence[float]) -> list[float]:
    """Latencies in seconds that the given shares of all rows do not exceed; empty without rows."""
    if not counts:
        return []
    buckets = sorted(counts)
    reached = np.cumsum([counts[bucket] for bucket in buckets])
    return [seconds_of(buckets[int(np.searchsorted(reached, share * reached[-1]))]) for share in shares]
