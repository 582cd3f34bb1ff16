"""blob: named numpy arrays in one bytes object, exactly

Magic and version, then the length of a JSON table of contents, then the table, then the arrays back to back. The
contents are compressed by whoever stores them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping

import msgspec
import numpy as np

from pulssi.errors import PoisonError, Reason

_HEAD = struct.Struct("<8sHI")
_MAGIC = b"pulssi\0s"

Piece = bytes | memoryview
"""Some bytes of a blob."""


class _Entry(msgspec.Struct, array_like=True):
    name: str
    dtype: str
    shape: list[int]


class _Table(msgspec.Struct):
    facts: dict[str, int | str | list[int]]
    arrays: list[_Entry]


def pieces(
    version: int, facts: Mapping[str, int | str | list[int]], arrays: Mapping[str, np.ndarray | list[Piece]]
) -> list[Piece]:
    """A blob before it is put together; instead of an array of bytes there may be the pieces of another blob."""
    entries: list[_Entry] = []
    parts: list[Piece] = []
    for name, given in arrays.items():
        if isinstance(given, np.ndarray):
            entries.append(_Entry(name, given.dtype.str, list(given.shape)))
            parts += [np.ascontiguousarray(given).data.cast("B")] if given.size else []
        else:
            entries.append(_Entry(name, "|u1", [sum(map(len, given))]))
            parts += given
    table = msgspec.json.encode(_Table(dict(facts), entries))
    return [_HEAD.pack(_MAGIC, version, len(table)), table, *parts]


def joined(parts: list[Piece]) -> bytes:
    """The blob of its pieces; the list is emptied on the way, so that what is copied need not stay in memory."""
    blob = io.BytesIO()
    parts.reverse()
    while parts:
        blob.write(parts.pop())
    return blob.getvalue()


def pack(version: int, facts: Mapping[str, int | str | list[int]], arrays: Mapping[str, np.ndarray]) -> bytes:
    """One bytes object that `unpack` gives back exactly."""
    return joined(pieces(version, facts, arrays))


def unpack(data: Piece, version: int) -> tuple[dict[str, int | str | list[int]], dict[str, np.ndarray]]:
    """Facts and arrays; the arrays are views on `data`.

    Raises:
        PoisonError: not a blob of this version, or cut short.
    """
    try:
        magic, found, size = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise PoisonError(Reason.BAD_RECORD, "not a snapshot")
        if found != version:
            raise PoisonError(Reason.BAD_RECORD, f"a snapshot of version {found}, not {version}")
        table = msgspec.json.decode(data[_HEAD.size : _HEAD.size + size], type=_Table)
        place = _HEAD.size + size
        arrays = {}
        for entry in table.arrays:
            dtype = np.dtype(entry.dtype)
            count = int(np.prod(entry.shape, dtype=np.int64))
            arrays[entry.name] = np.frombuffer(data, dtype, count, place).reshape(entry.shape)
            place += count * dtype.itemsize
    except (struct.error, msgspec.DecodeError, ValueError, TypeError) as error:
        raise PoisonError(Reason.BAD_RECORD, f"a damaged snapshot: {error}") from error
    if place != len(data):
        raise PoisonError(Reason.BAD_RECORD, f"a snapshot of {len(data)} bytes instead of {place}")
    return table.facts, arrays
