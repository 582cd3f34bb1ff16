"""calibration: corrections of low-cost sensors, for as long as each is valid"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ALWAYS = (-(1 << 62), 1 << 62)


def purpleair_2021(pm2_5: np.ndarray, humidity: np.ndarray) -> np.ndarray:
    """PM2.5 of a PurpleAir sensor as the US EPA corrects it for its fire and smoke map.

    Source: US EPA, AirNow Fire and Smoke Map, questions and answers, October 2021.

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


@dataclass(frozen=True, slots=True)
class Calibration:
    """One correction of the PM2.5 of one device.

    Attributes:
        device_id: the device.
        method: a key of `METHODS`.
        valid_from: first us at which it holds.
        valid_until: first us at which it holds no more.
    """

    device_id: str
    method: str
    valid_from: int = _ALWAYS[0]
    valid_until: int = _ALWAYS[1]


def calibrated(
    calibrations: Sequence[Calibration],
    device_id: str,
    time: np.ndarray,
    pm2_5: np.ndarray,
    humidity: np.ndarray,
) -> np.ndarray:
    """PM2.5 of one device with the correction that holds at each time; where none does, as it is.

    Args:
        calibrations: of any devices; of several that hold the last one counts.
        device_id: whose values these are.
        time: int64 us.
        pm2_5: float64 ug/m3, same shape.
        humidity: float64 %RH, same shape.
    """
    result = np.array(pm2_5, np.float64)
    for one in calibrations:
        if one.device_id == device_id:
            holds = (time >= one.valid_from) & (time < one.valid_until)
            result = np.where(holds, METHODS[one.method](pm2_5, humidity), result)
    return result
