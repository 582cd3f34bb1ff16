"""each payload format: what it accepts, what it refuses and why"""

import datetime as dt
import gzip
import json
from functools import partial
from pathlib import Path

import pytest

from ingest.decoders import digitraffic_tms, digitraffic_weather, format_of, formats, hsl_hfp, matches, pulssi_v1
from ingest.decoders.base import SEQ_NONE, Source, VehicleFormat, split_measure
from ingest.decoders.units import conversion
from pulssi.errors import PoisonError, Reason
from pulssi.frames import VEHICLES
from pulssi.quantities import QUANTITIES, Kind

ROOT = Path(__file__).parents[2]
NOW = 1_764_000_000_000_000
DEVICE = Source("dev-1", Kind.AIR, answers="pulssi/v1/air/dev-1/receipts")


def own(payload):
    return pulssi_v1.decode(DEVICE, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), NOW)


def reason_of(call, *arguments):
    with pytest.raises(PoisonError) as caught:
        call(*arguments)
    return caught.value.reason


# Registry


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("pulssi/v1/air/dev-1/readings", "pulssi"),
        ("/hfp/v2/journey/ongoing/vp/bus/0012/01913/4400/1/Vantaankoski/15:21/1130110/4/60;24/19/72/15", "hfp"),
        ("/hfp/v2/deadrun/ongoing/vp/bus/0018/00679", "hfp"),
        ("tms-v2/23001/5122", "tms"),
        ("tms-v2/status", "tms"),
        ("weather-v2/1012/1", "road weather"),
        ("pulssi/v1/air/dev-1/receipts", None),
        ("pulssi/v1/air/dev-1/readings/more", None),
        ("hfp/v2/journey", None),
        ("$SYS/broker/uptime", None),
    ],
)
def test_a_format_is_found_by_its_topic(topic, name):
    found = format_of(topic.split("/"))
    assert (found.name if found else None) == name


def test_every_format_has_a_name_and_a_filter_of_its_own():
    assert len({one.name for one in formats()}) == len({one.filter for one in formats()}) == len(formats()) == 4


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a//c", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a", True),
        ("a/b", "a", False),
    ],
)
def test_filters_match_as_mqtt_says(topic_filter, topic, expected):
    assert matches(topic_filter.split("/"), topic.split("/")) is expected


# Own topics


def test_the_topic_says_who_the_device_is():
    assert pulssi_v1.source_of(["pulssi", "v1", "air", "dev-1", "readings"]) == DEVICE


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("pulssi/v1/fog/dev-1/readings", Reason.BAD_TOPIC),
        ("pulssi/v1/air//readings", Reason.BAD_DEVICE_ID),
        ("pulssi/v1/air/a b/readings", Reason.BAD_DEVICE_ID),
        ("pulssi/v1/air/+/readings", Reason.BAD_DEVICE_ID),
        ("pulssi/v1/air/#/readings", Reason.BAD_DEVICE_ID),
        ("pulssi/v1/air/a\x00/readings", Reason.BAD_DEVICE_ID),
        ("pulssi/v1/air/ä/readings", Reason.BAD_DEVICE_ID),
        (f"pulssi/v1/air/{'x' * 65}/readings", Reason.BAD_DEVICE_ID),
    ],
)
def test_a_topic_that_names_no_device_is_refused(topic, reason):
    assert reason_of(pulssi_v1.source_of, topic.split("/")) is reason


# Short form


def test_short_form_with_epoch_milliseconds():
    assert own(b'{"t": 1764000000123, "pm2_5": 7.1, "no2": 18, "seq": 812}') == [
        ("pm2_5", 1_764_000_000_123_000, 7.1, 812),
        ("no2", 1_764_000_000_123_000, 18.0, 812),
    ]


def test_short_form_with_iso_time_of_any_zone_a_channel_and_the_device():
    expected = [("pm2_5/inlet-2", 1_764_000_000_123_000, -0.5, SEQ_NONE)]
    assert own({"t": "2025-11-24T16:00:00.123Z", "pm2_5/inlet-2": -0.5}) == expected
    assert own({"t": "2025-11-24T18:00:00.123+02:00", "pm2_5/inlet-2": -0.5, "device": "dev-1"}) == expected


def test_values_are_floats_and_keep_every_digit():
    ((_, _, value, _),) = own(b'{"t":0,"no2":123456789.01234567}')
    assert value == 123456789.01234567
    assert [type(row[2]) for row in own(b'{"t":0,"no2":1,"o3":1e3,"co":-0}')] == [float] * 3


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.BAD_JSON),
        (b"hello", Reason.BAD_JSON),
        (b'{"t":1,"no2":1', Reason.BAD_JSON),
        (b'{"t":1,"no2":1} {}', Reason.BAD_JSON),
        (b'{"t":1,"no2":01}', Reason.BAD_JSON),
        (b"\x89PNG\r\n\x1a\n", Reason.BAD_ENCODING),
        (b'{"t":1,"no2":NaN}', Reason.NOT_FINITE),
        (b'{"t":1,"no2":-Infinity}', Reason.NOT_FINITE),
        (b'{"t":1,"no2":1e999}', Reason.NOT_FINITE),
        (b'{"t":1,"no2":' + b"9" * 5000 + b"}", Reason.NOT_FINITE),
        (b'{"t":1,"no2":' + b"9" * 310 + b"}", Reason.NOT_FINITE),
        (b'{"t":1,"no2":1,"no2":2}', Reason.DUPLICATE_KEY),
        (b'{"t":1,"t":2,"no2":2}', Reason.DUPLICATE_KEY),
        (b'{"t":1,"no2":1,"n\\u006f2":2}', Reason.DUPLICATE_KEY),
        (b'{"t":1,"no2":' + b"[" * 50_000 + b"]" * 50_000 + b"}", Reason.TOO_DEEP),
        (b'{"a":' * 50_000, Reason.TOO_DEEP),
        (b'{"t":1,"no2":{"v":1}}', Reason.BAD_SCHEMA),
        (b'{"t":1,"no2":"18"}', Reason.BAD_SCHEMA),
        (b'{"t":1,"no2":true}', Reason.BAD_SCHEMA),
        (b'{"t":1,"no2":null}', Reason.BAD_SCHEMA),
        (b"17", Reason.BAD_SCHEMA),
        (b'{"t":1,"no2":1,"seq":-2}', Reason.BAD_SCHEMA),
        (b'{"t":1,"no2":1,"seq":1.5}', Reason.BAD_SCHEMA),
        (b'{"t":1,"no2":1,"seq":"7"}', Reason.BAD_SCHEMA),
        (b'{"t":1,"no2":1,"seq":9223372036854775808}', Reason.BAD_SCHEMA),
        (b'{"t":"2025-11-24T16:00:00\\ud800Z","no2":1}', Reason.BAD_ENCODING),
        (b'{"t":"\xed\xa0\x80","no2":1}', Reason.BAD_ENCODING),
        (b'{"t":1,"no2\\u0000":"x"}', Reason.CONTROL_CHARACTER),
        (b'{"t":1,"no2\x00":1}', Reason.CONTROL_CHARACTER),
        (b'{"t":1,"no\n2":1}', Reason.CONTROL_CHARACTER),
        (b'{"no2":1}', Reason.NO_TIME),
        (b'{"t":null,"no2":1}', Reason.BAD_SCHEMA),
        (b'{"t":1.5,"no2":1}', Reason.BAD_TIME),
        (b'{"t":"yesterday","no2":1}', Reason.BAD_TIME),
        (b'{"t":"2025-11-24T16:00:00","no2":1}', Reason.BAD_TIME),
        (b'{"t":1}', Reason.NO_READING),
        (b'{"t":1,"seq":4}', Reason.NO_READING),
        (b'{"t":1,"no2":1,"device":"dev-2"}', Reason.BAD_DEVICE_ID),
        (b'{"t":1,"no2":1,"device":7}', Reason.BAD_DEVICE_ID),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
)
def test_short_form_is_refused_with_its_reason(payload, reason):
    assert reason_of(own, payload) is reason


def test_white_space_around_a_payload_is_harmless():
    assert own(b' \n{"t":1,"no2":1}\r\n') == own(b'{"t":1,"no2":1}')
    assert own(b'\n [{"n":"no2","t":1764000000,"v":1}]')[0][0] == "no2"


# Measures and units


def test_a_measure_is_a_quantity_with_an_optional_channel():
    assert split_measure("pm2_5") == ("pm2_5", None)
    assert split_measure("pm2_5/a.1") == ("pm2_5", "a.1")
    assert reason_of(split_measure, "pm25") is Reason.UNKNOWN_QUANTITY
    assert reason_of(split_measure, "pm2_5/") is Reason.BAD_SCHEMA
    assert reason_of(split_measure, "pm2_5/a/b") is Reason.BAD_SCHEMA
    assert reason_of(split_measure, f"pm2_5/{'x' * 33}") is Reason.BAD_SCHEMA


@pytest.mark.parametrize(
    ("quantity", "unit", "value", "expected"),
    [
        ("pm2_5", "kg/m3", 2.5e-8, 25.0),
        ("co", "mg/m3", 1.2, 1200.0),
        ("no2", "ppb", 10.0, 10 * 46.0055 / 24.055),
        ("o3", "ppm", 0.06, 60 * 47.998 / 24.055),
        ("temperature", "K", 273.15, 0.0),
        ("humidity", "/", 0.55, 55.0),
        ("pressure", "Pa", 101_325.0, 1013.25),
        ("wind_speed", "km/h", 36.0, 10.0),
        ("speed_mean", "m/s", 10.0, 36.0),
        ("wind_direction", "rad", 3.141592653589793, 180.0),
        ("rssi", "dBW", -120.0, -90.0),
        ("co2", "ppb", 420_000.0, 420.0),
    ],
)
def test_units_are_converted(quantity, unit, value, expected):
    factor, offset = conversion(quantity, unit)
    assert value * factor + offset == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_every_quantity_accepts_its_own_unit_and_no_nonsense():
    for quantity in QUANTITIES.values():
        assert conversion(quantity.name, quantity.unit) == (1.0, 0.0)
        assert reason_of(conversion, quantity.name, "furlong") is Reason.UNIT_MISMATCH
    assert reason_of(conversion, "pm2_5", "ppb") is Reason.UNIT_MISMATCH


# SenML


def test_senml_resolves_base_fields_as_rfc_8428_says():
    """After the example of section 5.1.3: base time and unit in force for all, one unit overwritten."""
    pack = [
        {"bn": "urn:dev:ow:dev-1:", "bt": 1.764e9, "bu": "Cel", "bver": 5, "n": "temperature", "v": 20.1, "seq": 7},
        {"n": "humidity", "u": "%RH", "v": 55},
        {"n": "temperature", "t": -5, "v": 19.5},
        {"n": "dew_point", "t": 1.5, "bt": 1.764e9 + 10, "v": 8.25},
        {"n": "temperature", "v": 1, "bv": 20, "seq": 9},
        {"n": "temperature", "t": 1, "v": 2},
    ]
    assert own(pack) == [
        ("temperature", NOW, 20.1, 7),
        ("humidity", NOW, 55.0, 7),
        ("temperature", NOW - 5_000_000, 19.5, 7),
        ("dew_point", NOW + 11_500_000, 8.25, 7),
        ("temperature", NOW + 10_000_000, 21.0, 9),
        ("temperature", NOW + 11_000_000, 22.0, 9),
    ]


@pytest.mark.parametrize("base", ["", "dev-1:", "dev-1/", "urn:dev:mac:dev-1:", "urn:dev:ops:32473-x:dev-1/"])
@pytest.mark.parametrize("measure", ["no2", "no2/left"])
def test_senml_names_end_in_a_measure_of_the_device(base, measure):
    assert own([{"bn": base, "n": measure, "t": 1.764e9, "v": 1}])[0][0] == measure
    assert own([{"n": base + measure, "t": 1.764e9, "v": 1}])[0][0] == measure
    assert own([{"bn": base + measure, "t": 1.764e9, "v": 1}])[0][0] == measure


def test_senml_passes_base_records_and_fields_that_nobody_knows():
    pack = [
        {"bn": "dev-1:", "bt": 1.764e9, "bver": 10},
        {"n": "no2", "u": "ppb", "v": 10, "ut": 60, "note": "x", "z": 1},
    ]
    assert own(pack) == [("no2", NOW, pytest.approx(10 * 46.0055 / 24.055), SEQ_NONE)]


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        ([], Reason.NO_READING),
        ([{"bn": "dev-1:"}], Reason.NO_READING),
        ([{"n": "no2", "v": 1}], Reason.NO_TIME),
        ([{"n": "no2", "v": 1, "t": -60}], Reason.NO_TIME),
        ([{"n": "no2", "v": 1, "t": 2**28 - 1}], Reason.NO_TIME),
        ([{"n": "no2", "v": 1, "t": 1.764e15}], Reason.BAD_TIME),
        ([{"n": "no2", "v": 1, "t": 1e308, "bt": 1e308}], Reason.BAD_TIME),
        ([{"n": "no2", "v": "1", "t": 1.764e9}], Reason.BAD_SCHEMA),
        ([{"n": "no2", "vs": "1", "t": 1.764e9}], Reason.BAD_SCHEMA),
        ([{"n": "no2", "vb": True, "t": 1.764e9}], Reason.BAD_SCHEMA),
        ([{"n": "no2", "v": 1, "vs": "x", "t": 1.764e9}], Reason.BAD_SCHEMA),
        ([{"n": "no2", "s": 1, "t": 1.764e9}], Reason.BAD_SCHEMA),
        ([{"n": "no2", "t": 1.764e9}], Reason.BAD_SCHEMA),
        ([{"n": "no2", "v": 1, "t": 1.764e9, "bver": 11}], Reason.BAD_SCHEMA),
        ([{"n": "no2", "v": 1, "t": 1.764e9, "cal_": 3}], Reason.BAD_SCHEMA),
        ([{"n": "no2", "v": 1, "t": 1.764e9, "seq": -1}], Reason.BAD_SCHEMA),
        ([{"n": "smog", "v": 1, "t": 1.764e9}], Reason.UNKNOWN_QUANTITY),
        ([{"v": 1, "t": 1.764e9}], Reason.UNKNOWN_QUANTITY),
        ([{"n": "no2", "u": "Cel", "v": 1, "t": 1.764e9}], Reason.UNIT_MISMATCH),
        ([{"bn": "dev-2:", "n": "no2", "v": 1, "t": 1.764e9}], Reason.BAD_DEVICE_ID),
        ([{"bn": "xdev-1:", "n": "no2", "v": 1, "t": 1.764e9}], Reason.BAD_DEVICE_ID),
        ([{"n": "co", "u": "kg/m3", "v": 1e305, "t": 1.764e9}], Reason.NOT_FINITE),
        ([1], Reason.BAD_SCHEMA),
        (b'[{"n":"no2","v":1,"v":2,"t":1764000000}]', Reason.DUPLICATE_KEY),
        (b'[{"n":"no2","x":1,"x":2,"v":2,"t":1764000000}]', Reason.DUPLICATE_KEY),
        (b"[" * 100_000, Reason.TOO_DEEP),
    ],
    ids=lambda value: str(value)[:60],
)
def test_senml_is_refused_with_its_reason(pack, reason):
    assert reason_of(own, pack) is reason


# Digitraffic


def test_tms_sensors_become_measures_of_the_station():
    source = digitraffic_tms.source_of(["tms-v2", "23001", "5122"])
    assert source == Source("tms-23001", Kind.TRAFFIC, "speed_mean/1")
    payload = b'{"value":108,"time":1667972911}'
    assert digitraffic_tms.FORMATS[0].decode(source, payload, NOW) == [
        ("speed_mean/1", 1_667_972_911_000_000, 108.0, SEQ_NONE)
    ]
    fixed = digitraffic_tms.source_of(["tms-v2", "23001", "5057"])
    windowed = b'{"value":107.5,"time":1667972911,"start":1667966400,"end":1667970000}'
    assert digitraffic_tms.FORMATS[0].decode(fixed, windowed, NOW)[0][:3] == (
        "speed_mean/2-60min",
        1_667_966_400_000_000,
        107.5,
    )
    again = windowed.replace(b"1667972911", b"1667972971")
    assert digitraffic_tms.FORMATS[0].decode(fixed, again, NOW) == digitraffic_tms.FORMATS[0].decode(
        fixed, windowed, NOW
    )


def test_every_digitraffic_measure_is_in_the_vocabulary_and_unique():
    for table in (digitraffic_tms.MEASURES, digitraffic_weather.MEASURES):
        assert len(set(table.values())) == len(table)
        for measure in table.values():
            split_measure(measure)


def test_road_weather_and_what_is_passed_over():
    assert digitraffic_weather.source_of(["weather-v2", "1012", "1"]) == Source("rws-1012", Kind.WEATHER, "temperature")
    assert digitraffic_weather.source_of(["weather-v2", "1012", "99"]) is None
    assert digitraffic_weather.source_of(["weather-v2", "status"]) is None
    assert digitraffic_tms.source_of(["tms-v2", "status"]) is None
    assert digitraffic_tms.source_of(["tms-v2", "23001", "60000"]) is None


@pytest.mark.parametrize(
    "topic", ["tms-v2", "tms-v2/1", "tms-v2/x/5122", "tms-v2/1/5122/9", "tms-v2/1/-5", "tms-v2/\uff11/1"]
)
def test_another_shape_of_topic_is_refused(topic):
    assert reason_of(digitraffic_tms.source_of, topic.split("/")) is Reason.BAD_TOPIC


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"value":"108","time":1}', Reason.BAD_SCHEMA),
        (b'{"value":108}', Reason.BAD_SCHEMA),
        (b'{"value":null,"time":1}', Reason.BAD_SCHEMA),
        (b'{"value":108,"time":1.5}', Reason.BAD_SCHEMA),
        (b'{"value":1e999,"time":1}', Reason.NOT_FINITE),
        (b'{"value":1,"value":2,"time":1}', Reason.DUPLICATE_KEY),
        (b'{"updated":1676628995}', Reason.BAD_SCHEMA),
    ],
)
def test_a_sample_is_refused_with_its_reason(payload, reason):
    source = Source("tms-1", Kind.TRAFFIC, "flow/1")
    assert reason_of(digitraffic_tms.FORMATS[0].decode, source, payload, NOW) is reason


# HSL HFP


def recording():
    """Topic and payload of the 1,990 recorded messages."""
    with gzip.open(ROOT / "simulators/data/hsl_hfp/hfp_all_unique.txt.gz", "rt", encoding="utf-8") as file:
        for line in file:
            head, brace, payload = line.rstrip("\n").partition(' {"')
            yield head.partition(" ")[2], (brace[1:] + payload).encode()


def independent_delay(topic, body, event):
    """Straight from HSL's description, with datetime."""
    if topic.split("/")[3] != "journey":
        return None
    stop_events = {"DUE": "ttarr", "ARR": "ttarr", "ARS": "ttarr"} | dict.fromkeys(
        ("PDE", "DEP", "PAS", "WAIT"), "ttdep"
    )
    scheduled = body.get(stop_events.get(event, ""))
    if scheduled:
        late = dt.datetime.fromisoformat(body["tst"]) - dt.datetime.fromisoformat(scheduled)
        return round(late.total_seconds())
    return None if body["dl"] is None else -body["dl"]


def test_every_recorded_message_is_an_event_with_the_delay_of_an_independent_computation():
    rows, late, ids = 0, 0, set()
    for topic, payload in recording():
        ((event, body),) = json.loads(payload).items()
        row = dict(zip(VEHICLES.names, hsl_hfp.decode(topic, payload, NOW), strict=True))
        levels = topic.split("/")
        assert row["delay_s"] == independent_delay(topic, body, event)
        assert row["vehicle"] == f"{levels[7]}/{levels[8]}"
        assert (row["event"], row["journey_type"]) == (event.lower(), levels[3])
        assert (row["lat"], row["lon"], row["stop"]) == (body["lat"], body["long"], body.get("stop"))
        assert row["event_time"] == round(dt.datetime.fromisoformat(body["tst"]).timestamp() * 1000) * 1000
        assert row["receive_time"] == NOW
        if levels[3] == "journey":
            assert row["route"] == body["route"] == levels[9]
            assert str(row["direction"]) == body["dir"]
            assert row["trip"] == f"{body['route']}/{body['dir']}/{body['oday']}/{body['start']}"
        else:
            assert [row[name] for name in ("route", "direction", "trip", "next_stop", "delay_s")] == [None] * 5
        rows += 1
        late += (row["delay_s"] or 0) > 0
        ids.add(row["event_id"])
    assert (rows, len(ids)) == (1990, 1990)
    assert late == 409


TOPIC = "/hfp/v2/journey/ongoing/vp/bus/0012/01913/4400/1/Vantaankoski/15:21/1130110/4/60;24/19/72/15"
BODY = {
    "desi": "400",
    "dir": "1",
    "oper": 12,
    "veh": 1913,
    "tst": "2023-10-29T13:24:10.684Z",
    "spd": 4.5,
    "hdg": 274,
    "lat": 60.17,
    "long": 24.92,
    "dl": -112,
    "drst": 0,
    "oday": "2023-10-29",
    "start": "15:21",
    "stop": None,
    "route": "4400",
    "occu": 0,
}


def hfp(topic=TOPIC, event="VP", **changed):
    body = {key: value for key, value in (BODY | changed).items() if value is not ...}
    row = hsl_hfp.decode(topic, json.dumps({event: body}).encode(), NOW)
    return dict(zip(VEHICLES.names, row, strict=True))


def test_late_is_positive_and_the_timetable_wins_at_a_stop():
    assert hfp()["delay_s"] == 112
    assert hfp(dl=25)["delay_s"] == -25
    timetable = {"ttarr": "2023-10-29T13:23:00Z", "ttdep": "2023-10-29T13:24:00Z"}
    assert hfp(**timetable)["delay_s"] == 112
    arrived = hfp(TOPIC.replace("/vp/", "/ars/"), "ARS", **timetable)
    assert (arrived["delay_s"], arrived["scheduled_time"]) == (71, 1_698_585_780_000_000)
    departed = hfp(TOPIC.replace("/vp/", "/dep/"), "DEP", **timetable)
    assert (departed["delay_s"], departed["scheduled_time"]) == (11, 1_698_585_840_000_000)
    assert hfp(TOPIC.replace("/vp/", "/dep/"), "DEP", ttdep="2023-10-20T13:24:00Z")["delay_s"] is None


def test_what_the_vehicle_does_not_know_is_left_out():
    row = hfp(spd=-1, hdg=None, lat=None, long=None, dl=None, oday=None, desi=None)
    assert [row[name] for name in ("speed", "heading", "lat", "lon", "delay_s", "trip", "line")] == [None] * 7
    assert hfp(TOPIC.replace("/bus/", "/zeppelin/"))["mode"] is None


def test_the_same_bytes_are_the_same_event_and_other_bytes_are_not():
    assert hfp()["event_id"] == hfp()["event_id"] != hfp(spd=4.6)["event_id"]


@pytest.mark.parametrize(
    ("field", "lowest", "highest"),
    [
        ("hdg", 0, 360),
        ("occu", 0, 100),
        ("tlp-requestid", 0, 255),
        ("lat", -90, 90),
        ("long", -180, 180),
        ("drst", 0, 1),
    ],
)
def test_a_field_is_taken_up_to_its_borders_and_refused_beyond(field, lowest, highest):
    assert all(hfp(**{field: value}) for value in (lowest, highest))
    assert field in ("lat", "long") or hfp(**{field: None})
    for value in (lowest - 1, highest + 1):
        assert reason_of(partial(hfp, **{field: value})) is Reason.BAD_SCHEMA


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tst": None}, Reason.NO_TIME),
        ({"tst": ...}, Reason.NO_TIME),
        ({"tst": "2023-10-29T13:24:10.684"}, Reason.BAD_TIME),
        ({"tst": 1698585850}, Reason.BAD_SCHEMA),
        ({"dir": ""}, Reason.BAD_SCHEMA),
        ({"drst": -100}, Reason.BAD_SCHEMA),
        ({"lat": 91}, Reason.BAD_SCHEMA),
        ({"lat": None}, Reason.BAD_SCHEMA),
        ({"veh": ...}, Reason.BAD_SCHEMA),
        ({"veh": "1913"}, Reason.BAD_SCHEMA),
        ({"veh": 1914}, Reason.BAD_DEVICE_ID),
        ({"oday": "29.10.2023"}, Reason.BAD_SCHEMA),
        ({"desi": "4\x0000"}, Reason.CONTROL_CHARACTER),
        ({"dl": 2**31}, Reason.BAD_SCHEMA),
    ],
    ids=str,
)
def test_an_event_is_refused_with_its_reason(changed, reason):
    with pytest.raises(PoisonError) as caught:
        hfp(**changed)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("/hfp/v2/journey/ongoing/vp/bus/0012", Reason.BAD_TOPIC),
        ("/hfp/v2/journey/ongoing/vp/bus/0012/01913", Reason.BAD_TOPIC),
        (TOPIC.replace("journey", "voyage"), Reason.BAD_TOPIC),
        (TOPIC.replace("/vp/", "/apc/"), Reason.BAD_TOPIC),
        (TOPIC.replace("/4400/1/", "/4400/3/"), Reason.BAD_TOPIC),
        (TOPIC.replace("0012", "00²2"), Reason.BAD_DEVICE_ID),
        (TOPIC.replace("01913", "x"), Reason.BAD_DEVICE_ID),
    ],
)
def test_a_topic_of_another_shape_is_refused(topic, reason):
    with pytest.raises(PoisonError) as caught:
        hfp(topic)
    assert caught.value.reason is reason


def test_the_event_of_the_topic_is_the_key_of_the_payload():
    with pytest.raises(PoisonError, match="one object under the key DEP"):
        hfp(TOPIC.replace("/vp/", "/dep/"))
    assert reason_of(hsl_hfp.decode, TOPIC, b'{"VP":{"veh":1913,"veh":1913,"tst":"2023-10-29T13:24:10Z"}}', NOW) is (
        Reason.DUPLICATE_KEY
    )


def test_samples_that_hsl_calls_garbage_are_refused():
    """The shapes of transitdata-common's parser fixtures: empty words, impossible numbers, passenger counts."""
    garbage = {
        "desi": None,
        "dir": "",
        "oper": None,
        "veh": ...,
        "spd": -10.0,
        "drst": -100,
        "oday": "",
        "start": "0:0",
    }
    with pytest.raises(PoisonError):
        hfp(**garbage)
    with pytest.raises(PoisonError):
        hfp(event="APC", vehiclecounts={"vehicleload": 15})


def test_vehicle_formats_and_reading_formats_are_told_apart():
    assert [one.name for one in formats() if isinstance(one, VehicleFormat)] == ["hfp"]
