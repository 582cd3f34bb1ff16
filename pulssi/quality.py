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


MEANINGS = {
    Quality.RANGE: "outside the valid range of its quantity",
    Quality.STEP: "changed by more than the largest credible step since the reading before it",
    Quality.STUCK: "the value stands still for longer than is credible, or far longer than it ever did",
    Quality.SPIKE: "far from the median of the readings around it, and nothing near follows it there",
    Quality.GAP: "the first one after a silence of more than five usual intervals",
    Quality.CLOCK: "received more than a minute before its own time: the clock of the device is wrong",
    Quality.LATE: "older than the horizon: stored, and in no window",
    Quality.DUPLICATE: "seen before with the same series and time: not stored again",
    Quality.NEIGHBOUR: "disagrees with the stations around it",
    Quality.DRIFT: "moves away from a reference station",
    Quality.HUMIDITY: "particles counted by light in air so humid that droplets count too",
    Quality.CHANNELS: "the two channels of one sensor disagree",
    Quality.PROVISIONAL: "flags beside it may change until the horizon has passed and the neighbours are known",
}
"""What each flag says, in one line."""

EXCLUDED = Quality.RANGE | Quality.STUCK | Quality.CLOCK | Quality.LATE | Quality.DUPLICATE | Quality.CHANNELS
"""Readings with one of these are left out of indicators and counted as excluded."""
