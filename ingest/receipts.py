"""receipts to devices: exact ranges of accepted seqs, refusals at once; no client library, no clock"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from ingest.acks import Asked
from ingest.mqtt_packets import MalformedPacketError, reply_to
from pulssi.messages import Receipt, Refusal, to_json


class Answer(NamedTuple):
    """One message to a device."""

    topic: str
    payload: bytes
    correlation: bytes


_Address = tuple[str, bytes]
"""Topic and correlation data."""


class Receipts:
    """Seqs that Kafka has confirmed and whose devices have not yet been told.

    Each device has one open receipt per address; it is sent `delay_us` after its first seq.
    """

    def __init__(self, delay_us: int) -> None:
        self._delay_us = delay_us
        self._open: dict[str | _Address, list[int]] = {}  # deadline and seqs, in the order of the deadlines
        self._refused: list[Answer] = []

    def __len__(self) -> int:
        return len(self._open) + len(self._refused)

    def accept(self, asked: Iterable[Asked], now: int) -> None:
        """Everything `asked` is in Kafka."""
        opened = self._open
        deadline = now + self._delay_us
        for topic, seq, properties in asked:
            if topic in opened:
                opened[topic].append(seq)
            else:
                opened[topic] = [deadline, seq]
            if properties:
                for address in addresses(topic, properties)[1:]:
                    opened.setdefault(address, [deadline]).append(seq)

    def refuse(self, topic: str, properties: bytes, refusal: Refusal) -> None:
        """A message was refused; its device is told at once."""
        payload = to_json(Receipt(refused=[refusal]))
        self._refused += [Answer(to, payload, correlation) for to, correlation in addresses(topic, properties)]

    def due(self, now: int) -> list[Answer]:
        """What is to be sent now; it is forgotten here."""
        answers, self._refused = self._refused, []
        ripe = list(takewhile(lambda one: one[1][0] <= now, self._open.items()))
        for address, (_, *seqs) in ripe:
            del self._open[address]
            topic, correlation = (address, b"") if isinstance(address, str) else address
            answers.append(Answer(topic, to_json(Receipt(accepted=ranges(seqs))), correlation))
        return answers

    def deadline(self) -> int | None:
        """When something is to be sent, us UTC; 0 = at once, None = nothing waits."""
        if self._refused:
            return 0
        return next(iter(self._open.values()))[0] if self._open else None


def ranges(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """The seqs as the fewest ranges, both ends included, rising."""
    rising = sorted(set(seqs))
    if not rising:
        return []
    found: list[tuple[int, int]] = []
    first = last = rising[0]
    for seq in rising:
        if seq > last + 1:
            found.append((first, last))
            first = seq
        last = seq
    found.append((first, last))
    return found


def addresses(topic: str, properties: bytes) -> list[_Address]:
    """Where a receipt goes: first the device's own topic, then its Response Topic when that lies below its own.

    A gateway that answered anywhere would let one device write to another one's topics.
    """
    home: list[_Address] = [(topic, b"")]
    try:
        reply = reply_to(properties)
        wanted = reply[0].decode() if reply else ""
    except (MalformedPacketError, UnicodeDecodeError):
        return home
    space = topic.removesuffix("receipts")
    allowed = wanted.startswith(space) and wanted != f"{space}readings" and not set(wanted) & set("+#\x00")
    if reply is None or not allowed or (wanted, reply[1]) in home:
        return home
    return [*home, (wanted, reply[1])]
