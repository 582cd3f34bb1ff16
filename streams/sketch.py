"""sketch: quantiles from small integers, mergeable in any order

A value is counted under the upper 16 bits of its float32: sign, exponent and 7 bits of the mantissa, mapped so that
codes sort as values do. That makes 128 buckets in each octave from 1e-38 to 3e38, of both signs, with nothing to tune
and no logarithm: a log-linear histogram as in HdrHistogram (G. Tene, 2012) with the merging of DDSketch (Masson, Rim
and Lee, 2019). The middle of a bucket is within `RELATIVE_ERROR` of everything in it. A sketch is the multiset of the
codes; merging is union, so the result does not depend on order.
"""

from __future__ import annotations

import numpy as np

from streams.grouping import ranges
from streams.lists import by_size, sizes_of

RELATIVE_ERROR = 2.0**-8
"""Greatest distance of an estimated quantile from the exact one, relative to it (0.4 %)."""

NO_CODE = np.uint16(0xFFFF)
"""The code of no value, greater than all others."""

_NOTHING = np.uint32(0xFFFF0000)  # sorts behind all entries and counts nothing
_GREATEST = 3.38e38
_SORTED_BITS = 8
_OWNERS = 256
_SIGN = np.uint32(1 << 31)


def codes_of(values: np.ndarray) -> np.ndarray:
    """The uint16 code of each float64 value; monotone."""
    narrow = np.minimum(np.maximum(values, -_GREATEST), _GREATEST).astype(np.float32)
    bits = (narrow + np.float32(0.0)).view(np.uint32)  # -0.0 is 0.0
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return np.asarray(ordered >> np.uint32(16), np.uint16)


def values_of(codes: np.ndarray) -> np.ndarray:
    """The middle of the bucket of each uint16 code, float64."""
    ordered = (codes.astype(np.uint32) << np.uint32(16)) | np.uint32(0x8000)
    bits = np.where(ordered & _SIGN, ordered ^ _SIGN, ~ordered)
    return bits.view(np.float32).astype(np.float64)


def entries_of(codes: np.ndarray) -> np.ndarray:
    """Sketch entries (uint32: code, count) that count each code once."""
    return (codes.astype(np.uint32) << np.uint32(16)) | np.uint32(1)


def merge(owner: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One entry for each code of each owner.

    Args:
        owner: non-negative int64, whose entry it is.
        entries: uint32 entries; the counts of one owner add up to less than 65,536.

    Returns:
        Owner and entry, sorted.
    """
    packed = (owner.astype(np.int64) << 32) | entries.astype(np.int64)
    packed.sort()
    codes = packed >> 16
    first = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    counts = np.add.reduceat(packed & 0xFFFF, first)
    return packed[first] >> 32, (((packed[first] & 0xFFFF0000) | counts).astype(np.uint32))


def quantiles(entries: np.ndarray, starts: np.ndarray, counts: np.ndarray, per_mille: tuple[int, ...]) -> np.ndarray:
    """Quantiles by nearest rank.

    The quantile q of n values is the ceil(q n)-th smallest; nothing is interpolated.

    Args:
        entries: uint32 entries; those of one owner stand together, their order means nothing.
        starts: int64 [owners], first entry of each.
        counts: int64 [owners], how many entries each has.
        per_mille: which quantiles, in thousandths.

    Returns:
        float64 [len(per_mille), owners]; NaN where an owner has no entries.
    """
    result = np.full((len(per_mille), len(starts)), np.nan)
    some = np.flatnonzero(counts)
    for k, chosen in by_size(sizes_of(counts[some])):
        which, find = some[chosen], _by_sorting if k <= _SORTED_BITS else _by_counting
        for start in range(0, len(which), _OWNERS):
            own = which[start : start + _OWNERS]
            result[:, own] = find(entries, starts[own], counts[own], per_mille)
    return result


def _by_sorting(entries: np.ndarray, starts: np.ndarray, counts: np.ndarray, per_mille: tuple[int, ...]) -> np.ndarray:
    """For short lists: each in a row of its own."""
    steps = np.arange(int(counts.max()))
    inside = steps < counts[:, None]
    ordered = np.where(inside, entries[np.where(inside, starts[:, None] + steps, 0)], _NOTHING)
    ordered.sort(axis=1)
    total = np.cumsum(ordered & np.uint32(0xFFFF), axis=1, dtype=np.int64)
    own, places = np.arange(len(starts)), _places(total, per_mille)
    return np.array([values_of((ordered[own, at] >> np.uint32(16)).astype(np.uint16)) for at in places])


def _by_counting(entries: np.ndarray, starts: np.ndarray, counts: np.ndarray, per_mille: tuple[int, ...]) -> np.ndarray:
    """For long lists, in which codes come again: a histogram over the codes that any of them has."""
    place, owner = ranges(starts, counts)
    chosen = entries[place]
    code = chosen >> np.uint32(16)
    seen = np.zeros(1 << 16, np.bool_)
    seen[code] = True
    number = np.cumsum(seen) - 1
    codes = np.flatnonzero(seen).astype(np.uint16)
    cell = owner * len(codes) + number[code]
    histogram = np.bincount(cell, chosen & np.uint32(0xFFFF), len(starts) * len(codes))
    total = np.cumsum(histogram.reshape(len(starts), -1), axis=1)
    return np.array([values_of(codes[at]) for at in _places(total, per_mille)])


def _places(total: np.ndarray, per_mille: tuple[int, ...]) -> list[np.ndarray]:
    """Where each row of running counts reaches the rank of each quantile."""
    n = total[:, -1].astype(np.int64)
    return [(total >= np.maximum((q * n + 999) // 1000, 1)[:, None]).argmax(axis=1) for q in per_mille]


def quantiles_of_rows(codes: np.ndarray, per_mille: tuple[int, ...]) -> np.ndarray:
    """The same quantiles of one group of each owner, when each entry counts one value.

    Args:
        codes: uint16 [owners, values], NO_CODE where there is none.
        per_mille: which quantiles, in thousandths.

    Returns:
        float64 [len(per_mille), owners]; NaN where an owner has no values.
    """
    ordered = np.sort(codes, axis=1)
    n = np.count_nonzero(ordered != NO_CODE, axis=1)
    owners, nothing = np.arange(len(codes)), np.where(n > 0, 0.0, np.nan)
    places = [np.maximum((q * n + 999) // 1000, 1) - 1 for q in per_mille]
    return np.array([values_of(np.where(n > 0, ordered[owners, place], 0)) + nothing for place in places])
