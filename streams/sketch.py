"""sketch: quantiles from small integers, mergeable in any order

A value is counted under the upper 16 bits of its float32: sign, exponent and 7 bits of the mantissa, mapped so that
codes sort as values do. That makes 128 buckets in each octave from 1e-38 to 3e38, of both signs, with nothing to tune
and no logarithm: a log-linear histogram as in HdrHistogram (G. Tene, 2012) with the merging of DDSketch (Masson, Rim
and Lee, 2019). The middle of a bucket is within `RELATIVE_ERROR` of everything in it. A sketch is the multiset of the
codes; merging is union, so the result does not depend on order.
"""

from __future__ import annotations

import numpy as np

RELATIVE_ERROR = 2.0**-8
"""Greatest distance of an estimated quantile from the exact one, relative to it (0.4 %)."""

NO_CODE = np.uint16(0xFFFF)
"""The code of no value, greater than all others."""

_GREATEST = 3.38e38
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


def quantiles(
    owner: np.ndarray,
    entries: np.ndarray,
    group: np.ndarray,
    owners: int,
    groups: int,
    per_mille: tuple[int, ...],
) -> np.ndarray:
    """Quantiles by nearest rank over nested groups of entries.

    The quantile q of n values is the ceil(q n)-th smallest; nothing is interpolated.

    Args:
        owner: int64 in [0, owners), whose entry it is.
        entries: uint32 entries.
        group: int64 in [0, groups): smallest of the nested groups that the entry is in; it is in all greater ones too.
        owners: number of owners.
        groups: number of nested groups, at most 16.
        per_mille: which quantiles, in thousandths.

    Returns:
        float64 [groups, len(per_mille), owners]; NaN where a group of an owner is empty.
    """
    result = np.full((groups, len(per_mille), owners), np.nan)
    packed = (owner << 36) | ((entries.astype(np.int64) >> 16) << 20) | (group << 16) | (entries & np.uint32(0xFFFF))
    packed.sort()
    ends = np.searchsorted(packed, np.arange(1, owners + 1, dtype=np.int64) << 36)
    counts, groups_of = packed & 0xFFFF, (packed >> 16) & 0xF
    codes = ((packed >> 20) & 0xFFFF).astype(np.uint16)
    for g in range(groups):
        total = np.concatenate(([0], np.cumsum(np.where(groups_of <= g, counts, 0))))
        until = total[ends]
        before = np.concatenate(([0], until[:-1]))
        n = until - before
        some = np.flatnonzero(n)
        for i, q in enumerate(per_mille):
            rank = (q * n[some] + 999) // 1000
            place = np.searchsorted(total[1:], before[some] + np.maximum(rank, 1))
            result[g, i, some] = values_of(codes[place])
    return result


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
