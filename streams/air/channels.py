"""channels: several sensors of one compound in one device, and whether they can be believed"""

from __future__ import annotations

import numpy as np

PARTICLES = frozenset({"pm1", "pm2_5", "pm10"})
"""Compounds that are counted by light, for which the rule is made."""

CHECKED = "checked"
"""Channel of what `streams.air.particles` makes of a low-cost sensor: of its particles, only that counts."""

_APART_UG_M3 = 5.0
_APART_SHARE = 0.7


def agreed_mean(compound: str, channels: np.ndarray) -> np.ndarray:
    """Mean over the channels that have a value; NaN where channels of particles disagree.

    Args:
        compound: a word of the vocabulary.
        channels: float64 ug/m3, shape (channels, ...); NaN = missing.

    Returns:
        float64, shape (...).
    """
    mean = _mean(channels)
    return np.where(apart(compound, channels), np.nan, mean) if compound in PARTICLES else mean


def apart(compound: str, channels: np.ndarray) -> np.ndarray:
    """Where channels of particles disagree, bool; nowhere for other compounds.

    Optical particle counters with two channels disagree when they are more than 5 ug/m3 and more than 70 % of their
    mean apart (US EPA, PurpleAir correction and quality rules for the AirNow fire and smoke map, 2021).

    Args:
        compound: a word of the vocabulary.
        channels: float64 ug/m3, shape (channels, ...); NaN = missing.
    """
    distance = spread(channels)
    if compound not in PARTICLES:
        return np.zeros(distance.shape, np.bool_)
    return np.asarray((distance > _APART_UG_M3) & (distance > _APART_SHARE * np.abs(_mean(channels))))


def spread(channels: np.ndarray) -> np.ndarray:
    """How far the channels are apart, in their unit; NaN where there are none, 0 where there is one."""
    there = ~np.isnan(channels)
    distance = np.where(there, channels, -np.inf).max(axis=0) - np.where(there, channels, np.inf).min(axis=0)
    return np.where(there.any(axis=0), distance, np.nan)


def _mean(channels: np.ndarray) -> np.ndarray:
    there = ~np.isnan(channels)
    mean = np.where(there, channels, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return np.where(there.any(axis=0), mean, np.nan)
