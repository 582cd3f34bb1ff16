"""quality flags: what was noticed about a reading, never a change of its value"""

from __future__ import annotations

from enum import IntFlag


class Quality(IntFlag):
    """Bits of the `quality` column (u16) and of the `flags` column of an indicator."""

    GOOD = 0
    RANGE = 1 << 0  # outside the valid range of its quantity
    STEP = 1 << 1  # changed faster than is credible
    STUCK = 1 << 2  # the same value for longer than is credible
    SPIKE = 1 << 3  # alone far from its neighbours in time
    GAP = 1 << 4  # the first one after a silence
    CLOCK = 1 << 5  # the device clock is not credible
    LATE = 1 << 6  # older than the horizon: stored, in no window
    DUPLICATE = 1 << 7  # seen before with the same series and time
    NEIGHBOUR = 1 << 8  # disagrees with the stations around it
    DRIFT = 1 << 9  # moves away from a reference
    HUMIDITY = 1 << 10  # low-cost particle sensor in humid air
    CHANNELS = 1 << 11  # the two channels of one sensor disagree
    PROVISIONAL = 1 << 12  # the check may still change until the horizon has passed


EXCLUDED = Quality.RANGE | Quality.STUCK | Quality.CLOCK | Quality.LATE | Quality.DUPLICATE | Quality.CHANNELS
"""Readings with one of these are left out of indicators and counted as excluded."""
