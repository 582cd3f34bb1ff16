"""windows: statistics of rolling windows from panes

A window is named by its last pane and its length; it is half-open, [end - length, end), and slides by one pane. What it
holds is a function of its panes alone: the order of arrival leaves no trace but the last bits of sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streams.panes import PaneRing
from streams.sketch import NO_CODE, codes_of, quantiles, quantiles_of_rows

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
        part = np.arange(start, min(start + _CHUNK, len(rows)))
        cells = ring.window_cells(rows[part], ends[part], lengths[-1])
        n = ring.n.take(cells).astype(np.int32)
        thin = n.max(axis=1) <= 1
        for chosen, view in ((np.flatnonzero(thin), _thin), (np.flatnonzero(~thin), _thick)):
            if len(chosen):
                everything = len(chosen) == len(part)
                panes = view(ring, cells if everything else cells[chosen], n if everything else n[chosen], lengths)
                _put(panes, lengths, per_pane[part[chosen]], result, part[chosen])
    return result


class _Panes(NamedTuple):
    """The panes of some windows, arrays [windows, panes], and quantiles of each length, [lengths, 3, windows]."""

    n: np.ndarray
    n_excluded: np.ndarray
    total: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    last: np.ndarray
    flags: np.ndarray
    receive_time: np.ndarray
    quantiles: np.ndarray


def _thin(ring: PaneRing, cells: np.ndarray, n: np.ndarray, lengths: tuple[int, ...]) -> _Panes:
    """Panes of one reading at most: all there is to know is its value."""
    value = ring.first.take(cells)
    filled = n > 0
    codes = np.where(filled, codes_of(value), NO_CODE)
    return _Panes(
        n,
        ring.n_excluded.take(cells),
        total=value,
        mean=value,
        squares=np.zeros_like(value),
        low=np.where(filled, value, np.inf),
        high=np.where(filled, value, -np.inf),
        last=value,
        flags=ring.flags.take(cells),
        receive_time=ring.receive_time.take(cells),
        quantiles=np.array([quantiles_of_rows(codes[:, -length:], _PER_MILLE) for length in lengths]),
    )


def _thick(ring: PaneRing, cells: np.ndarray, n: np.ndarray, lengths: tuple[int, ...]) -> _Panes:
    """Panes of any number of readings."""
    sums = ring.sum.take(cells)
    n_or_one = np.maximum(n, 1)
    total = n * ring.first.take(cells) + sums
    owner, pane = np.nonzero(n)
    entries, which = ring.sketch.gather(cells[owner, pane])
    smallest = np.searchsorted(np.array(lengths), lengths[-1] - np.arange(lengths[-1]))
    groups = smallest[pane[which]]
    return _Panes(
        n,
        ring.n_excluded.take(cells),
        total=total,
        mean=total / n_or_one,
        squares=ring.squares.take(cells) - sums * sums / n_or_one,
        low=ring.low.take(cells),
        high=ring.high.take(cells),
        last=ring.last.take(cells),
        flags=ring.flags.take(cells),
        receive_time=ring.receive_time.take(cells),
        quantiles=quantiles(owner[which], entries, groups, len(cells), len(lengths), _PER_MILLE),
    )


def _put(panes: _Panes, lengths: tuple[int, ...], per_pane: np.ndarray, result: Windows, at: np.ndarray) -> None:
    """Combine panes to windows of each length, and put them into `result` at `at`."""
    longest = lengths[-1]
    unknown = np.flatnonzero(np.isnan(per_pane))
    newest = longest - 1 - np.argmax(panes.n[:, ::-1] > 0, axis=1)
    last = panes.last[np.arange(len(at)), newest]
    for w, length in enumerate(lengths):
        here = np.s_[:, longest - length :]
        n = panes.n[here]
        count = n.sum(axis=1, dtype=np.int64)
        nothing = np.where(count > 0, 0.0, np.nan)
        mean = panes.total[here].sum(axis=1) / np.maximum(count, 1)
        between = panes.mean[here] - mean[:, None]
        squares = panes.squares[here].sum(axis=1) + (n * between * between).sum(axis=1)
        low, high = panes.low[here].min(axis=1) + nothing, panes.high[here].max(axis=1) + nothing
        expected = per_pane.copy()
        expected[unknown] = own_per_pane(n[unknown])
        result.n[w, at] = count
        result.n_excluded[w, at] = panes.n_excluded[here].sum(axis=1)
        result.completeness[w, at] = np.minimum(count / np.maximum(expected * length, 1.0), 1.0)
        result.mean[w, at] = mean + nothing
        result.low[w, at], result.high[w, at] = low, high
        result.std[w, at] = np.sqrt(np.maximum(squares, 0.0) / np.maximum(count, 1)) + nothing
        result.last[w, at] = last + nothing
        result.quantiles[w, :, at] = np.minimum(np.maximum(panes.quantiles[w], low), high).T
        result.flags[w, at] = np.bitwise_or.reduce(panes.flags[here], axis=1)
        result.receive_time[w, at] = panes.receive_time[here].max(axis=1)


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
