"""our own topics, `pulssi/v1/<kind>/<device_id>/readings`, with either of two payloads: short form or SenML"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.decoders import senml, short_form
from ingest.decoders.base import Reading, ReadingFormat, Source
from pulssi.errors import PoisonError, Reason
from pulssi.quantities import Kind
from pulssi.series import is_device_id

_KINDS = {kind.value: kind for kind in Kind}


def source_of(levels: Sequence[str]) -> Source:
    """The device of a topic.

    Raises:
        PoisonError: a kind that there is not, or a name that is no device id.
    """
    _, _, kind, device_id, _ = levels
    if kind not in _KINDS:
        raise PoisonError(Reason.BAD_TOPIC, f"there is no kind {kind[:64]!r}")
    if not is_device_id(device_id):
        raise PoisonError(Reason.BAD_DEVICE_ID, f"{device_id[:80]!r} is not 1 to 64 of letters, digits and _.:-")
    return Source(device_id, _KINDS[kind], answers=f"pulssi/v1/{kind}/{device_id}/receipts")


def decode(source: Source, payload: bytes, receive_time: int) -> list[Reading]:
    """Readings of a payload: an array is SenML, anything else the short form.

    Raises:
        PoisonError: what is wrong with it.
    """
    if not payload.startswith(b"{") and payload.lstrip(b" \t\r\n").startswith(b"["):
        return senml.decode(source, payload, receive_time)
    return short_form.decode(source, payload, receive_time)


FORMATS = (ReadingFormat("pulssi", "pulssi/v1/+/+/readings", source_of, decode, alike=True),)
