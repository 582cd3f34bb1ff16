"""levels: how good or bad a value is, 0 (good) to 4 (very poor), for colours and words

Air: class limits of the Finnish air quality index for hourly means (`pulssi.air_classes`). Put beside the newest value
they orient; the index itself is an indicator.
Traffic: Digitraffic's classes of speed as a share of free-flow speed (Fintraffic, LAM documentation), the fastest two
as one.
"""

from __future__ import annotations

from bisect import bisect_right

from pulssi.air_classes import FINNISH_LIMITS

LEVELS = 5

FREE_FLOW_SHARE = (10, 25, 75, 90)
"""Percent: stationary, queuing, slow, platooning, fluent."""


def level_of(quantity: str, value: float) -> int | None:
    """The level of a value in the unit of its quantity; None where the quantity has no bands."""
    if quantity == "free_flow_share":
        return LEVELS - 1 - bisect_right(FREE_FLOW_SHARE, value)
    bounds = FINNISH_LIMITS.get(quantity)
    if bounds is None:
        return None
    return bisect_right(bounds[:-1], value) + (value > bounds[-1])
