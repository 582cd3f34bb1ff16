"""blob: named numpy arrays in one bytes object, exactly

Magic and version, then the length of a JSON table of contents, then the table, then the arrays back to back. The
contents are compressed by whoever stores them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec
import numpy as np

from pulssi.errors import PoisonError, Reason

_HEAD = struct.Struct("<8sHI")
_MAGIC = b"pulssi\0s"


class _Entry(msgspec.Struct, array_like=True):
    name: str
    dtype: str
    shape: list[int]


class _Table(msgspec.Struct):
    facts: dict[str, int | str | list[int]]
    arrays: list[_Entry]


def pack(version: int, facts: Mapping[str, int | str | list[int]], arrays: Mapping[str, np.ndarray]) -> bytes:
    """One bytes object that `unpack` gives back exactly."""
    entries = [_Entry(name, array.dtype.str, list(array.shape)) for name, array in arrays.items()]
    table = msgspec.json.encode(_Table(dict(facts), entries))
    parts = [_HEAD.pack(_MAGIC, version, len(table)), table]
    return b"".join([*parts, *(np.ascontiguousarray(array).data.cast("B") for array in arrays.values() if array.size)])


def unpack(data: bytes, version: int) -> tuple[dict[str, int | str | list[int]], dict[str, np.ndarray]]:
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
