"""Digitraffic road weather, `weather-v2/<station>/<sensor>`: `{"value": -3.2, "time": <epoch s>}`

Source of the sensor ids: Fintraffic, Digitraffic, road weather sensors, 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.decoders import digitraffic
from ingest.decoders.base import ReadingFormat, Source
from pulssi.quantities import Kind

MEASURES = {
    "1": "temperature",
    "3": "road_temperature",
    "9": "dew_point",
    "16": "wind_speed",
    "17": "wind_gust",
    "19": "humidity",
}
"""Sensor id -> measure: ILMA, TIE_1, KASTEPISTE, KESKITUULI, MAKSIMITUULI, ILMAN_KOSTEUS."""


def source_of(levels: Sequence[str]) -> Source | None:
    """Station and measure of a topic; None for the status topic and for sensors that we do not keep."""
    return digitraffic.source_of(levels, "rws", Kind.WEATHER, MEASURES)


FORMATS = (ReadingFormat("road weather", "weather-v2/#", source_of, digitraffic.decode),)
