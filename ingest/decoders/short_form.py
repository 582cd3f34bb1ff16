"""the short form: `{"t": <ISO 8601 or epoch ms>, "pm2_5": 7.1, "no2/inlet": 18, "seq": 812}`

Every key but `t`, `seq` and `device` is a measure, in the vocabulary's unit. `device`, when given, must be the device
of the topic.
"""

from __future__ import annotations

import msgspec

from ingest.decoders.base import SEQ_MAX, SEQ_NONE, Reading, Source
from ingest.decoders.strict_json import check_unique, refusal
from ingest.decoders.times import iso_us
from pulssi.errors import PoisonError, Reason
from pulssi.times import US_PER_MS

_decode = msgspec.json.Decoder(dict[str, int | float | str]).decode


def decode(source: Source, payload: bytes, receive_time: int) -> list[Reading]:  # noqa: ARG001  the event time is the payload's
    """Readings of one object, all at the same time.

    Raises:
        PoisonError: what is wrong with it.
    """
    try:
        record = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal(payload, error) from error
    quotes = 2 * len(record)
    time = record.pop("t", None)
    if type(time) is int:
        event_time = time * US_PER_MS
    elif type(time) is str:
        event_time = iso_us(time)
        quotes += 2
    else:
        raise _no_time(time)
    seq = record.pop("seq", SEQ_NONE)
    if type(seq) is not int or not SEQ_NONE <= seq <= SEQ_MAX:
        raise PoisonError(Reason.BAD_SCHEMA, "seq is a whole number from 0 to 2^63 - 1")
    if "device" in record:
        _check_device(record.pop("device"), source)
        quotes += 2
    check_unique(payload, quotes)
    rows: list[Reading] = []
    for name, value in record.items():
        rows.append((name, event_time, value if type(value) is float else _number(name, value), seq))
    if not rows:
        raise PoisonError(Reason.NO_READING, "a time and no reading")
    return rows


def _number(name: str, value: float | str) -> float:
    if isinstance(value, str):
        raise PoisonError(Reason.BAD_SCHEMA, f"{name[:64]!r} is text, not a number")
    try:
        return float(value)
    except OverflowError as error:
        raise PoisonError(Reason.NOT_FINITE, f"{name[:64]!r} is too large") from error


def _no_time(time: object) -> PoisonError:
    if time is None:
        return PoisonError(Reason.NO_TIME, "t is missing: ISO 8601 with a zone, or epoch milliseconds")
    return PoisonError(Reason.BAD_TIME, "t is ISO 8601 with a zone, or whole epoch milliseconds")


def _check_device(named: object, source: Source) -> None:
    if named != source.device_id:
        raise PoisonError(Reason.BAD_DEVICE_ID, f"the payload names another device than {source.device_id}")
