"""snapshot: the state of a partition as bytes: a head in JSON, then numpy arrays"""

from __future__ import annotations

import io

import msgspec
import numpy as np

from pulssi.errors import PoisonError, Reason

_VERSION = 3


class _Head(msgspec.Struct):
    version: int
    meaning: bytes
    numbers: list[int]
    names: list[str]
    arrays: list[str]


def encode(meaning: bytes, numbers: list[int], names: list[str], arrays: dict[str, np.ndarray]) -> bytes:
    """Pack a state; `meaning` is whatever must be the same for it to be readable."""
    out = io.BytesIO()
    head = msgspec.json.encode(_Head(_VERSION, meaning, numbers, names, list(arrays)))
    out.write(len(head).to_bytes(8, "little") + head)
    for array in arrays.values():
        np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def decode(meaning: bytes, data: bytes) -> tuple[list[int], list[str], dict[str, np.ndarray]]:
    """Numbers, names and arrays of `encode`.

    Raises:
        PoisonError: damaged, of another version or of another meaning.
    """
    source = io.BytesIO(data)
    try:
        head = msgspec.json.decode(source.read(int.from_bytes(source.read(8), "little")), type=_Head)
        if head.version != _VERSION or head.meaning != meaning:
            raise PoisonError(Reason.BAD_RECORD, "a snapshot of another version or other settings")
        arrays = {name: np.lib.format.read_array(source, allow_pickle=False) for name in head.arrays}
    except (msgspec.DecodeError, ValueError, EOFError) as error:
        raise PoisonError(Reason.BAD_RECORD, f"not a snapshot of transit: {error}") from error
    return head.numbers, head.names, arrays
