"""low_cost: what optical particle sensors get wrong, and the correction that US EPA gives for one kind of them"""

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


def epa_corrected(pm2_5: np.ndarray, humidity: np.ndarray) -> np.ndarray:
    """PM2.5 of a PurpleAir sensor as a reference would have measured it, ug/m3.

    The US-wide correction of US EPA for the AirNow fire and smoke map, October 2021, extended to heavy smoke. Each of
    its borders is a linear passage of one formula into the next. The raw value stays what is stored.

    Args:
        pm2_5: mean of both channels, `cf_1`, ug/m3.
        humidity: relative humidity of the sensor, %.
    """
    p, rh = pm2_5, humidity
    low, high = np.clip(p / 20 - 1.5, 0, 1), np.clip(p / 50 - 4.2, 0, 1)
    clean = (0.786 * low + 0.524 * (1 - low)) * p - 0.0862 * rh + 5.75
    smoky = (0.69 * high + 0.786 * (1 - high)) * p
    smoky += -0.0862 * rh * (1 - high) + 2.966 * high + 5.75 * (1 - high) + 8.84e-4 * p * p * high
    return np.asarray(np.maximum(np.where(p < 210, clean, smoky), 0.0))
