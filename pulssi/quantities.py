"""the vocabulary of quantities: unit, valid range and largest credible step of each"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Kind(StrEnum):
    """What a device or series is about; the `<kind>` level of our MQTT topics."""

    AIR = "air"
    WEATHER = "weather"
    NOISE = "noise"
    TRAFFIC = "traffic"
    TRANSIT = "transit"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One word of the vocabulary.

    Attributes:
        name: the word.
        unit: unit of every stored value, in the plain spelling of RFC 8428 where it has one.
        kind: the field that it belongs to.
        low: lowest value that the sensors of a city can mean.
        high: highest such value.
        step_max: largest credible change between neighbouring readings; infinity where any is.
        stuck_s: how long an unchanged value is credible, in seconds; infinity where constancy is normal.
    """

    name: str
    unit: str
    kind: Kind
    low: float
    high: float
    step_max: float = np.inf
    stuck_s: float = np.inf


_HOUR = 3600.0
_INF = float("inf")

_ALL = (
    Quantity("pm1", "ug/m3", Kind.AIR, -5, 1000, 200, 6 * _HOUR),
    Quantity("pm2_5", "ug/m3", Kind.AIR, -5, 1000, 200, 6 * _HOUR),
    Quantity("pm10", "ug/m3", Kind.AIR, -5, 2000, 500, 6 * _HOUR),
    Quantity("no", "ug/m3", Kind.AIR, -5, 2000, 400, 6 * _HOUR),
    Quantity("no2", "ug/m3", Kind.AIR, -5, 1000, 200, 6 * _HOUR),
    Quantity("nox", "ug/m3", Kind.AIR, -5, 3000, 600, 6 * _HOUR),
    Quantity("o3", "ug/m3", Kind.AIR, -5, 600, 100, 6 * _HOUR),
    Quantity("so2", "ug/m3", Kind.AIR, -5, 2000, 400, 24 * _HOUR),
    Quantity("co", "ug/m3", Kind.AIR, -50, 60_000, 10_000, 24 * _HOUR),
    Quantity("trs", "ug/m3", Kind.AIR, -2, 500, 100, 24 * _HOUR),
    Quantity("black_carbon", "ug/m3", Kind.AIR, -1, 100, 30, 6 * _HOUR),
    Quantity("air_index_fi", "1", Kind.AIR, 0, 1_000),
    Quantity("air_index_eu", "1", Kind.AIR, 1, 6),
    Quantity("air_index_eu_2017", "1", Kind.AIR, 1, 6),
    Quantity("air_index_us", "1", Kind.AIR, 0, 1_000),
    Quantity("eu_threshold_level", "1", Kind.AIR, 0, 2),
    Quantity("eu_threshold_level_2008", "1", Kind.AIR, 0, 2),
    Quantity("who_2021_level", "1", Kind.AIR, 0, 1),
    Quantity("sensor_health", "1", Kind.AIR, 0, 4),
    Quantity("co2", "ppm", Kind.AIR, 250, 10_000, 2_000, 6 * _HOUR),
    Quantity("temperature", "Cel", Kind.WEATHER, -60, 60, 10, 12 * _HOUR),
    Quantity("road_temperature", "Cel", Kind.WEATHER, -60, 80, 10, 12 * _HOUR),
    Quantity("dew_point", "Cel", Kind.WEATHER, -70, 50, 10, 12 * _HOUR),
    Quantity("humidity", "%RH", Kind.WEATHER, 0, 100, 40, 24 * _HOUR),
    Quantity("pressure", "hPa", Kind.WEATHER, 850, 1100, 10, 12 * _HOUR),
    Quantity("wind_speed", "m/s", Kind.WEATHER, 0, 75, 40, 12 * _HOUR),
    Quantity("wind_gust", "m/s", Kind.WEATHER, 0, 100, 60, 12 * _HOUR),
    Quantity("wind_direction", "deg", Kind.WEATHER, 0, 360),
    Quantity("rain_rate", "mm/h", Kind.WEATHER, 0, 400),
    Quantity("sound_level", "dB", Kind.NOISE, 0, 150, 80, 6 * _HOUR),
    Quantity("speed_mean", "km/h", Kind.TRAFFIC, 0, 200, 120, 6 * _HOUR),
    Quantity("free_flow_share", "%", Kind.TRAFFIC, 0, 250),
    Quantity("flow", "veh/h", Kind.TRAFFIC, 0, 14_000, 6_000, 24 * _HOUR),
    Quantity("flow_share", "%", Kind.TRAFFIC, 0, 250),
    Quantity("occupancy", "%", Kind.TRAFFIC, 0, 100, 90, 24 * _HOUR),
    Quantity("density", "veh/km", Kind.TRAFFIC, 0, 250),
    Quantity("travel_time_index", "1", Kind.TRAFFIC, 0, 100),
    Quantity("planning_time_index", "1", Kind.TRAFFIC, 0, 100),
    Quantity("buffer_index", "1", Kind.TRAFFIC, 0, 100),
    Quantity("queue", "1", Kind.TRAFFIC, 0, 1),
    Quantity("incident", "1", Kind.TRAFFIC, 0, 1),
    Quantity("incident_california_7", "1", Kind.TRAFFIC, 0, 1),
    Quantity("detector_health", "1", Kind.TRAFFIC, 0, 4),
    Quantity("delay", "s", Kind.TRANSIT, -7_200, 14_400),
    Quantity("on_time_share", "%", Kind.TRANSIT, 0, 100),
    Quantity("delay_forecast", "s", Kind.TRANSIT, -7_200, 14_400),
    Quantity("delay_forecast_error", "s", Kind.TRANSIT, 0, 14_400),
    Quantity("headway", "s", Kind.TRANSIT, 0, 14_400),
    Quantity("bunched_share", "%", Kind.TRANSIT, 0, 100),
    Quantity("gap_share", "%", Kind.TRANSIT, 0, 100),
    Quantity("excess_wait", "s", Kind.TRANSIT, -7_200, 14_400),
    Quantity("vanished", "1", Kind.TRANSIT, 0, 1),
    Quantity("vanished_vehicles", "1", Kind.TRANSIT, 0, 10_000),
    Quantity("standing_s", "s", Kind.TRANSIT, 0, 86_400),
    Quantity("standing_vehicles", "1", Kind.TRANSIT, 0, 10_000),
    Quantity("battery", "%", Kind.SYSTEM, 0, 100),
    Quantity("rssi", "dBm", Kind.SYSTEM, -200, 30),
    Quantity("value", "1", Kind.SYSTEM, -_INF, _INF),  # a number that no other word is for, without limits
)

QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _ALL}
"""Every quantity by its name."""
