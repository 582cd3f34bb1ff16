"""windows: statistics of delays by group, exact and the same in whatever order the events came"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(slots=True)
class Groups:
    """One row for each group, by rising key.

    `std` is that of the values themselves (divided by n); quantiles interpolate linearly between neighbours (the
    definition of numpy's default). `last` is the delay of the newest event.
    """

    key: np.ndarray
    n: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    std: np.ndarray
    last: np.ndarray
    quantiles: np.ndarray
    receive_time: np.ndarray


def delays(
    key: np.ndarray,
    delay_s: np.ndarray,
    event_time: np.ndarray,
    event_id: np.ndarray,
    receive_time: np.ndarray,
) -> Groups:
    """Statistics of whole-second delays by key; all arrays int64 of one length, at least one row.

    Sums are exact integers, so that neither order nor batching can be seen in the result.
    """
    by_value = np.lexsort((delay_s, key))
    keys, value = key[by_value], delay_s[by_value]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    n = np.diff(np.r_[starts, len(keys)])
    total, squares = np.add.reduceat(value, starts), np.add.reduceat(value * value, starts)
    newest = np.lexsort((event_id, event_time, key))
    return Groups(
        keys[starts],
        n,
        total / n,
        value[starts].astype(np.float64),
        value[starts + n - 1].astype(np.float64),
        np.sqrt(n * squares - total * total) / n,
        delay_s[newest][starts + n - 1].astype(np.float64),
        np.stack([_quantile(value, starts, n, share) for share in QUANTILES]),
        np.maximum.reduceat(receive_time[by_value], starts),
    )


def _quantile(value: np.ndarray, starts: np.ndarray, n: np.ndarray, share: float) -> np.ndarray:
    place = (n - 1) * share
    below = np.floor(place).astype(np.int64)
    low = value[starts + below]
    high = value[starts + np.minimum(below + 1, n - 1)]
    between: np.ndarray = low + (high - low) * (place - below)
    return between


def shares(key: np.ndarray, hit: np.ndarray, receive_time: np.ndarray) -> tuple[np.ndarray, ...]:
    """Key, count, percentage of hits and newest receive time of each group, by rising key."""
    order = np.argsort(key, kind="stable")
    keys = key[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    n = np.diff(np.r_[starts, len(keys)])
    hits = np.add.reduceat(hit[order].astype(np.int64), starts)
    return keys[starts], n, 100.0 * hits / n, np.maximum.reduceat(receive_time[order], starts)
