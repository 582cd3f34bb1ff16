"""single: checks of one reading by itself, which no order of arrival can change"""

from __future__ import annotations

import numpy as np

from pulssi.quality import Quality
from pulssi.times import US_PER_S

AHEAD_S_MAX = 60
"""A reading further ahead of its own receipt has a wrong clock; less may be the drift of an ordinary one."""


def range_flags(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """RANGE where a value is outside its limits, int32."""
    return np.where((values < low) | (values > high), np.int32(Quality.RANGE), np.int32(0))


def clock_flags(event_time: np.ndarray, receive_time: np.ndarray) -> np.ndarray:
    """CLOCK where a reading was received more than AHEAD_S_MAX before its own time, int32.

    A clock that is behind looks like a reading that was long under way, so nothing is said of it.
    """
    return np.where(event_time - receive_time > AHEAD_S_MAX * US_PER_S, np.int32(Quality.CLOCK), np.int32(0))
