"""windows: statistics of rolling windows from panes

A window is named by its last pane and its length; it is half-open, [end - length, end), and slides by one pane. What it
holds is a function of its panes alone: the order of arrival leaves no trace but the last bits of sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streams.histograms import Histograms
from streams.panes import HIGH, LAST, LOW, SQUARES, SUM, PaneRing
from streams.sketch import NO_CODE, codes_of, quantiles, quantiles_of_rows

_PER_MILLE = (500, 950, 990)
_CHUNK = 1024
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
    histograms: Histograms | None = None,
) -> Windows:
    """Statistics of the windows of each row that end with pane `ends`.

    Args:
        ring: the panes.
        rows: int64 rows, equal ones together.
        ends: int64 last panes, rising within a row.
        lengths: window lengths in panes, rising.
        per_pane: expected readings in a pane of each; NaN = see `own_per_pane`.
        histograms: of windows of the same lengths; they spare work and change no bit.
    """
    result = Windows.empty(len(lengths), len(rows))
    if histograms is None:
        slid = np.zeros(len(rows), np.bool_)
    else:
        slid, result.quantiles = histograms.slide(ring, rows, ends, _PER_MILLE)
    for start in range(0, len(rows), _CHUNK):
        part = np.arange(start, min(start + _CHUNK, len(rows)))
        cells = ring.window_cells(rows[part], ends[part], lengths[-1])
        n = ring.n.take(cells).astype(np.int32)
        flagged = np.flatnonzero(ring.flagged[rows[part]] > ends[part] - lengths[-1])
        if len(flagged):
            at, some = part[flagged], cells[:, flagged]
            result.flags[:, at] = _nested(np.bitwise_or, ring.flags.take(some), lengths)
            result.n_excluded[:, at] = _nested(np.add, ring.n_excluded.take(some).astype(np.int64), lengths)
        kind = np.where(n.max(axis=0) <= 1, 0, np.where(slid[part], 1, 2))
        for k in range(3):
            chosen = np.flatnonzero(kind == k)
            if len(chosen) == 0:
                continue
            at = chosen if len(chosen) > 1 else np.repeat(chosen, 2)  # numpy sums a single column in another order
            some, counts = (cells, n) if len(chosen) == len(part) > 1 else (cells[:, at], n[:, at])
            at = part[at]
            if k == 0:
                panes = _thin(ring, some, counts, lengths)
            elif k == 1:
                panes = _thick(ring, some, counts, result.quantiles[:, :, at])
            else:
                entries, among = _entries(ring, some, counts, lengths)
                panes = _thick(ring, some, counts, quantiles(entries, among, _PER_MILLE))
                if histograms is not None:
                    histograms.keep(rows[at], ends[at], entries, among, panes.quantiles[-1])
            _put(panes, lengths, per_pane[at], result, at)
    return result


class _Panes(NamedTuple):
    """The panes of some windows, arrays [panes, windows], newest first; quantiles are [lengths, 3, windows].

    `squares` are sums of squared differences to the mean of the pane.
    """

    n: np.ndarray
    mean: np.ndarray
    squares: np.ndarray | None
    low: np.ndarray
    high: np.ndarray
    last: np.ndarray
    receive_time: np.ndarray
    quantiles: np.ndarray


def _thin(ring: PaneRing, cells: np.ndarray, n: np.ndarray, lengths: tuple[int, ...]) -> _Panes:
    """Panes of one reading at most: all there is to know is its value."""
    value = ring.first.take(cells)
    filled = n > 0
    codes = np.ascontiguousarray(np.where(filled, codes_of(value), NO_CODE).T)
    return _Panes(
        n,
        mean=value,
        squares=None,
        low=np.where(filled, value, np.inf),
        high=np.where(filled, value, -np.inf),
        last=value,
        receive_time=ring.receive_time.take(cells),
        quantiles=quantiles_of_rows(codes, lengths, _PER_MILLE),
    )


def _entries(
    ring: PaneRing, cells: np.ndarray, n: np.ndarray, lengths: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Sketch entries of all panes of each window, newest first, and how many of them each length has."""
    entries, counts = ring.sketches_of(cells.T.ravel(), n.T.ravel())
    return entries, _nested(np.add, counts.reshape(cells.T.shape).T, lengths)


def _thick(ring: PaneRing, cells: np.ndarray, n: np.ndarray, quantiles: np.ndarray) -> _Panes:
    """Panes of any number of readings, of which the quantiles are known."""
    first, block = ring.first.take(cells), ring.block.take(cells)
    sums = ring.sums.take(block, axis=0)
    for place in (LOW, HIGH, LAST):
        np.copyto(sums[..., place], first, where=block == 0)
    difference = sums[..., SUM] / np.maximum(n, 1)
    return _Panes(
        n,
        mean=first + difference,
        squares=sums[..., SQUARES] - n * difference * difference,
        low=np.where(n > 0, sums[..., LOW], np.inf),
        high=np.where(n > 0, sums[..., HIGH], -np.inf),
        last=sums[..., LAST],
        receive_time=ring.receive_time.take(cells),
        quantiles=quantiles,
    )


def _nested(ufunc: np.ufunc, panes: np.ndarray, lengths: tuple[int, ...]) -> np.ndarray:
    """The panes of each length combined, [lengths, windows]; each length goes on from the one before it."""
    combined = np.empty((len(lengths), panes.shape[1]), panes.dtype)
    start = 0
    for w, length in enumerate(lengths):
        combined[w] = ufunc.reduce(panes[start:length], axis=0)
        if start:
            ufunc(combined[w - 1], combined[w], out=combined[w])
        start = length
    return combined


def _put(panes: _Panes, lengths: tuple[int, ...], per_pane: np.ndarray, result: Windows, at: np.ndarray) -> None:
    """Combine panes to windows of each length, and put them into `result` at `at`."""
    newest = np.argmax(panes.n > 0, axis=0), np.arange(len(at))
    count = _nested(np.add, panes.n.astype(np.int64), lengths)
    n = np.maximum(count, 1)
    nothing = np.where(count > 0, 0.0, np.nan)
    # Differences to the newest pane: as with the first value of a pane, they cost a few bits only.
    pivot = panes.mean[newest]
    difference = panes.mean - pivot
    weighted = panes.n * difference
    total = _nested(np.add, weighted, lengths)
    weighted *= difference
    if panes.squares is not None:
        weighted += panes.squares
    squares = _nested(np.add, weighted, lengths) - total * total / n
    low, high = _nested(np.minimum, panes.low, lengths) + nothing, _nested(np.maximum, panes.high, lengths) + nothing
    result.n[:, at] = count
    result.completeness[:, at] = _completeness(panes.n, count, per_pane, lengths)
    result.mean[:, at] = pivot + total / n + nothing
    result.low[:, at], result.high[:, at] = low, high
    result.std[:, at] = np.sqrt(np.maximum(squares, 0.0) / n) + nothing
    result.last[:, at] = panes.last[newest] + nothing
    result.quantiles[:, :, at] = np.minimum(np.maximum(panes.quantiles, low[:, None]), high[:, None])
    result.receive_time[:, at] = _nested(np.maximum, panes.receive_time, lengths)


def _completeness(n: np.ndarray, count: np.ndarray, per_pane: np.ndarray, lengths: tuple[int, ...]) -> np.ndarray:
    """Readings that count over those expected in each window, at most 1; [lengths, windows]."""
    unknown = np.flatnonzero(np.isnan(per_pane))
    expected = np.tile(per_pane, (len(lengths), 1))
    for w, length in enumerate(lengths if len(unknown) else ()):
        expected[w, unknown] = own_per_pane(n[:length, unknown].T)
    found: np.ndarray = np.minimum(count / np.maximum(expected * np.array(lengths)[:, None], 1.0), 1.0)
    return found


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
