"""Series ids and partitions are pure functions that every process computes alike."""

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pulssi.series import hash64, is_device_id, partition_of, partitions_of, series_id

NAMES = st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True)


def test_an_id_is_the_signed_xxh3_of_the_names_joined_by_unit_separators():
    unsigned = xxhash.xxh3_64(b"fmi-100662\x1fno2").intdigest()
    assert series_id("fmi-100662", "no2") % 2**64 == unsigned
    unsigned = xxhash.xxh3_64(b"tms-20002\x1fflow\x1f1").intdigest()
    assert series_id("tms-20002", "flow", "1") % 2**64 == unsigned


def test_ids_of_known_names_never_change():
    """Stored data is found by these numbers: a change here is a migration."""
    assert series_id("fmi-100662", "no2") == 8570204839086169817
    assert series_id("tms-20002", "flow", "1") == 8227368644255394773


@given(st.binary(max_size=64))
def test_a_hash_fits_a_signed_64_bit_column(data):
    assert -(2**63) <= hash64(data) < 2**63


@given(NAMES, NAMES, NAMES)
def test_a_channel_is_no_part_of_the_quantity(device, quantity, channel):
    assert series_id(device, quantity, channel) != series_id(device, quantity)


@given(NAMES)
def test_an_allowed_device_id_is_allowed(name):
    assert is_device_id(name)


@pytest.mark.parametrize("bad", ["", "a" * 65, "a/b", "a b", "+", "#", "$SYS", "ä", "a\x00", "a\n", "a\x1fb"])
def test_what_could_mean_something_to_a_broker_or_a_database_is_no_device_id(bad):
    assert not is_device_id(bad)


@given(st.lists(NAMES, max_size=20), st.integers(1, 64))
def test_partitions_are_in_range_and_the_same_one_by_one_and_together(names, partitions):
    together = partitions_of(names, partitions)
    assert list(together) == [partition_of(name, partitions) for name in names]
    assert all(0 <= partition < partitions for partition in together)


def test_partitions_of_many_devices_are_even():
    counts = [0] * 4
    for number in range(4000):
        counts[partition_of(f"device-{number}", 4)] += 1
    assert max(counts) < 1.15 * min(counts)
