"""outputs: what a processor has to say, as Kafka records"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pulssi.errors import PoisonError
from pulssi.frames import Indicators
from pulssi.messages import SeriesInfo, to_json
from pulssi.partitions import Output, Record
from pulssi.times import iso
from pulssi.topics import Content, Topics, headers

FRAME_ROWS = 5000
"""Rows in a frame at most: 0.7 MB, below the 1 MiB that Kafka clients send by default.

A cut may fall between rows of one position, so readers know rows by key and revision (`pulssi.partitions`).
"""


def frames(topic: str, partition: int, rows: Indicators, *, kinds: str, flagged: bool = False) -> list[Output]:
    """Rows of indicators; `flagged` also says in a header how many carry a flag."""
    outputs = []
    for start in range(0, len(rows), FRAME_ROWS):
        part = rows if len(rows) <= FRAME_ROWS else rows.take(slice(start, start + FRAME_ROWS))
        more = {"flagged": int(np.count_nonzero(part.flags))} if flagged else {}
        said = headers(Content.INDICATORS, kinds=kinds, **more)
        outputs.append(Output(topic, partition, None, part.encode(), said))
    return outputs


def descriptions(topics: Topics, infos: Iterable[SeriesInfo]) -> list[Output]:
    """Descriptions of series, which go before their first rows."""
    return [
        Output(topics.series, None, str(info.series_id).encode(), to_json(info), headers(Content.SERIES))
        for info in infos
    ]


def dead_letter(topics: Topics, topic: str, partition: int, record: Record, error: PoisonError, time: int) -> Output:
    """A record of `topic` that cannot be read, as it came; `time` in us UTC."""
    more = headers(
        Content.DEADLETTER,
        reason=error.reason,
        detail=error.detail,
        source="kafka",
        topic=topic,
        partition=partition,
        offset=record.offset,
        time=iso(time),
    )
    return Output(topics.deadletters, None, record.key or b"", record.value, more)
