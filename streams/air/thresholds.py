"""thresholds of the European directives and guidelines of the World Health Organization

Sources: Directive 2008/50/EC, annexes XI and XII; Directive (EU) 2024/2881, annex I; World Health Organization, Global
Air Quality Guidelines, 2021, table 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Directive = Literal["2008/50/EC", "2024/2881"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Exceeded when every one of `hours` hourly means in a row is above `ug_m3`."""

    ug_m3: float
    hours: int = 1


INFORMATION: dict[Directive, dict[str, Threshold]] = {
    "2008/50/EC": {"o3": Threshold(180)},
    "2024/2881": {"o3": Threshold(180), "no2": Threshold(150, 3), "so2": Threshold(275, 3)},
}
ALERT: dict[Directive, dict[str, Threshold]] = {
    "2008/50/EC": {"o3": Threshold(240), "no2": Threshold(400, 3), "so2": Threshold(500, 3)},
    "2024/2881": {"o3": Threshold(240), "no2": Threshold(200, 3), "so2": Threshold(350, 3)},
}
DAILY_2024: dict[str, float] = {"pm2_5": 50.0, "pm10": 90.0}
"""Information and alert threshold of daily means, Directive (EU) 2024/2881, ug/m3."""
WHO_2021_DAILY: dict[str, float] = {"pm2_5": 15.0, "pm10": 45.0, "no2": 25.0, "so2": 40.0, "co": 4_000.0}
"""WHO 24-hour guideline levels, ug/m3."""
WHO_2021_O3_8H = 100.0
"""WHO guideline level of the highest 8-hour mean of ozone, ug/m3."""


def exceeded(hourly_mean: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Whether the threshold is exceeded at each hour.

    Args:
        hourly_mean: float64, shape (..., hours), consecutive hours, oldest first; a missing hour (NaN) ends a run.
        threshold: what must not be exceeded.

    Returns:
        bool of the same shape: True at hours that end a run of at least `threshold.hours` hours above it.
    """
    above = np.asarray(hourly_mean, np.float64) > threshold.ug_m3
    result = above.copy()
    for back in range(1, threshold.hours):
        earlier = np.zeros_like(above)
        earlier[..., back:] = above[..., :-back]
        result &= earlier
    return result
