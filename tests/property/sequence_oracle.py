"""What the checks of sequences say of the readings of one series: looked up anew for each reading, in plain lists."""

from __future__ import annotations

import statistics
from itertools import groupby, pairwise

import numpy as np

from pulssi.quality import Quality
from streams.cadence import INTERVALS
from streams.quality import sequence

S = 1_000_000


def own_flags(readings, limits, pane):
    """STEP, STUCK and GAP of the last of `readings`, a list of (event time, value) in order."""
    _, _, step_max, stuck_s = limits
    (time, value), flags = readings[-1], 0
    if len(readings) > 1:
        before, value_before = readings[-2]
        if time - before <= sequence.NEIGHBOUR_S * S and abs(value - value_before) > step_max:
            flags |= Quality.STEP
        intervals = [b - a for (a, _), (b, _) in pairwise(readings)]
        if len(intervals) > INTERVALS and time // pane > readings[INTERVALS][0] // pane:
            usual = statistics.median_low(intervals[:INTERVALS])
            if time - before > sequence.GAP_INTERVALS * usual:
                flags |= Quality.GAP
    if stuck(readings, stuck_s):
        flags |= Quality.STUCK
    return int(flags)


def stuck(readings, stuck_s):
    stands = [list(group) for _, group in groupby(readings, key=lambda reading: reading[1])]
    now = stands[-1]
    if now[-1][0] - now[0][0] >= stuck_s * S:
        return True
    before = sorted(len(stand) - 1 for stand in stands[:-1])
    longest = before[-2] if len(before) > 1 else 0
    unusual = len(now) - 1 >= max(sequence.STUCK_REPEATS_MIN, sequence.STUCK_TIMES_LONGEST * longest)
    return unusual and len(stands) > sequence.STUCK_CHANGES_MIN and stuck_s < float("inf")


def spike(readings, judged, limits):
    """Whether the reading `judged` is a spike among the last seven of `readings`."""
    around = readings[-2 * sequence.AROUND - 1 :]
    if len(around) < 2 * sequence.AROUND + 1 or around[-1][0] - around[0][0] > 6 * sequence.NEIGHBOUR_S * S:
        return False
    values = [value for _, value in around]
    middle = statistics.median(values)
    spread = 1.4826 * statistics.median(abs(value - middle) for value in values)
    limit = max(sequence.SPIKE_OF_STEP * limits[2], sequence.SPIKE_DEVIATIONS * spread)
    return abs(judged[1] - middle) > limit


def arrived(readings, limits, pane):
    """Flags of the last reading when it arrives."""
    flags = own_flags(readings, limits, pane)
    if spike(readings, readings[-1], limits):
        flags |= int(Quality.SPIKE)
    return flags | int(Quality.PROVISIONAL) if flags else 0


def settled(readings, limits, pane):
    """The reading that is judged when the last of `readings` has settled, and its flags; None while there is none."""
    judged = len(readings) - 1 - sequence.AROUND
    if judged < 0:
        return None
    flags = own_flags(readings[: judged + 1], limits, pane)
    if spike(readings, readings[judged], limits):
        flags |= int(Quality.SPIKE)
    return readings[judged][0], flags


def as_compared(value):
    return float(np.float32(value))
