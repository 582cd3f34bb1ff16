"""recorded: a recording as the frames that the gateway would have made of it"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ingest.acks import Train
from ingest.door import Door, Limits
from ingest.framing import Record as Framed
from ingest.receipts import Receipts
from ingest.series import SeriesRegistry
from pulssi.commands.backtest.core import Frame
from pulssi.errors import ConfigurationError
from pulssi.geography import load_places
from pulssi.logs import Log
from pulssi.messages import SeriesInfo
from pulssi.settings import Settings
from pulssi.times import US_PER_MS
from pulssi.topics import Content
from simulators.recordings import SHIPPED, Record, form_of, read, shipped
from streams.catalogue import Catalogue

_QOS_1 = 0x32


def load(names: Sequence[str], form: str | None, quantity: str) -> list[Record]:
    """Records of a shipped recording, or of files of one format.

    Args:
        names: one name of a shipped recording, or paths.
        form: of the files; told by each file itself when None.
        quantity: of CSV files that do not say.

    Raises:
        ConfigurationError: every file that cannot be read, with what is wrong.
    """
    if form is None and len(names) == 1 and names[0] in SHIPPED:
        return shipped(names[0]).records
    problems: list[str] = []
    records: list[Record] = []
    for path in map(Path, names):
        try:
            records += read([path], form or form_of(path), quantity=quantity).records
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError([*problems, f"shipped recordings are {', '.join(SHIPPED)}"])
    return sorted(records, key=lambda record: record.time)


def frames(
    records: Sequence[Record], settings: Settings, catalogue: Catalogue, refused: Counter[str], log: Log
) -> Iterator[Frame]:
    """What the door of the gateway makes of records in order of receipt.

    Args:
        records: each is received at its time.
        settings: of the gateway and the topics.
        catalogue: gets the description of each series before its first frame.
        refused: counts messages that the door refuses, by reason.
        log: hears of decoders that fail.
    """
    own, topics = settings.gateway, settings.kafka.topics
    registry = SeriesRegistry(load_places(own.places_file), own.series_max)
    receipts = Receipts(own.receipt_delay_ms * US_PER_MS)
    door = Door(topics, Limits.of(own), registry, receipts, log)
    contents = {topics.readings: Content.READINGS, topics.vehicles: Content.VEHICLES}

    def passed_on(framed: list[Framed]) -> Iterator[Frame]:
        for one in framed:
            if one.topic == topics.series:
                catalogue.add(msgspec.json.decode(one.value, type=SeriesInfo))
            elif one.topic in contents:
                yield Frame(contents[one.topic], one.partition, one.value)

    for number, record in enumerate(records, start=1):
        yield from passed_on(door.due(record.time))
        message = record.message(0, number)
        train = Train(1, record.time, [number], 1, len(message.payload))
        yield from passed_on(door.take([(number, message.topic, message.payload, b"", _QOS_1)], train))
        receipts.due(record.time)
    yield from passed_on(door.flush())
    refused.update({str(reason): n for reason, n in door.refused.items()})
