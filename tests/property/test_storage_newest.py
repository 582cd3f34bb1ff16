"""Of rows that meet in one row of a table the one is kept that would win if they came one after the other."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from storage.rows import newest, order
from storage.tables import READINGS
from tests.storage_samples import readings

ROW = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 2), st.integers(0, 2), st.integers(-2, 2))


def table(rows: list[tuple[str, int, int, int]]) -> pa.RecordBatch:
    names = ("name", "number", "time", "revision")
    types = (pa.string(), pa.int64(), pa.int64(), pa.int32())
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=names)


def one_by_one(rows: list[tuple[str, int, int, int]], *, always: bool) -> set[int]:
    """Row numbers that stand at the end when each row replaces the one before it only when it is newer."""
    stands: dict[tuple[str, int], int] = {}
    for number, row in enumerate(rows):
        held = stands.get(row[:2])
        if held is None or always or row[2:] > rows[held][2:]:
            stands[row[:2]] = number
    return set(stands.values())


@given(st.lists(ROW, min_size=1, max_size=30))
def test_the_newest_as_if_one_by_one(rows):
    found = newest(table(rows), ("name", "number"), ("time", "revision"))
    assert set(found.tolist()) == one_by_one(rows, always=False)
    assert len(found) == len({row[:2] for row in rows})


@given(st.lists(ROW, min_size=1, max_size=30))
def test_the_last_where_every_row_replaces(rows):
    found = newest(table(rows), ("name", "number"), ())
    assert set(found.tolist()) == one_by_one(rows, always=True)


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9)), min_size=1, max_size=30))
def test_readings_are_written_in_the_order_of_their_key_and_first_come_first(rows):
    batch = pa.RecordBatch.from_arrays(
        [pa.array(getattr(readings(*map(list, zip(*rows, strict=True))), name)) for name in READINGS.schema.names],
        schema=READINGS.schema,
    )
    found = order(READINGS, batch)
    assert found.tolist() == sorted(range(len(rows)), key=lambda number: rows[number])
    assert found.dtype == np.int64
