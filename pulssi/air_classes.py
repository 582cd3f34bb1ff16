"""the compounds of air quality indices, and the class limits of the Finnish one, for whoever colours or computes

Class limits: Finnish Meteorological Institute, Air quality index, and HSY, Air quality index, class table, read 2026.
Carbon monoxide is in the older tables only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

COMPOUNDS = ("so2", "no2", "pm10", "pm2_5", "o3", "co", "trs", "black_carbon")
"""Every compound that some index knows; the place in this order is the number of a dominant compound in a frame."""

FINNISH_LIMITS: Mapping[str, tuple[float, float, float, float]] = MappingProxyType(
    {
        "so2": (20, 80, 250, 350),
        "no2": (40, 70, 150, 200),
        "pm10": (20, 50, 100, 200),
        "pm2_5": (10, 25, 50, 75),
        "o3": (60, 100, 140, 180),
        "co": (4_000, 8_000, 20_000, 30_000),
        "trs": (5, 10, 20, 50),
        "black_carbon": (1, 3, 7, 12),
    },
)
"""Upper limits of the first four classes, ug/m3, hourly mean. A mean equal to a limit belongs to the worse class, but
for the last limit, which is still poor."""
