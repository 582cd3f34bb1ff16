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


def in_arrow(columns):
    """The frame as Arrow itself writes it."""
    arrays = [pa.array(getattr(columns, field.name), field.type) for field in columns.SCHEMA]
    return encode(pa.RecordBatch.from_arrays(arrays, schema=columns.SCHEMA))


@pytest.mark.parametrize("kind", [Readings, Indicators])
@pytest.mark.parametrize("rows", [*range(20), 999, 5000])
def test_a_frame_is_to_the_byte_what_arrow_writes(kind, rows):
    random = np.random.default_rng(rows)
    columns = kind.empty(rows)
    for name in kind.SCHEMA.names:
        getattr(columns, name)[:] = random.integers(0, 100, rows)
    assert columns.encode() == in_arrow(columns)


@given(st.integers(0, 30).flatmap(_readings))
def test_arrow_reads_what_we_write(readings):
    batch = decode(readings.encode(), READINGS)
    for name in READINGS.names:
        np.testing.assert_array_equal(batch.column(name).to_numpy(), getattr(readings, name))


def test_columns_of_other_widths_or_strides_are_written_as_those_of_the_schema():
    readings = Readings.empty(4)
    readings.series_id = np.array([1, 2, 3, 4], np.int32)
    readings.value = np.arange(8.0)[::2]
    readings.quality = np.array([0, 1, 0, 1], np.int64)
    again = Readings.decode(readings.encode())
    assert again.series_id.tolist() == [1, 2, 3, 4]
    assert again.value.tolist() == [0, 2, 4, 6]
    assert again.quality.tolist() == [0, 1, 0, 1]
    assert again.series_id.dtype == np.int64
    assert again.quality.dtype == np.uint16


@pytest.mark.parametrize("wrong", [np.zeros(3, np.int64), np.array([0, 2**17])])
def test_columns_that_do_not_fit_are_not_written(wrong):
    readings = Readings.empty(2)
    readings.quality = wrong
    with pytest.raises(ValueError, match=r"length|not in range"):
        readings.encode()


def test_a_frame_of_packed_columns_is_read_too():
    readings = some([50])[0]
    arrays = [pa.array(getattr(readings, name)) for name in READINGS.names]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, READINGS, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=READINGS))
    columns, lengths = Readings.decode_all([readings.encode(), bytes(sink.getvalue())])
    assert lengths.tolist() == [50, 50]
    assert columns.value.tolist() == 2 * readings.value.tolist()


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


def some(lengths):
    random = np.random.default_rng(sum(lengths))
    parts = []
    for length in lengths:
        part = Readings.empty(length)
        part.value[:] = random.normal(size=length)
        part.series_id[:] = random.integers(-(2**62), 2**62, length)
        parts.append(part)
    return parts


@pytest.mark.parametrize("lengths", [[], [0], [3], [0, 0], [5, 0, 1, 100, 7]])
def test_many_frames_read_at_once_are_those_read_one_by_one(lengths):
    parts = some(lengths)
    columns, found = Readings.decode_all([part.encode() for part in parts])
    assert found.tolist() == lengths
    for field in dataclasses.fields(Readings):
        one_by_one = [getattr(part, field.name) for part in parts]
        expected = np.concatenate(one_by_one) if parts else []
        assert getattr(columns, field.name).tolist() == list(expected)


def test_a_frame_written_in_another_way_is_read_among_the_others():
    first, second = some([2, 3])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, READINGS.with_metadata({b"writer": b"another"})) as writer:
        columns = [pa.array(getattr(second, name)) for name in READINGS.names]
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=READINGS.with_metadata({b"writer": b"another"})))
    columns, lengths = Readings.decode_all([first.encode(), bytes(sink.getvalue()), first.encode()])
    assert lengths.tolist() == [2, 3, 2]
    assert columns.value.tolist() == [*first.value, *second.value, *first.value]


@pytest.mark.parametrize("bad", [b"", b"\x00" * 600, Readings.empty(3).encode()[:-30], Indicators.empty(1).encode()])
def test_one_bad_frame_among_many_is_poison(bad):
    good = some([4])[0].encode()
    with pytest.raises(PoisonError):
        Readings.decode_all([good, bad, good])


def test_damage_inside_a_frame_never_shifts_the_rows_of_its_neighbours():
    good = some([4])[0].encode()
    random = np.random.default_rng(7)
    for _ in range(300):
        bad = bytearray(good)
        bad[random.integers(0, len(bad))] ^= 1 << random.integers(0, 8)
        try:
            columns, lengths = Readings.decode_all([good, bytes(bad), good])
        except PoisonError:
            continue
        assert lengths[0] == lengths[2] == 4
        assert columns.value[:4].tolist() == columns.value[-4:].tolist() == Readings.decode(good).value.tolist()


def test_nulls_in_one_of_many_frames_are_poison():
    columns = [pa.nulls(1, field.type) for field in READINGS]
    bad = encode(pa.RecordBatch.from_arrays(columns, schema=READINGS))
    with pytest.raises(PoisonError, match="nulls"):
        Readings.decode_all([some([1])[0].encode(), bad])
