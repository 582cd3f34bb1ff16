"""grouping: small vectorised steps on rows that belong together"""

from __future__ import annotations

import numpy as np


def order_by(keys: np.ndarray) -> np.ndarray:
    """Order that sorts non-negative integer keys, equal ones as they came; int64 indices.

    By 16 bits at a time, since numpy sorts those by radix, 25 times faster than it sorts 64.
    """
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    rest = int(keys.max()) >> 16 if len(keys) else 0
    shift = 16
    while rest:
        order = order[np.argsort((keys[order] >> shift).astype(np.uint16), kind="stable")]
        rest, shift = rest >> 16, shift + 16
    return order


def starts_of(*keys: np.ndarray) -> np.ndarray:
    """Index of the first row of each run of equal keys."""
    n = len(keys[0])
    first = np.zeros(n, np.bool_)
    if n:
        first[0] = True
    for key in keys:
        first[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(first)


def lengths_of(starts: np.ndarray, n: int) -> np.ndarray:
    """Lengths of the runs that begin at `starts` in `n` rows."""
    return np.asarray(ends_of(starts, n) - starts + 1)


def ends_of(starts: np.ndarray, n: int) -> np.ndarray:
    """Index of the last row of each of the runs that begin at `starts` in `n` rows."""
    ends = np.empty_like(starts)
    ends[:-1] = starts[1:]
    ends[-1:] = n
    ends -= 1
    return ends


def ranges(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ranges `starts[i] ... starts[i] + lengths[i] - 1` one after the other, and the i of each number."""
    owner = np.repeat(np.arange(len(starts)), lengths)
    ends = np.cumsum(lengths)
    offset = starts - (ends - lengths)
    return np.arange(len(owner), dtype=np.int64) + offset[owner], owner


def running_max(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Greatest value so far within each run; doubling steps, so a run of length n takes log2(n) passes."""
    result: np.ndarray = values.copy()
    n = len(values)
    lengths = lengths_of(starts, n)
    longest = int(lengths.max()) if n else 0
    if longest <= 1:
        return result
    place = np.arange(n) - np.repeat(starts, lengths)
    step = 1
    while step < longest:
        reached = np.flatnonzero(place >= step)
        result[reached] = np.maximum(result[reached], result[reached - step])
        step *= 2
    return result


def shifted(values: np.ndarray, starts: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Each value replaced by the one before it in its run; the first of a run by `first` of the run."""
    result = np.empty_like(values)
    result[1:] = values[:-1]
    result[starts] = first
    return result
