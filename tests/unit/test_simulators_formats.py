"""What simulated devices write is what the formats say."""

import json

import pytest

from pulssi.series import series_id
from simulators.formats import own_message, tms_message

TIME = 1_795_506_839_730_123


def test_the_short_form_holds_time_values_and_number():
    message = own_message(TIME, "air", "fmi-1", TIME, {"no2": 18.5}, 7)
    assert json.loads(message.payload) == {"t": TIME // 1000, "no2": 18.5, "seq": 7}
    assert message.readings == ((series_id("fmi-1", "no2"), TIME // 1000 * 1000, 18.5),)
    assert message.topic == b"pulssi/v1/air/fmi-1/readings"


def test_senml_holds_the_same_under_base_fields():
    message = own_message(TIME, "air", "fmi-1", TIME, {"no2": 18.5, "o3": 60}, 7, senml=True)
    base, *records = json.loads(message.payload)
    assert base == {"bn": "urn:dev:fmi-1:", "bt": 1_795_506_839.73, "seq": 7}
    assert records == [{"n": "no2", "u": "ug/m3", "v": 18.5}, {"n": "o3", "u": "ug/m3", "v": 60}]
    assert message.readings == own_message(TIME, "air", "fmi-1", TIME, {"no2": 18.5, "o3": 60}, 7).readings


@pytest.mark.parametrize("event_ms", [1_000_000_000_001, 1_795_506_839_730, 1_999_999_999_999])
def test_a_senml_time_in_seconds_gives_the_same_microseconds_back(event_ms):
    message = own_message(0, "air", "a", event_ms * 1000, {"no2": 1}, 1, senml=True)
    assert round(json.loads(message.payload)[0]["bt"] * 1_000_000) == message.readings[0].event_time


def test_tms_counts_in_seconds_and_names_its_window_only_when_fixed():
    assert json.loads(tms_message(TIME, 23001, 5122, 1_667_972_911, 108).payload) == {
        "value": 108,
        "time": 1_667_972_911,
    }
    fixed = tms_message(TIME, 23001, 5056, 1_667_972_911, 108, (1_667_966_400, 1_667_970_000))
    assert json.loads(fixed.payload) == {"value": 108, "time": 1667972911, "start": 1667966400, "end": 1667970000}
