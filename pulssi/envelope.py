"""envelope: the bytes around the columns of a frame, which depend on nothing but its schema and its number of rows

A frame of numbers without nulls is an Arrow IPC stream whose head (schema and layout) Arrow writes the same for every
frame of so many rows. So a frame is its head, the bytes of its columns and an end, and a frame that has the head of its
length is read without parsing anything. Heads of different lengths differ in a few numbers of eight bytes, which are
found by comparing two that Arrow has written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_WORD_BYTES = 8
_SHAPES_MAX = 1024
"""Lengths of frames that are remembered, 6 kB each."""
_COMPARED = (1009, 1011)
"""Lengths whose paddings differ."""


class Shape(NamedTuple):
    """Frames of one length.

    Attributes:
        rows: their number of rows.
        head: all bytes before the first column.
        spans: where each column starts and stops.
        gaps: the padding after each column.
    """

    rows: int
    head: bytes
    spans: list[tuple[int, int]]
    gaps: list[bytes]


class Envelope:
    """Of one schema.

    Args:
        schema: of numbers only.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.dtypes = [np.dtype(field.type.to_pandas_dtype()) for field in schema]
        self.names = list(schema.names)
        self._schema = schema
        self._types = [field.type for field in schema]
        self._widths = np.array([dtype.itemsize for dtype in self.dtypes])
        self._row_bytes = int(self._widths.sum())
        self._words, self._at, self._which = self._compared()
        self._around_bytes = len(self._words) * _WORD_BYTES + len(_END)
        self._shape = lru_cache(_SHAPES_MAX)(self._make_shape)
        self._shape_of_size = lru_cache(_SHAPES_MAX)(self._find_shape)

    def wrap(self, columns: Sequence[np.ndarray]) -> bytes:
        """The frame of some columns, each contiguous, of its dtype and as long as the others."""
        shape = self._shape(len(columns[0]))
        parts: list[Any] = [shape.head]
        for column, gap in zip(columns, shape.gaps, strict=True):
            parts += (column, gap)
        parts.append(_END)
        return b"".join(parts)

    def shape(self, frame: bytes) -> Shape | None:
        """The shape of a frame that is such as `wrap` writes them; None of any other."""
        shape = self._shape_of_size(len(frame))
        return shape if shape and frame.startswith(shape.head) and frame.endswith(_END) else None

    def columns(self, frame: bytes, shape: Shape) -> list[np.ndarray]:
        """Views on the columns of a frame."""
        return [
            np.frombuffer(frame, dtype, shape.rows, start)
            for dtype, (start, _) in zip(self.dtypes, shape.spans, strict=True)
        ]

    def batch(self, frame: bytes, shape: Shape) -> pa.RecordBatch:
        """The frame as Arrow would read it."""
        data = pa.py_buffer(frame)
        arrays = [
            pa.Array.from_buffers(kind, shape.rows, [None, data.slice(start, stop - start)], 0)
            for kind, (start, stop) in zip(self._types, shape.spans, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def columns_of_all(self, frames: Sequence[bytes], shapes: Sequence[Shape]) -> list[np.ndarray]:
        """The columns of many frames, one after the other; read-only."""
        spans = zip(*(shape.spans for shape in shapes), strict=True)
        return [
            np.frombuffer(b"".join([frame[a:b] for frame, (a, b) in zip(frames, each, strict=True)]), dtype)
            for dtype, each in zip(self.dtypes, spans, strict=True)
        ]

    def _sizes(self, n: int) -> np.ndarray:
        """Bytes of each column of `n` rows, with its padding."""
        sizes: np.ndarray = (n * self._widths + _WORD_BYTES - 1) // _WORD_BYTES * _WORD_BYTES
        return sizes

    def _find_shape(self, size: int) -> Shape | None:
        """The shape of frames of so many bytes; there is one at most, since each row adds more than padding can."""
        body = size - self._around_bytes
        n = body // self._row_bytes
        while n > 0 and self._sizes(n).sum() > body:
            n -= 1
        return self._shape(n) if n > 0 and self._sizes(n).sum() == body else None

    def _make_shape(self, n: int) -> Shape:
        head = self._head(n) if n else self._written(0)[: -len(_END)]
        widths, sizes = n * self._widths, self._sizes(n)
        starts = len(head) + np.cumsum(sizes) - sizes
        spans = zip(starts.tolist(), (starts + widths).tolist(), strict=True)
        return Shape(n, head, list(spans), [bytes(gap) for gap in (sizes - widths).tolist()])

    def _head(self, n: int) -> bytes:
        words = self._words.copy()
        words[self._at] = self._numbers(n)[self._which]
        return words.tobytes()

    def _numbers(self, n: int) -> np.ndarray:
        """All that may stand in the head of a frame of `n` rows and be another number for other rows."""
        widths, sizes = n * self._widths, self._sizes(n)
        return np.concatenate([[n, sizes.sum()], np.cumsum(sizes) - sizes, widths, sizes])

    def _compared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A head as words of eight bytes, where it depends on the number of rows, and on which of `_numbers`."""
        one, other = (np.frombuffer(self._written(n)[: -len(_END) - self._sizes(n).sum()], np.int64) for n in _COMPARED)
        at = np.flatnonzero(one != other)
        here, there = (self._numbers(n) for n in _COMPARED)
        fits = (one[at, np.newaxis] == here) & (other[at, np.newaxis] == there)
        if not fits.any(axis=1).all():
            raise RuntimeError("Arrow lays out the head of a frame in a way that is not known here")
        return one, at, fits.argmax(axis=1)

    def _written(self, n: int) -> bytes:
        """What Arrow makes of `n` rows of zeros."""
        arrays = [pa.array(np.zeros(n, dtype)) for dtype in self.dtypes]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        return bytes(sink.getvalue())
