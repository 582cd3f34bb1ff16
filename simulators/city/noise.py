"""random numbers without a state: a pure function of seed, name and count, so that time can be asked in any order

Source of the mixing function: splitmix64 (Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014).
"""

from __future__ import annotations

import numpy as np
import xxhash

from pulssi.times import US_PER_S

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def key_of(seed: int, *names: object) -> int:
    """The key of one source of chance: an unsigned 64-bit number."""
    return xxhash.xxh3_64_intdigest("\x1f".join(map(str, (seed, *names))).encode())


def keys_of(seed: int, name: str, devices: list[str]) -> np.ndarray:
    """Keys of the same chance at many devices; uint64 of their number."""
    return np.array([key_of(seed, name, device) for device in devices], np.uint64)


def _bits(keys: np.ndarray | int, counts: np.ndarray | int) -> np.ndarray:
    x = np.atleast_1d(np.asarray(keys, np.uint64)) + np.atleast_1d(counts).astype(np.uint64) * _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return np.asarray(x ^ (x >> np.uint64(31)))


def uniform(keys: np.ndarray | int, counts: np.ndarray | int) -> np.ndarray:
    """Evenly in [0, 1), for each pair of key and count."""
    return (_bits(keys, counts) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(keys: np.ndarray | int, counts: np.ndarray | int) -> np.ndarray:
    """Nearly normal with mean 0 and deviation 1: a sum of four even numbers, so never beyond 3.5."""
    bits = _bits(keys, counts)
    parts = [(bits >> np.uint64(shift) & np.uint64(0xFFFF)).astype(np.float64) for shift in (0, 16, 32, 48)]
    return np.asarray((sum(parts) / 65_535 - 2) * 3**0.5)


def smooth(keys: np.ndarray | int, times: np.ndarray, scale_s: float) -> np.ndarray:
    """Chance that changes slowly: between two `normal` numbers every `scale_s`, on a half cosine."""
    at = np.asarray(times) / (scale_s * US_PER_S)
    count = np.floor(at)
    part = (1 - np.cos(np.pi * (at - count))) / 2
    count = count.astype(np.int64)
    return normal(keys, count) * (1 - part) + normal(keys, count + 1) * part
