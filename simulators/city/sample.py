"""a sample: what a device measured at one time, before it becomes messages"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulators.messages import Message


@dataclass(slots=True)
class Sample:
    """Values of one device at one time.

    Attributes:
        send_time: when it leaves, us UTC.
        event_time: what the device takes for the time.
        device_id: the device.
        values: by quantity, or `quantity/channel`.
        encode: makes its messages.
        fault: the planted fault that touched it.
    """

    send_time: int
    event_time: int
    device_id: str
    values: dict[str, float]
    encode: Callable[[Sample], list[Message]]
    fault: str = ""
