"""what the two Digitraffic formats share: topics of station and sensor, one value and its time in epoch seconds"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from ingest.decoders.base import SEQ_NONE, Reading, Source
from ingest.decoders.strict_json import check_unique, refusal
from pulssi.errors import PoisonError, Reason
from pulssi.quantities import Kind
from pulssi.times import US_PER_S

_ID = re.compile(r"[0-9]{1,9}")


class _Sample(msgspec.Struct, gc=False):
    value: float
    time: int
    start: int | None = None
    end: int | None = None


_decode = msgspec.json.Decoder(_Sample).decode


def source_of(levels: Sequence[str], prefix: str, kind: Kind, measures: Mapping[str, str]) -> Source | None:
    """Device `<prefix>-<station>` and measure of a topic `<feed>/<station>/<sensor>`.

    Returns:
        None for `<feed>/status` and for a sensor that is not in `measures`.

    Raises:
        PoisonError: the topic has another shape.
    """
    if len(levels) == 2 and levels[1] == "status":
        return None
    if len(levels) != 3 or not all(_ID.fullmatch(level) for level in levels[1:]):
        raise PoisonError(Reason.BAD_TOPIC, "not <feed>/<station>/<sensor>")
    measure = measures.get(levels[2])
    return None if measure is None else Source(f"{prefix}-{levels[1]}", kind, measure)


def decode(source: Source, payload: bytes, receive_time: int) -> list[Reading]:  # noqa: ARG001  the event time is the payload's
    """The reading of one sample: of its `time`, and of a fixed window of its beginning, `start`.

    The `time` of a fixed window is when it was worked out, up to an hour after its end, and new in each repetition.

    Raises:
        PoisonError: what is wrong with it.
    """
    try:
        sample = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal(payload, error) from error
    check_unique(payload, 4 + 2 * (sample.start is not None) + 2 * (sample.end is not None))
    time = sample.time if sample.start is None else sample.start
    return [(source.measure, time * US_PER_S, sample.value, SEQ_NONE)]
