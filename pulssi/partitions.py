"""one partition, one processor: the contract between a pure core and the Faust shell that feeds it

Everything derived from one partition of a source topic lives in one `Processor`. The shell loads its last snapshot,
seeks to the offset after it, feeds records in order, sends what comes out and saves snapshots; it never skips and never
feeds a record twice to the same state. After a crash some outputs are sent again: they are the same rows with the same
keys, and readers tell them by key and revision. `position` says which source record gave a row, and is no proof that a
row was seen: a record can give more rows than fit into one output, and a crash may fall between two of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from pulssi.topics import Headers


class Record(NamedTuple):
    """One Kafka record as it came."""

    offset: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]


class Output(NamedTuple):
    """One Kafka record to send; `partition` None lets the key decide."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes
    headers: Headers


class Processor(Protocol):
    """The pure core of one partition: no clock, no network; the same records give the same rows, however batched."""

    def process(self, records: Sequence[Record]) -> list[Output]:
        """Take records in offset order and return what follows from them; a bad one becomes a dead-letter output."""

    def tick(self, now: int) -> list[Output]:
        """What follows from the time alone (silence), `now` in us UTC; called about once a second."""

    def snapshot(self) -> bytes:
        """The whole state, exactly; the shell compresses it, and nothing else runs until it is returned."""


@runtime_checkable
class Counting(Protocol):
    """A processor that says what it made of its records."""

    def noted(self) -> Mapping[str, int]:
        """How many there were of each kind so far, by the kind; numbers never fall, and names are always the same."""


class Factory(Protocol):
    """Makes the processor of one partition, new or from a snapshot."""

    def __call__(self, partition: int, snapshot: bytes | None) -> Processor:
        """Build it.

        Raises:
            PoisonError: the snapshot cannot be read.
        """
