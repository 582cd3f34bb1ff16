"""calibration: corrections of low-cost particle sensors; `streams.sensors` says of which, and when each holds"""

from __future__ import annotations

import numpy as np


def purpleair_2021(pm2_5: np.ndarray, humidity: np.ndarray) -> np.ndarray:
    """PM2.5 of a PurpleAir sensor as the US EPA corrects it for its fire and smoke map.

    Source: US EPA, AirNow Fire and Smoke Map, questions and answers, October 2021. Each of its borders is a linear
    passage of one formula into the next.

    Args:
        pm2_5: float64 ug/m3, hourly mean over both channels, "cf_1"; NaN = missing.
        humidity: float64 %RH of the sensor itself, same shape.

    Returns:
        float64 ug/m3, not below 0; NaN where either is missing.
    """
    p, rh = np.asarray(pm2_5, np.float64), np.asarray(humidity, np.float64)
    low, high = p / 20 - 1.5, p / 50 - 4.2
    lines = [
        0.524 * p - 0.0862 * rh + 5.75,
        (0.786 * low + 0.524 * (1 - low)) * p - 0.0862 * rh + 5.75,
        0.786 * p - 0.0862 * rh + 5.75,
        (0.69 * high + 0.786 * (1 - high)) * p
        - 0.0862 * rh * (1 - high)
        + 2.966 * high
        + 5.75 * (1 - high)
        + 8.84e-4 * p**2 * high,
        2.966 + 0.69 * p + 8.84e-4 * p**2 + 0.0 * rh,
    ]
    corrected = np.select([p < 30, p < 50, p < 210, p < 260], lines[:-1], lines[-1])
    return np.maximum(corrected, 0.0)


METHODS = {"purpleair_2021": purpleair_2021}
"""Corrections of PM2.5 by humidity, by name."""
