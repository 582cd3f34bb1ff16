"""Digitraffic traffic measurement, `tms-v2/<station>/<sensor>`: `{"value": 108, "time": <epoch s>, "start", "end"}`

Source of the sensor table: Fintraffic, Digitraffic, road traffic, TMS sensors, 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.decoders import digitraffic
from ingest.decoders.base import ReadingFormat, Source
from pulssi.quantities import Kind

MEASURES = {
    "5122": "speed_mean/1",
    "5125": "speed_mean/2",
    "5158": "free_flow_share/1",
    "5161": "free_flow_share/2",
    "5116": "flow/1",
    "5119": "flow/2",
    "5164": "flow_share/1",
    "5168": "flow_share/2",
    "5056": "speed_mean/1-60min",
    "5057": "speed_mean/2-60min",
    "5054": "flow/1-60min",
    "5055": "flow/2-60min",
    "5058": "free_flow_share/1-5min",
    "5061": "free_flow_share/2-5min",
    "5064": "flow_share/1-5min",
    "5068": "flow_share/2-5min",
    "5067": "flow_share/1-60min",
    "5071": "flow_share/2-60min",
}
"""Sensor id -> measure; the sliding windows bear the direction alone, the fixed ones their length too."""


def source_of(levels: Sequence[str]) -> Source | None:
    """Station and measure of a topic; None for the status topic and for sensors that we do not keep."""
    return digitraffic.source_of(levels, "tms", Kind.TRAFFIC, MEASURES)


FORMATS = (ReadingFormat("tms", "tms-v2/#", source_of, digitraffic.decode),)
