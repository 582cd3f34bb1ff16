"""channels: several sensors of one compound in one device, and whether they can be believed"""

from __future__ import annotations

import numpy as np

_PARTICLES = frozenset({"pm2_5", "pm10"})
_APART_UG_M3 = 5.0
_APART_SHARE = 0.7


def agreed_mean(compound: str, channels: np.ndarray) -> np.ndarray:
    """Mean over the channels that have a value; NaN where channels of particles disagree.

    Optical particle counters with two channels disagree when they are more than 5 ug/m3 and more than 70 % of their
    mean apart (US EPA, PurpleAir correction and quality rules for the AirNow fire and smoke map, 2021).

    Args:
        compound: a word of the vocabulary.
        channels: float64 ug/m3, shape (channels, ...); NaN = missing.

    Returns:
        float64, shape (...).
    """
    there = ~np.isnan(channels)
    mean = np.where(there, channels, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    result = np.where(there.any(axis=0), mean, np.nan)
    if compound not in _PARTICLES:
        return result
    apart = np.where(there, channels, -np.inf).max(axis=0) - np.where(there, channels, np.inf).min(axis=0)
    return np.where((apart > _APART_UG_M3) & (apart > _APART_SHARE * np.abs(mean)), np.nan, result)
