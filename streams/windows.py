"""windows: statistics of rolling windows from panes

A window is named by its last pane and its length; it is half-open, [end - length, end), and slides by one pane. What it
holds is a function of its panes alone: the order of arrival leaves no trace but the last bits of sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.panes import PaneRing
from streams.sketch import quantiles

_PER_MILLE = (500, 950, 990)
_CHUNK = 2048
_UNKNOWN = np.iinfo(np.int32).max


@dataclass(slots=True)
class Windows:
    """Statistics of windows, arrays [window lengths, windows]; NaN where nothing counts.

    `completeness` is readings that count over those expected, at most 1. `std` is that of the values themselves
    (divided by n). `quantiles` are p50, p95 and p99, [window lengths, 3, windows].
    """

    n: np.ndarray
    n_excluded: np.ndarray
    completeness: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    std: np.ndarray
    last: np.ndarray
    quantiles: np.ndarray
    flags: np.ndarray
    receive_time: np.ndarray

    @classmethod
    def empty(cls, lengths: int, windows: int) -> Windows:
        """Zeros."""
        shape = (lengths, windows)
        integers = {name: np.zeros(shape, np.int64) for name in ("n", "n_excluded", "flags", "receive_time")}
        floats = {name: np.zeros(shape) for name in ("completeness", "mean", "low", "high", "std", "last")}
        return cls(**integers, **floats, quantiles=np.zeros((lengths, len(_PER_MILLE), windows)))


def evaluate(
    ring: PaneRing,
    rows: np.ndarray,
    ends: np.ndarray,
    lengths: tuple[int, ...],
    per_pane: np.ndarray,
) -> Windows:
    """Statistics of the windows of each row that end with pane `ends`.

    Args:
        ring: the panes.
        rows: int64 rows.
        ends: int64 last panes.
        lengths: window lengths in panes, rising.
        per_pane: expected readings in a pane of each; NaN = see `own_per_pane`.
    """
    result = Windows.empty(len(lengths), len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        _evaluate(ring, rows[part], ends[part], lengths, per_pane[part], result, part)
    return result


def _evaluate(
    ring: PaneRing,
    rows: np.ndarray,
    ends: np.ndarray,
    lengths: tuple[int, ...],
    per_pane: np.ndarray,
    result: Windows,
    part: slice,
) -> None:
    cells = ring.window_cells(rows, ends, lengths[-1])
    n = ring.n[cells].astype(np.int32)
    n_excluded, flags = ring.n_excluded[cells], ring.flags[cells]
    sums, receive_time = ring.sum[cells], ring.receive_time[cells]
    low, high = ring.low[cells], ring.high[cells]
    n_or_one = np.maximum(n, 1)
    inside = ring.squares[cells] - sums * sums / n_or_one
    totals = n * ring.first[cells] + sums
    means = totals / n_or_one
    unknown = np.flatnonzero(np.isnan(per_pane))
    newest = n.shape[1] - 1 - np.argmax(n[:, ::-1] > 0, axis=1)
    last = ring.last[np.take_along_axis(cells, newest[:, None], axis=1)[:, 0]]
    for w, length in enumerate(lengths):
        here = slice(lengths[-1] - length, None)
        count = n[:, here].sum(axis=1, dtype=np.int64)
        some = count > 0
        mean = totals[:, here].sum(axis=1) / np.maximum(count, 1)
        between = means[:, here] - mean[:, None]
        squares = inside[:, here].sum(axis=1) + (n[:, here] * between * between).sum(axis=1)
        nothing = np.where(some, 0.0, np.nan)
        result.n[w, part] = count
        result.n_excluded[w, part] = n_excluded[:, here].sum(axis=1)
        expected = per_pane.copy()
        expected[unknown] = own_per_pane(n[unknown, here])
        result.completeness[w, part] = np.minimum(count / np.maximum(expected * length, 1.0), 1.0)
        result.mean[w, part] = mean + nothing
        result.low[w, part] = np.where(some, low[:, here].min(axis=1), np.nan)
        result.high[w, part] = np.where(some, high[:, here].max(axis=1), np.nan)
        result.std[w, part] = np.sqrt(np.maximum(squares, 0.0) / np.maximum(count, 1)) + nothing
        result.last[w, part] = last + nothing
        result.flags[w, part] = np.bitwise_or.reduce(flags[:, here], axis=1)
        result.receive_time[w, part] = receive_time[:, here].max(axis=1)
    _put_quantiles(ring, cells, n, lengths, result, part)


def _put_quantiles(
    ring: PaneRing,
    cells: np.ndarray,
    n: np.ndarray,
    lengths: tuple[int, ...],
    result: Windows,
    part: slice,
) -> None:
    owner, pane = np.nonzero(n)
    entries, which = ring.sketch.gather(cells[owner, pane])
    smallest = np.searchsorted(np.array(lengths), lengths[-1] - np.arange(lengths[-1]))
    found = quantiles(owner[which], entries, smallest[pane[which]], len(cells), len(lengths), _PER_MILLE)
    low, high = result.low[:, None, part], result.high[:, None, part]
    result.quantiles[:, :, part] = np.clip(found, low, high)


def own_per_pane(n: np.ndarray) -> np.ndarray:
    """Readings that a pane of a window should have, as far as the window itself shows, while nothing else is known.

    The median count of the panes that have any; when that is one, over the median distance between such panes. A single
    reading shows nothing: 0, which makes it complete.

    Args:
        n: [windows, panes] readings that count.
    """
    if len(n) == 0:
        return np.zeros(0)
    panes = np.count_nonzero(n, axis=1)
    middle = np.maximum(panes - 1, 0) // 2
    counts = np.sort(np.where(n > 0, n, _UNKNOWN), axis=1)
    count = np.take_along_axis(counts, middle[:, None], axis=1)[:, 0].astype(np.float64)
    count[(panes == 0) | ((panes == 1) & (count == 1))] = 0.0
    sparse = np.flatnonzero((panes > 1) & (count == 1))
    if len(sparse):
        count[sparse] /= _median_distance(n[sparse] > 0)
    return count


def _median_distance(filled: np.ndarray) -> np.ndarray:
    """Lower median of the distances between neighbouring filled panes; each row has two at least."""
    place = np.arange(filled.shape[1])
    before = np.maximum.accumulate(np.where(filled, place, -1), axis=1)
    distances = np.where(filled[:, 1:] & (before[:, :-1] >= 0), place[1:] - before[:, :-1], _UNKNOWN)
    distances.sort(axis=1)
    middle = (np.count_nonzero(filled, axis=1) - 2) // 2
    return np.take_along_axis(distances, middle[:, None], axis=1)[:, 0].astype(np.float64)
