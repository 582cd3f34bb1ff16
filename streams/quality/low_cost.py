"""low_cost: what optical particle sensors get wrong"""

from __future__ import annotations

import numpy as np

from pulssi.quality import Quality

HUMID = 85.0
"""Relative humidity (%) from which droplets are counted as particles: the growth of particles rises steeply there."""


def humidity_flags(humidity: np.ndarray) -> np.ndarray:
    """HUMIDITY where the air is so humid that the particle count of a low-cost sensor is too high, int32.

    Args:
        humidity: relative humidity at the sensor, %; NaN = not known, which says nothing.
    """
    return np.where(humidity >= HUMID, np.int32(Quality.HUMIDITY), np.int32(0))
