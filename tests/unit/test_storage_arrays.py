"""Binary arrays are those that psycopg itself would send, value by value."""

import struct

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.numeric import Int2, Int4, Int8

from pulssi.times import us_datetime
from storage.arrays import ELEMENTS, binary_array, binary_rows

WRAP = {"smallint": Int2, "integer": Int4, "bigint": Int8}
ARROW = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "text": pa.string(),
    "bytea": pa.binary(),
    "timestamptz": pa.int64(),
}
VALUES = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "double precision": st.floats(),
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8),
    "bytea": st.binary(max_size=8),
    "timestamptz": st.integers(0, 4_102_444_800_000_000),
}


def by_psycopg(values: list, sql_type: str) -> bytes:
    """The same array as psycopg makes it of a list."""
    wrap = {**WRAP, "timestamptz": us_datetime}.get(sql_type, lambda value: value)
    wrapped = [None if value is None else wrap(value) for value in values]
    return bytes(Transformer().get_dumper(wrapped, PyFormat.BINARY).dump(wrapped))


@pytest.mark.parametrize("sql_type", sorted(ELEMENTS))
@given(data=st.data())
def test_every_type_with_and_without_nulls(sql_type, data):
    values = data.draw(st.lists(st.none() | VALUES[sql_type], min_size=1, max_size=12).filter(any_known))
    made = binary_array(pa.array(values, ARROW[sql_type]), sql_type)
    assert made.data == by_psycopg(values, sql_type)


def any_known(values: list) -> bool:
    """psycopg cannot tell the type of a list of nothing but nulls."""
    return any(value is not None for value in values)


@pytest.mark.parametrize("sql_type", sorted(ELEMENTS))
def test_the_oids_are_those_of_the_server(sql_type):
    info = psycopg.adapters.types[sql_type]
    assert (ELEMENTS[sql_type].array_oid, ELEMENTS[sql_type].oid) == (info.array_oid, info.oid)


@pytest.mark.parametrize("sql_type", ["text", "bytea", "bigint", "timestamptz"])
def test_a_slice_is_the_array_of_its_values(sql_type):
    values = ["a", "", "öö", None, "ccc"] if sql_type == "text" else [b"a", b"", b"\0", None, b"ccc"]
    values = values if sql_type in {"text", "bytea"} else [1, 2, 3, None, 5]
    whole = pa.array(values, ARROW[sql_type])
    for start, stop in ((1, 3), (2, 5), (4, 5)):
        assert binary_array(whole.slice(start, stop - start), sql_type).data == by_psycopg(values[start:stop], sql_type)


def test_only_nulls():
    made = binary_array(pa.array([None, None], pa.string()), "text")
    assert made.data.endswith(b"\xff" * 8)


def test_narrower_arrow_types_widen():
    made = binary_array(pa.array([1, 65535], pa.uint16()), "integer")
    assert made.data == by_psycopg([1, 65535], "integer")
    made = binary_array(pa.array([-1, None], pa.int8()), "smallint")
    assert made.data == by_psycopg([-1, None], "smallint")


@given(
    st.lists(
        st.tuples(*(VALUES[name] for name in ("bigint", "timestamptz", "double precision", "integer"))), max_size=5
    )
)
def test_rows_are_those_that_psycopg_would_copy(rows):
    types = ("bigint", "timestamptz", "double precision", "integer")
    columns = [np.array([row[i] for row in rows], ARROW[name].to_pandas_dtype()) for i, name in enumerate(types)]
    expected = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for number, time, value, small in rows:
        wrapped = (Int8(number), us_datetime(time), value, Int4(small))
        cells = [bytes(Transformer().get_dumper(one, PyFormat.BINARY).dump(one)) for one in wrapped]
        expected += struct.pack(">h", 4) + b"".join(struct.pack(">i", len(cell)) + cell for cell in cells)
    assert binary_rows(columns, types) == expected + b"\xff\xff"
