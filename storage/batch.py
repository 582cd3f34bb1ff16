"""batch: what one transaction holds: rows by table, refused records, and how far each partition gets by it; pure"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pulssi.errors import PoisonError, Reason
from pulssi.topics import Content
from storage.rows import Part, Pile, Taken, letter_of, parts_of
from storage.tables import DEAD_LETTERS, Table


class Place(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(slots=True)
class Span:
    """How far one partition gets by a batch.

    Attributes:
        owner: our number as owner.
        expected: the offset at which the database must stand now.
        next_offset: the offset at which it stands afterwards.
        records: records between the two that we saw.
        rows: their rows.
        newest_receive_time: of the rows, us UTC; 0 without any.
        log_end: end of the partition as far as Kafka told us.
    """

    owner: int
    expected: int
    next_offset: int
    records: int = 0
    rows: int = 0
    newest_receive_time: int = 0
    log_end: int | None = None


@dataclass(slots=True)
class Batch:
    """Rows that are committed together.

    Attributes:
        piles: rows by table.
        spans: progress by partition.
        rows: number of rows in all piles.
    """

    piles: dict[Table, Pile] = field(default_factory=dict)
    spans: dict[Place, Span] = field(default_factory=dict)
    rows: int = 0

    def add(self, record: Taken, parts: list[Part], span: Span) -> None:
        """Take one record in; `span` is where its partition stands, and is moved on."""
        self.spans[Place(record.topic, record.partition)] = span
        span.next_offset = record.offset + 1
        span.records += 1
        for part in parts:
            pile = self.piles.get(part.table)
            if pile is None:
                pile = self.piles[part.table] = Pile(part.table)
            pile.parts.append(part.rows)
            pile.origins.append(record)
            span.rows += len(part.rows)
            self.rows += len(part.rows)
            span.newest_receive_time = max(span.newest_receive_time, part.newest_receive_time)

    def advance(self) -> dict[Place, Span]:
        """Where each partition stands once this batch is committed."""
        return {
            place: Span(span.owner, span.next_offset, span.next_offset, log_end=span.log_end)
            for place, span in self.spans.items()
        }


def read(content: Content, record: Taken) -> tuple[list[Part], Reason | None]:
    """The rows of a record; those of its dead letter, and the reason, when it cannot be read."""
    try:
        return parts_of(content, record), None
    except PoisonError as error:
        return [Part(DEAD_LETTERS, letter_of(record, error.reason, error.detail))], error.reason
