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
_COUNT = np.uint32(0xFFFF)
_ELEMENTS = 1 << 17
"""Entries worked on at once: so many stay near the processor."""

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


def quantiles(entries: np.ndarray, counts: np.ndarray, per_mille: tuple[int, ...]) -> np.ndarray:
    """Quantiles by nearest rank, of nested groups of each owner.

    The quantile q of n values is the ceil(q n)-th smallest; nothing is interpolated.

    Args:
        entries: uint32 entries, those of one owner after those of another; their order within a group means nothing.
        counts: int64 [groups, owners], how many of the first entries of each owner are in each group; rising, the last
            group has all of them.
        per_mille: which quantiles, in thousandths.

    Returns:
        float64 [groups, len(per_mille), owners]; NaN where a group has no entries.
    """
    most = counts[-1]
    starts = most.cumsum() - most
    codes = np.zeros((len(counts), len(per_mille), len(most)), np.uint16)
    some = most.nonzero()[0]
    for k, chosen in by_size(sizes_of(most[some])):
        which = some[chosen]
        owners = max(_ELEMENTS >> k, 1)
        for begin in range(0, len(which), owners):
            own = which[begin : begin + owners]
            if own[-1] - own[0] == len(own) - 1:
                mine = entries[starts[own[0]] : starts[own[-1]] + most[own[-1]]]
            else:
                mine = entries[ranges(starts[own], most[own])[0]]
            codes[:, :, own] = _codes(mine, counts[:, own], per_mille)
    return values_of(codes) + np.where(counts > 0, 0.0, np.nan)[:, None]


def _codes(entries: np.ndarray, counts: np.ndarray, per_mille: tuple[int, ...]) -> np.ndarray:
    """Codes of the quantiles, [groups, len(per_mille), owners], by sorting: the entries of each owner are a row."""
    steps, own = np.arange(int(counts[-1].max())), np.arange(counts.shape[1])
    together = np.full((len(own), len(steps)), _NOTHING)
    together[steps < counts[-1][:, None]] = entries
    merged = np.count_nonzero((entries & _COUNT) > 1) > 0
    codes = np.zeros((len(counts), len(per_mille), len(own)), np.uint16)
    for found, n in zip(codes, counts, strict=True):
        width = max(int(n.max()), 1)
        ordered = np.where(steps[:width] < n[:, None], together[:, :width], _NOTHING)
        ordered.sort(axis=1)
        if merged:
            places = _places(np.cumsum(ordered & _COUNT, axis=1, dtype=np.uint32), per_mille)
        else:
            places = [rank - 1 for rank in ranks(n, per_mille)]
        for q, place in enumerate(places):
            found[q] = ordered[own, place] >> np.uint32(16)
    return codes


def _places(total: np.ndarray, per_mille: tuple[int, ...]) -> list[np.ndarray]:
    """Where each row of running counts reaches the rank of each quantile."""
    return [(total >= rank.astype(total.dtype)[:, None]).argmax(axis=1) for rank in ranks(total[:, -1], per_mille)]


def ranks(n: np.ndarray, per_mille: tuple[int, ...]) -> list[np.ndarray]:
    """Rank of each quantile among n values, from 1 on; int64."""
    n = n.astype(np.int64)
    return [np.maximum((q * n + 999) // 1000, 1) for q in per_mille]


def quantiles_of_rows(codes: np.ndarray, lengths: tuple[int, ...], per_mille: tuple[int, ...]) -> np.ndarray:
    """The same quantiles of nested groups of each owner, when each entry counts one value.

    Args:
        codes: uint16 [owners, values], NO_CODE where there is none.
        lengths: of the groups: how many of the first columns are in each.
        per_mille: which quantiles, in thousandths.

    Returns:
        float64 [groups, len(per_mille), owners]; NaN where a group has no values.
    """
    owners = np.arange(len(codes))
    found, nothing = (
        np.empty((len(lengths), len(per_mille), len(codes)), np.uint16),
        np.empty((len(lengths), len(codes))),
    )
    for group, length in enumerate(lengths):
        ordered = np.sort(codes[:, :length], axis=1)
        n = np.count_nonzero(ordered != NO_CODE, axis=1)
        nothing[group] = np.where(n > 0, 0.0, np.nan)
        for q, rank in enumerate(ranks(n, per_mille)):
            found[group, q] = ordered[owners, rank - 1]
    return values_of(found) + nothing[:, None]
