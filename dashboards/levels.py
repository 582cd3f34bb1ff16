"""levels: how good or bad a value is, 0 (good) to 4 (very poor), for colours and words

Air: class bounds of the Finnish air quality index for hourly means in ug/m3 (Finnish Meteorological Institute and HSY,
"Air quality index", class table). Put beside the newest value they orient; the index itself is an indicator.
Traffic: Digitraffic's classes of speed as a share of free-flow speed (Fintraffic, LAM documentation), the fastest two
as one.
"""

from __future__ import annotations

from bisect import bisect_right
from types import MappingProxyType

LEVELS = 5

AIR = MappingProxyType(
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
"""Upper bounds of levels 0 to 3; a value equal to a bound is in the worse level, but for the last, as in streams."""

FREE_FLOW_SHARE = (10, 25, 75, 90)
"""Percent: stationary, queuing, slow, platooning, fluent."""


def level_of(quantity: str, value: float) -> int | None:
    """The level of a value in the unit of its quantity; None where the quantity has no bands."""
    if quantity == "free_flow_share":
        return LEVELS - 1 - bisect_right(FREE_FLOW_SHARE, value)
    bounds = AIR.get(quantity)
    if bounds is None:
        return None
    return bisect_right(bounds[:-1], value) + (value > bounds[-1])
