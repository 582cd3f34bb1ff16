"""A frame carries columns unchanged, and what is no frame is refused by name."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pulssi.errors import PoisonError, Reason
from pulssi.frames import INDICATORS, READINGS, VEHICLES, Indicators, Readings, decode, encode


def _readings(n: int) -> st.SearchStrategy[Readings]:
    ints = hnp.arrays(np.int64, n)
    values = hnp.arrays(np.float64, n, elements=st.floats(allow_nan=False))
    return st.builds(Readings, ints, ints, ints, values, hnp.arrays(np.uint16, n), ints)


@given(st.integers(0, 30).flatmap(_readings))
def test_columns_come_back_bit_for_bit(readings):
    again = Readings.decode(readings.encode())
    for name in READINGS.names:
        np.testing.assert_array_equal(getattr(again, name), getattr(readings, name))
        assert getattr(again, name).dtype == getattr(readings, name).dtype


def test_the_fields_of_a_class_are_the_columns_of_its_schema_in_order():
    for kind in (Readings, Indicators):
        assert [field.name for field in dataclasses.fields(kind)] == kind.SCHEMA.names


@pytest.mark.parametrize("data", [b"", b"\x00" * 40, b'{"t":1}', Readings.empty(3).encode()[:-30]])
def test_what_is_no_frame_is_poison(data):
    with pytest.raises(PoisonError) as caught:
        Readings.decode(data)
    assert caught.value.reason is Reason.BAD_FRAME


def test_a_frame_of_other_columns_is_poison():
    with pytest.raises(PoisonError, match="columns"):
        Readings.decode(Indicators.empty(1).encode())


def test_a_null_among_numbers_is_poison():
    columns = [pa.nulls(1, field.type) for field in READINGS]
    with pytest.raises(PoisonError, match="nulls"):
        Readings.decode(encode(pa.RecordBatch.from_arrays(columns, schema=READINGS)))


def test_vehicle_events_keep_their_nulls():
    columns = [pa.nulls(2, field.type) for field in VEHICLES]
    batch = pa.RecordBatch.from_arrays(columns, schema=VEHICLES)
    assert decode(encode(batch), VEHICLES).equals(batch)


def test_concat_take_and_length_agree():
    first, second = Readings.empty(2), Readings.empty(3)
    second.value[:] = [1, 2, 3]
    both = Readings.concat([first, second])
    assert len(both) == 5
    assert both.take(both.value > 1).value.tolist() == [2, 3]
    assert Readings.concat([second]) is second


def test_an_empty_frame_of_indicators_has_the_columns_of_its_schema():
    assert decode(Indicators.empty().encode(), INDICATORS).num_rows == 0
