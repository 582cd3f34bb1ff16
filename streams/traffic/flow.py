"""flow, speed and density of a road, and what they are called

Density follows from the fundamental relation q = k v. Units: speed km/h, flow veh/h, density veh/km.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

KM_PER_MILE = 1.609344


class FreeFlow(IntEnum):
    """Classes of speed as a share of the free-flow speed.

    Source: Fintraffic, Digitraffic, TMS sensors 5158 and 5161, class limits of the five-minute sliding share, 2026.
    """

    STATIONARY = 0
    QUEUING = 1
    SLOW = 2
    PLATOONING = 3
    FLUENT = 4
    FASTER = 5  # above the free-flow speed


_FREE_FLOW_LIMITS = np.array([10.0, 25.0, 75.0, 90.0])

SERVICE_LIMITS = np.array([11.0, 18.0, 26.0, 35.0, 45.0])
"""Highest density of levels of service A to E on a basic freeway segment, passenger cars per mile and lane.

Source: Transportation Research Board, Highway Capacity Manual, exhibit 12-15, 2016.
"""


def free_flow_share(speed_km_h: np.ndarray, free_flow_km_h: np.ndarray) -> np.ndarray:
    """Speed in percent of the free-flow speed; NaN where that is unknown or not positive."""
    reference = np.where(np.asarray(free_flow_km_h, np.float64) > 0, free_flow_km_h, np.nan)
    return 100.0 * np.asarray(speed_km_h, np.float64) / reference


def free_flow_class(share: np.ndarray) -> np.ndarray:
    """`FreeFlow` of shares in percent; int16, -1 where NaN. A limit belongs to the faster class, but 100 is fluent."""
    values = np.asarray(share, np.float64)
    classes = np.searchsorted(_FREE_FLOW_LIMITS, values, side="right") + (values > 100.0)
    return np.where(np.isnan(values), -1, classes).astype(np.int16)


def density(flow_veh_h: np.ndarray, speed_km_h: np.ndarray) -> np.ndarray:
    """Vehicles per km from flow and space mean speed; NaN where nothing moves and the relation says nothing."""
    speed = np.asarray(speed_km_h, np.float64)
    return np.asarray(flow_veh_h, np.float64) / np.where(speed > 0, speed, np.nan)


def density_from_occupancy(occupancy_percent: np.ndarray, effective_length_m: float) -> np.ndarray:
    """Vehicles per km and lane from the time occupancy of a loop.

    Args:
        occupancy_percent: share of time that a vehicle is over the loop, 0 to 100.
        effective_length_m: mean length of a vehicle plus that of the loop.
    """
    return np.asarray(occupancy_percent, np.float64) / 100.0 * 1000.0 / effective_length_m


def level_of_service(density_veh_km_lane: np.ndarray) -> np.ndarray:
    """Level of service 0 (A) to 5 (F) by density per lane; int16, -1 where the density is NaN."""
    per_mile = np.asarray(density_veh_km_lane, np.float64) * KM_PER_MILE
    return np.where(np.isnan(per_mile), -1, np.searchsorted(SERVICE_LIMITS, per_mile)).astype(np.int16)
