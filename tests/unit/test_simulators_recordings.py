"""Readers of recordings against the raw files, and what another time does to them."""

import csv
import gzip
import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pulssi.errors import ConfigurationError
from pulssi.series import hash64, series_id
from pulssi.times import parse_iso_us
from simulators.recordings import SHIPPED, device_id, form_of, read, rebased, shipped
from simulators.recordings.hfp import move_start

MINUTE_US = 60_000_000
HFP_FILE = SHIPPED["hfp"][1][0]


def raw_hfp():
    """(received, topic, payload) of every line, read in another way than the reader does."""
    with gzip.open(HFP_FILE, "rb") as file:
        for line in file:
            head, brace, tail = line.rstrip(b"\n").partition(b" {")
            received, _, topic = head.partition(b" ")
            yield received.decode(), topic, brace[1:] + tail


def fields_of(payload):
    (fields,) = json.loads(payload).values()
    return fields


def test_unmoved_messages_are_the_recorded_bytes():
    messages = [record.message(0, -1) for record in shipped("hfp").records]
    raw = list(raw_hfp())
    assert len(messages) == len(raw) == 1990
    assert [(message.topic, message.payload) for message in messages] == [(topic, payload) for _, topic, payload in raw]
    assert [message.send_time for message in messages] == [parse_iso_us(received) for received, _, _ in raw]


def test_the_expected_event_id_is_the_hash_of_topic_and_payload():
    message = shipped("hfp").records[0].message(0, -1)
    assert message.event.event_id == hash64(message.topic + b"\0" + message.payload)


def test_headsigns_with_spaces_stay_in_the_topic():
    assert any(b"(M)" in record.message(0, -1).topic for record in shipped("hfp").records)


def test_delays_are_positive_when_late():
    """Arrivals against ttarr, departures against ttdep, else dl with its sign turned; dead runs have none."""
    checked = 0
    for record, (_, topic, payload) in zip(shipped("hfp").records, raw_hfp(), strict=True):
        event, fields = topic.split(b"/")[5], fields_of(payload)
        expected = None if fields.get("dl") is None else -fields["dl"]
        planned = fields.get({b"ars": "ttarr", b"arr": "ttarr", b"due": "ttarr", b"pas": "ttarr"}.get(event, "ttdep"))
        if planned and event in {b"ars", b"arr", b"due", b"pas", b"dep", b"pde"}:
            late = datetime.fromisoformat(fields["tst"]) - datetime.fromisoformat(planned)
            expected = round(late.total_seconds())
            checked += 1
        assert record.message(0, -1).event.delay_s == expected
    assert checked == 15 + 11 + 11 + 2 + 13 + 11


@pytest.mark.parametrize("days", [0, 37, 411])
def test_moving_keeps_all_differences_and_all_other_bytes(days):
    shift = (days * 1440 + 7) * MINUTE_US
    for record, (_, topic, payload) in zip(shipped("hfp").records, raw_hfp(), strict=True):
        moved = record.message(shift, -1)
        old, new = fields_of(payload), fields_of(moved.payload)
        for name in ("tst", "ttarr", "ttdep"):
            if old.get(name):
                assert parse_iso_us(new[name]) - parse_iso_us(old[name]) == shift
        assert new["tsi"] - old["tsi"] == shift // 1_000_000
        times = {"tst", "tsi", "ttarr", "ttdep", "oday", "start"}
        assert {k: v for k, v in new.items() if k not in times} == {k: v for k, v in old.items() if k not in times}
        assert len(moved.payload) == len(payload)
        levels, new_levels = topic.split(b"/"), moved.topic.split(b"/")
        if len(levels) > 12:
            assert new_levels[12].decode() == new["start"]
            del levels[12], new_levels[12]
        assert levels == new_levels


def test_every_trip_stays_one_trip():
    """Messages that shared (route, direction, operating day, start) still do, and others still do not."""

    def trips(payloads):
        return [tuple(fields_of(p).get(k) for k in ("veh", "route", "dir", "oday", "start")) for p in payloads]

    old = trips(payload for _, _, payload in raw_hfp())
    moved = rebased(shipped("hfp").records, parse_iso_us("2026-11-24T12:00:00Z"), squeeze_s=900)
    new = trips(one.record.message(one.shift_us, -1).payload for one in moved)
    assert len(set(old)) == len(set(new)) == len(set(zip(old, new, strict=True)))


@pytest.mark.parametrize(
    ("day", "start", "shift_h", "expected"),
    [
        ("2024-05-23", "09:30", 24, ("2024-05-24", "09:30")),
        ("2024-05-23", "23:30", 1, ("2024-05-23", "00:30")),  # after midnight, still the day before
        ("2024-05-23", "00:30", 4, ("2024-05-24", "04:30")),  # operating day 23 at 00:30 is the 24th by the calendar
        ("2024-05-23", "04:29", 0, ("2024-05-23", "04:29")),
        ("2024-10-26", "22:00", 12, ("2024-10-27", "09:00")),  # the night of the clock change is an hour longer
    ],
)
def test_operating_days_and_starts_follow_the_local_clock(day, start, shift_h, expected):
    assert move_start(day, start, shift_h * 3600 * 1_000_000) == expected


def test_epa_rows_are_local_standard_time_and_ppb_become_micrograms():
    recording = shipped("epa")
    assert len(recording.records) == 3 * 7 * 1440
    first = next(record for record in recording.records if record.device_id == "epa-RT01").message(0, 7)
    assert json.loads(first.payload) == {
        "t": parse_iso_us("2019-08-05T05:00:00Z") // 1000,
        "no2": -10.71,
        "o3": 30.928,
        "pm2_5": 6.0,
        "temperature": 23.3,
        "humidity": 99.9,
        "dew_point": 23.3,
        "seq": 7,
    }
    assert first.topic == b"pulssi/v1/air/epa-RT01/readings"
    assert first.readings[2] == (series_id("epa-RT01", "pm2_5"), parse_iso_us("2019-08-05T05:00:00Z"), 6.0)


def test_epa_agrees_with_its_file_in_every_particle_reading():
    with gzip.open(SHIPPED["epa"][1][1], "rt", encoding="utf-8-sig") as file:
        raw = [float(row[3]) for row in list(csv.reader(file))[7:] if row[3]]
    read_ = [
        json.loads(record.message(0, 0).payload)["pm2_5"]
        for record in shipped("epa").records
        if record.device_id == "epa-RT02"
    ]
    assert read_ == raw


def test_tms_answers_become_tms_messages(tmp_path):
    answer = {
        "dataUpdatedTime": "2024-06-01T12:00:00Z",
        "stations": [
            {
                "id": 23001,
                "sensorValues": [
                    {
                        "id": 5122,
                        "name": "KESKINOPEUS_5MIN_LIUKUVA_SUUNTA1",
                        "timeWindowStart": "2024-06-01T11:55:00Z",
                        "timeWindowEnd": "2024-06-01T12:00:00Z",
                        "measuredTime": "2024-06-01T12:00:00Z",
                        "value": 107.0,
                    },
                    {
                        "id": 5056,
                        "name": "KESKINOPEUS_60MIN_KIINTEA_SUUNTA1",
                        "timeWindowStart": "2024-06-01T11:00:00Z",
                        "timeWindowEnd": "2024-06-01T12:00:00Z",
                        "measuredTime": "2024-06-01T12:00:00Z",
                        "value": 99.0,
                    },
                    {"id": 60000, "name": "TILA", "measuredTime": "2024-06-01T12:00:00Z", "value": 0.0},
                ],
            }
        ],
    }
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(answer))
    sliding, fixed = [record.message(2 * MINUTE_US, -1) for record in read([file], "tms").records]
    noon = parse_iso_us("2024-06-01T12:02:00Z") // 1_000_000
    assert (sliding.topic, json.loads(sliding.payload)) == (b"tms-v2/23001/5122", {"value": 107.0, "time": noon})
    assert json.loads(fixed.payload) == {"value": 99.0, "time": noon, "start": noon - 3600, "end": noon}
    assert sliding.readings == ((series_id("tms-23001", "speed_mean", "1"), noon * 1_000_000, 107.0),)
    assert fixed.readings == ((series_id("tms-23001", "speed_mean", "1-60min"), (noon - 3600) * 1_000_000, 99.0),)


def test_two_column_files_are_of_the_quantity_that_was_named(tmp_path):
    file = tmp_path / "speed 7578.csv"
    file.write_text("timestamp,value\n2015-09-08 11:39:00,73\n2015-09-08 11:44:00,62\n")
    records = read([file], "csv", quantity="speed_mean").records
    assert [record.device_id for record in records] == ["csv-speed-7578"] * 2
    assert records[0].message(0, 0).topic == b"pulssi/v1/traffic/csv-speed-7578/readings"
    assert records[1].time - records[0].time == 5 * MINUTE_US


def test_missing_values_are_left_out_not_sent_as_numbers(tmp_path):
    file = tmp_path / "AirQualityUCI.csv"
    file.write_text(
        "Date,Time,CO_GT,NO2_GT,NOx_GT,T,RH\n"
        "10/03/2004,18:00:00,2.6,113,-200,13.6,48.9\n"
        "10/03/2004,19:00:00,-200,-200,-200,-200,-200\n"
    )
    (record,) = read([file], "uci").records
    payload = json.loads(record.message(0, 0).payload)
    assert payload["co"] == 2600
    assert payload["t"] == parse_iso_us("2004-03-10T17:00:00Z") // 1000
    assert "nox" not in payload


def test_a_csv_file_may_hold_many_series(tmp_path):
    file = tmp_path / "many.csv"
    file.write_text(
        "time,device,quantity,channel,value\n"
        "2026-03-01T02:00:00+02:00,a,no2,inlet,7.5\n2026-03-01 00:00:01,,,,8\n2026-03-01T00:00:02Z,b,flow,,\n"
    )
    first, second = (record.message(0, 1) for record in read([file], "csv", quantity="pm10").records)
    assert first.topic == b"pulssi/v1/air/a/readings"
    assert json.loads(first.payload) == {"t": 1772323200000, "no2/inlet": 7.5, "seq": 1}
    assert first.readings == ((series_id("a", "no2", "inlet"), 1772323200 * 10**6, 7.5),)
    assert second.topic == b"pulssi/v1/air/csv-many/readings"
    assert json.loads(second.payload) == {"t": 1772323201000, "pm10": 8, "seq": 1}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("time,value\n2026-03-01T00:00:00Z\n", "line 2 is short"),
        ("time,quantity,value\n2026-03-01T00:00:00Z,love,1\n", "line 2: there is no quantity 'love'"),
        ("time,value\nyesterday,1\n", "yesterday"),
        ("time,value\n2026-03-01T00:00:00Z,inf\n", "no measured value"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, rows, problem):
    file = tmp_path / "x.csv"
    file.write_text(rows)
    with pytest.raises(ConfigurationError, match=problem):
        read([file], "csv")


def test_the_format_of_a_file_is_told_by_what_it_begins_with(tmp_path):
    for form, (_, paths) in SHIPPED.items():
        assert {form_of(path) for path in paths} == {form}
    for form, text in (
        ("csv", "timestamp,value\n"),
        ("csv", "device,time,value\n"),
        ("tms", ' {"dataUpdatedTime": "x"}'),
        ("beijing", "No,year,month,day,hour,PM2.5\n"),
        ("uci", "Date,Time,CO_GT\n"),
    ):
        file = tmp_path / form
        file.write_text(text)
        assert form_of(file) == form
    (tmp_path / "empty").write_text("")
    with pytest.raises(ConfigurationError, match="nothing tells its format"):
        form_of(tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        form_of(tmp_path)


def test_a_file_of_another_format_is_named_with_what_is_wrong(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigurationError, match=r"x\.csv: no column"):
        read([file], "csv")
    with pytest.raises(ConfigurationError, match="there is no format"):
        read([file], "xml")
    with pytest.raises(ConfigurationError, match="No such file"):
        read([tmp_path / "none"], "hfp")


def test_device_ids_have_only_allowed_letters(tmp_path):
    assert device_id(tmp_path / "ä b.csv.gz", "csv") == "csv---b"
    assert device_id(tmp_path / "toco_toucan_RT01_raw.csv.gz", "epa") == "epa-RT01"


def test_helsinki_is_where_operating_days_change():
    assert datetime(2024, 5, 24, 1, 30, tzinfo=UTC).astimezone(ZoneInfo("Europe/Helsinki")).utcoffset() == timedelta(
        hours=3
    )
