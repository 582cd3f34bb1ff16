"""what devices write: Pulssi's own short form and SenML, Digitraffic's measurements, and HSL's vehicle positions"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from pulssi.quantities import QUANTITIES
from pulssi.series import series_id
from pulssi.times import US_PER_MS, US_PER_S
from simulators.messages import Message, Reading

TMS_SENSORS: Final[dict[int, tuple[str, str]]] = {
    5122: ("speed_mean", "1"),
    5125: ("speed_mean", "2"),
    5158: ("free_flow_share", "1"),
    5161: ("free_flow_share", "2"),
    5116: ("flow", "1"),
    5119: ("flow", "2"),
    5164: ("flow_share", "1"),
    5168: ("flow_share", "2"),
    5056: ("speed_mean", "1-60min"),
    5057: ("speed_mean", "2-60min"),
    5054: ("flow", "1-60min"),
    5055: ("flow", "2-60min"),
    5058: ("free_flow_share", "1-5min"),
    5061: ("free_flow_share", "2-5min"),
    5064: ("flow_share", "1-5min"),
    5068: ("flow_share", "2-5min"),
    5067: ("flow_share", "1-60min"),
    5071: ("flow_share", "2-60min"),
}
"""Quantity and channel of each TMS sensor (Digitraffic, Road traffic, TMS sensors, 2026-08)."""


def own_message(
    send_time: int,
    kind: str,
    device_id: str,
    event_time: int,
    values: Mapping[str, float],
    seq: int,
    *,
    senml: bool = False,
    fault: str = "",
) -> Message:
    """One publish of Pulssi's own topics: all quantities of a device at one time, in either of the two payloads.

    Args:
        send_time: us UTC.
        kind: what the device is about.
        device_id: the device.
        event_time: us UTC; told in whole ms.
        values: by measure: `quantity` or `quantity/channel`; SenML has no word for a channel.
        seq: the number that the receipt will name.
        senml: a SenML pack (RFC 8428) instead of the short form.
        fault: the planted fault that touched it.
    """
    event_ms = event_time // US_PER_MS
    body = _senml(device_id, event_ms, values, seq) if senml else {"t": event_ms, **values, "seq": seq}
    readings = tuple(
        Reading(series_id(device_id, *measure.split("/", 1)), event_ms * US_PER_MS, value)
        for measure, value in values.items()
    )
    topic = f"pulssi/v1/{kind}/{device_id}/readings".encode()
    return Message(send_time, device_id, topic, msgspec.json.encode(body), seq, readings, fault=fault)


def _senml(device_id: str, event_ms: int, values: Mapping[str, float], seq: int) -> list[dict[str, str | float]]:
    """Base name, time and number, then one record a quantity."""
    records: list[dict[str, str | float]] = [{"bn": f"urn:dev:{device_id}:", "bt": event_ms / 1000, "seq": seq}]
    for name, value in values.items():
        records.append({"n": name, "u": QUANTITIES[name].unit, "v": value})
    return records


def tms_message(
    send_time: int,
    station: int,
    sensor: int,
    measured_s: int,
    value: float,
    window_s: tuple[int, int] | None = None,
    *,
    fault: str = "",
) -> Message:
    """One publish of Digitraffic's `tms-v2`; times in epoch seconds, `window_s` for sensors of a fixed window."""
    body: dict[str, float] = {"value": value, "time": measured_s}
    if window_s is not None:
        body["start"], body["end"] = window_s
    quantity, channel = TMS_SENSORS[sensor]
    device_id = f"tms-{station}"
    counts_from_s = measured_s if window_s is None else window_s[0]
    reading = Reading(series_id(device_id, quantity, channel), counts_from_s * US_PER_S, value)
    topic = f"tms-v2/{station}/{sensor}".encode()
    return Message(send_time, device_id, topic, msgspec.json.encode(body), readings=(reading,), fault=fault)
