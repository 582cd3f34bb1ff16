"""messages of the same keys, read many at a time: half of the cost of one by one

A device says the same keys every time. A shape is what such messages have in common; it reads exactly what the decoder
of the format would read, and returns nothing as soon as one message is anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from ingest.decoders.base import SEQ_MAX, SEQ_NONE
from ingest.decoders.times import iso_us
from pulssi.errors import PoisonError
from pulssi.times import US_PER_MS

SHAPES_MAX = 256
"""Shapes that one gateway reads at a time; messages of others are read one by one."""
_MEASURES_MAX = 32
_Number = int | float


class Alike(NamedTuple):
    """Columns of messages of one shape, in their order."""

    event_times: list[int]
    """us UTC"""
    values: list[list[float]]
    """One list for each measure of the shape."""
    seqs: list[int]
    """Empty when the shape has none."""


class Shape(Protocol):
    """What messages have in common."""

    @property
    def measures(self) -> tuple[str, ...]:
        """What each of them measures."""

    def read(self, payloads: Sequence[bytes], devices: Sequence[str]) -> Alike | None:
        """The columns of `payloads`, whose topics name `devices`; None when one of them needs a closer look."""


class ShortShape:
    """Objects in the short form."""

    def __init__(self, *, iso: bool, device: bool, seq: bool, measures: tuple[str, ...]) -> None:
        self.measures = measures
        self._iso = iso
        self._device = device
        self._seq = seq
        self._quotes = 2 * (1 + iso + 2 * device + seq + len(measures))
        names = {f"value{at}": measure for at, measure in enumerate(measures)}
        fields: list[tuple[str, Any]] = [("t", str if iso else _Number)]
        fields += [("device", str)] if device else []
        fields += [("seq", _Number)] if seq else []
        fields += [(name, _Number) for name in names]
        struct = msgspec.defstruct("Shape", fields, rename=names, forbid_unknown_fields=True, gc=False)
        self._decode = msgspec.json.Decoder(struct).decode
        self._names = list(names)

    def read(self, payloads: Sequence[bytes], devices: Sequence[str]) -> Alike | None:
        """See `Shape`."""
        if b"".join(payloads).count(b'"') != self._quotes * len(payloads):
            return None  # a key given twice, or an escaped quotation mark
        try:
            found: list[Any] = list(map(self._decode, payloads))
            times = [iso_us(one.t) for one in found] if self._iso else [one.t for one in found]
            values = [_floats([getattr(one, name) for one in found]) for name in self._names]
        except (msgspec.DecodeError, UnicodeDecodeError, PoisonError, OverflowError):
            return None
        if self._device and [one.device for one in found] != devices:
            return None
        seqs = [one.seq for one in found] if self._seq else []
        if set(map(type, times)) | set(map(type, seqs)) != {int}:
            return None
        if seqs and not SEQ_NONE < min(seqs) <= max(seqs) <= SEQ_MAX:
            return None
        return Alike(times if self._iso else [time * US_PER_MS for time in times], values, seqs)


def _floats(numbers: list[float]) -> list[float]:
    return numbers if set(map(type, numbers)) == {float} else list(map(float, numbers))


class Shapes:
    """Shapes seen so far, at most `SHAPES_MAX`."""

    def __init__(self) -> None:
        self._known: dict[tuple[bool, bool, bool, tuple[str, ...]], ShortShape] = {}
        self._keys = msgspec.json.Decoder(dict[str, int | float | str]).decode

    def of(self, payload: bytes) -> Shape | None:
        """The shape of a message in the short form that its decoder has accepted; None for anything else."""
        try:
            record = self._keys(payload)
        except msgspec.DecodeError:
            return None
        seq = record.get("seq", 0)
        if isinstance(seq, str) or seq <= SEQ_NONE:
            return None
        measures = tuple(sorted(record.keys() - {"t", "device", "seq"}))
        key = (type(record.get("t")) is str, "device" in record, "seq" in record, measures)
        if key not in self._known:
            if len(self._known) >= SHAPES_MAX or not 0 < len(measures) <= _MEASURES_MAX:
                return None
            self._known[key] = ShortShape(iso=key[0], device=key[1], seq=key[2], measures=measures)
        return self._known[key]
