"""Time is exact microseconds UTC, and a time without a zone is refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulssi.times import datetime_us, iso, now_us, parse_iso_us, us_datetime

MOMENTS = st.integers(0, 4_000_000_000_000_000)


@given(MOMENTS)
def test_text_and_datetime_come_back_exactly(us):
    assert parse_iso_us(iso(us)) == us
    assert datetime_us(us_datetime(us)) == us


def test_a_zone_is_applied():
    assert parse_iso_us("2026-07-01T12:00:00+03:00") == parse_iso_us("2026-07-01T09:00:00Z")


@pytest.mark.parametrize(
    "text", ["2026-07-01T12:00:00", "yesterday", "", "2026-13-01T00:00:00Z", "2026-07-01T12:00:00Z\0"]
)
def test_a_time_that_is_nobodys_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_iso_us(text)


def test_milliseconds_are_written_short():
    assert iso(1_700_000_000_123_000) == "2023-11-14T22:13:20.123Z"
    assert iso(1_700_000_000_123_456) == "2023-11-14T22:13:20.123456Z"


def test_the_clock_agrees_with_the_library():
    assert abs(now_us() - datetime_us(datetime.now(UTC))) < 10_000_000
