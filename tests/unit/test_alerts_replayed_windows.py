"""Windows of one source record that come in several frames: a crash between two frames loses none of them."""

import msgspec
import numpy as np

from alerts.processor import AlertsProcessor
from alerts.rules import Rule
from pulssi.frames import Readings
from pulssi.messages import AlertTransition, SeriesInfo
from pulssi.partitions import Record
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import no_limits
from streams.readings_processor import ReadingsProcessor

S = 1_000_000
T0 = 1_790_000_040 * S
SERIES = 6000
RULE = Rule.model_validate(
    {"id": "high", "severity": "warning", "threshold": {"on": "window", "window_s": 300, "above": 50}}
)


def frame(second: int) -> bytes:
    n = SERIES
    times = np.full(n, T0 + second * S)
    return Readings(
        np.arange(1, n + 1), times, times, np.full(n, 60.0), np.zeros(n, np.uint16), np.full(n, -1)
    ).encode()


def describe(series_id: int) -> SeriesInfo:
    return SeriesInfo(series_id=series_id, device_id=f"d-{series_id}", quantity="pm2_5", unit="ug/m3", kind="air")


def windows() -> list[Record]:
    """Two readings of each series; the second one closes the windows of all of them with one record."""
    core = ReadingsProcessor(0, StreamsSettings(windows_s=(300,)), Topics(), no_limits)
    outputs = core.process([Record(0, None, frame(0), {})]) + core.process([Record(1, None, frame(120), {})])
    frames = [one for one in outputs if dict(one.headers)["kinds"] == b"window"]
    return [Record(i, None, one.value, dict(one.headers)) for i, one in enumerate(frames)]


def fired(records: list[Record]) -> list[int | None]:
    core = AlertsProcessor((RULE,), 0, describe, Topics(), lambda: 0)
    outputs = [output for record in records for output in core.process([record])]
    return [msgspec.json.decode(one.value, type=AlertTransition).series_id for one in outputs]


def test_a_crash_between_two_frames_of_one_position_loses_no_alert_and_repeats_none():
    frames = windows()
    assert len(frames) > 1
    assert fired([frames[0], *frames]) == fired(frames)
    assert sorted(fired(frames)) == list(range(1, SERIES + 1))
