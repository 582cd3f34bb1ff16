"""what a decoder takes and gives"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pulssi.errors import PoisonError, Reason
from pulssi.quantities import QUANTITIES, Kind
from pulssi.series import CHANNEL

Reading = tuple[str, int, float, int]
"""Measure (`quantity` or `quantity/channel`), event time in us UTC, value in the vocabulary's unit, seq (-1 = none)."""

VehicleEvent = tuple[object, ...]
"""One row of `pulssi.frames.VEHICLES`, in the order of its columns."""

SEQ_NONE = -1
SEQ_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Source:
    """Who publishes on a topic: what its levels say, read once while the topic is remembered.

    Attributes:
        device_id: the device.
        kind: what it is about.
        measure: what it measures, where the topic says it; else empty.
        answers: topic for receipts to the device; empty where the format has none.
    """

    device_id: str
    kind: Kind
    measure: str = ""
    answers: str = ""


@dataclass(frozen=True, slots=True)
class ReadingFormat:
    """A format of readings.

    Attributes:
        name: for logs and metrics.
        filter: MQTT topic filter of the topics that carry it.
        source_of: levels of such a topic -> who publishes there, None when it is not for us (counted, not kept).
        decode: source, payload, receive time in us UTC -> at least one reading.
        alike: whether its payloads may be in the short form, which is read many at a time (`shapes`).
    """

    name: str
    filter: str
    source_of: Callable[[Sequence[str]], Source | None]
    decode: Callable[[Source, bytes, int], list[Reading]]
    alike: bool = False


@dataclass(frozen=True, slots=True)
class VehicleFormat:
    """A format of vehicle events: topic, payload, receive time in us UTC -> one event."""

    name: str
    filter: str
    decode: Callable[[str, bytes, int], VehicleEvent]


Format = ReadingFormat | VehicleFormat


def split_measure(measure: str) -> tuple[str, str | None]:
    """Quantity and channel of a measure.

    Raises:
        PoisonError: the vocabulary has no such quantity, or the channel is not 1 to 32 of letters, digits and `_.:-`.
    """
    quantity, slash, channel = measure.partition("/")
    if quantity not in QUANTITIES:
        raise PoisonError(Reason.UNKNOWN_QUANTITY, f"{quantity[:64]!r} is not in the vocabulary")
    if slash and CHANNEL.fullmatch(channel) is None:
        raise PoisonError(Reason.BAD_SCHEMA, f"{channel[:64]!r} is no channel")
    return quantity, channel if slash else None
