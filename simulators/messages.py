"""what a simulated device sends, and what should become of it"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pulssi.errors import Reason
from pulssi.series import hash64

NO_SEQ = -1


class Reading(NamedTuple):
    """One reading that should be stored as it is: series, event time in us UTC, value in the unit of its quantity."""

    series_id: int
    event_time: int
    value: float


class Event(NamedTuple):
    """One vehicle event that should be stored; `delay_s` is positive when late, None when the message tells none."""

    event_id: int
    event_time: int
    vehicle: str
    delay_s: int | None


@dataclass(slots=True, eq=False)
class Message:
    """One publish.

    Attributes:
        send_time: when it should leave, us UTC.
        device_id: the device, or the vehicle.
        topic: MQTT topic in UTF-8.
        payload: its bytes.
        seq: number that the receipt will name; -1 where the format has none, then the broker's PUBACK is the end.
        readings: what must be stored.
        event: the vehicle event that must be stored.
        refusals: planted bad input: reasons of which the dead letter must have one; empty for good input.
        fault: the planted fault that touched this message.
        copy: a planted duplicate: sent once, in no ledger, nobody waits for its answer.
        tries: how often it has left while it waited for a receipt.
        overdue_time: when it is sent again without a receipt, us UTC; -1 while it does not wait for one.
        number: row in the ledger; 0 before it is written, the original's for a copy.
    """

    send_time: int
    device_id: str
    topic: bytes
    payload: bytes
    seq: int = NO_SEQ
    readings: tuple[Reading, ...] = ()
    event: Event | None = None
    refusals: tuple[Reason, ...] = ()
    fault: str = ""
    copy: bool = False
    tries: int = 0
    overdue_time: int = -1
    number: int = 0

    @property
    def content(self) -> int:
        """Hash of topic and payload: how a dead letter or a vehicle event is known again."""
        return content_hash(self.topic, self.payload)


def content_hash(topic: bytes, payload: bytes) -> int:
    """xxh3-64 of topic, NUL and payload, as the gateway makes the `event_id` of a vehicle event."""
    return hash64(topic + b"\0" + payload)
