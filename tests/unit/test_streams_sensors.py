"""The file of low-cost sensors: what it says of devices, and every problem of it at once."""

import pytest

from pulssi.errors import ConfigurationError
from pulssi.times import parse_iso_us
from streams.sensors import load_sensors

GOOD = """
[[sensor]]
device = "pa-7"
reference = "fmi-100662"
calibration = [
  { method = "purpleair_2021", valid_from = 2026-01-01T00:00:00Z, valid_to = 2026-07-01T02:00:00+02:00 },
  { method = "purpleair_2021", valid_from = 2026-07-01T01:00:00Z },
]

[[sensor]]
device = "pa-*"
"""


def load(tmp_path, text):
    file = tmp_path / "sensors.toml"
    file.write_text(text)
    return load_sensors(file)


def test_a_device_that_is_not_named_is_no_low_cost_sensor(tmp_path):
    sensors = load(tmp_path, GOOD)
    assert sensors
    assert sensors.of("fmi-100662") is None
    assert not load_sensors(None)
    assert load_sensors(None).of("pa-7") is None


def test_the_first_pattern_that_matches_counts(tmp_path):
    sensors = load(tmp_path, GOOD)
    assert sensors.of("pa-7").reference == "fmi-100662"
    assert sensors.of("pa-8").reference is None
    assert sensors.of("pa-8").method_at(0) is None


def test_a_correction_holds_in_its_half_open_interval(tmp_path):
    sensor = load(tmp_path, GOOD).of("pa-7")
    times = ("2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-06-30T23:59:59Z", "2026-07-01T00:00:00Z")
    methods = [sensor.method_at(parse_iso_us(time)) for time in (*times, "2026-07-01T01:00:00Z")]
    assert methods == [None, "purpleair_2021", "purpleair_2021", None, "purpleair_2021"]


def test_every_problem_is_told_at_once(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load(
            tmp_path,
            """
            [[sensor]]
            device = "a"
            calibration = [{ method = "magic" }, { method = "purpleair_2021", valid_from = 2026-01-01T00:00:00 }]
            [[sensor]]
            device = "b"
            colour = "blue"
            reference = "a/b"
            [[sensor]]
            device = "c"
            calibration = [{ method = "purpleair_2021" }, { method = "purpleair_2021" }]
            [[sensor]]
            device = "d"
            [[sensor.calibration]]
            method = "purpleair_2021"
            valid_from = 2021-01-01T00:00:00Z
            valid_to = 2020-01-01T00:00:00Z
            [[sensor]]
            reference = "e"
            [[sensor]]
            device = "f"
            [[sensor]]
            device = "f"
            """,
        )
    said = [one.partition(": ")[2] for one in caught.value.problems]
    expected = [
        "sensor a: calibration: 0: method: there is no correction 'magic'",
        "sensor a: calibration: 1: valid_from: ",
        "sensor b: reference: 'a/b' is no device id",
        "sensor b: colour: ",
        "sensor c: calibration: two corrections hold at the same time",
        "sensor d: calibration: valid_to is not after valid_from",
        "sensor number 5: device: ",
        "sensor f is there twice",
    ]
    assert len(said) == len(expected)
    assert all(one.startswith(start) for one, start in zip(sorted(said), sorted(expected), strict=True))


@pytest.mark.parametrize("text", ["sensor = 3", "[[sensors]]\ndevice = 'a'", "device = ", "\x00"])
def test_what_is_no_list_of_sensors_is_refused(tmp_path, text):
    with pytest.raises(ConfigurationError):
        load(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError):
        load_sensors(tmp_path / "none.toml")
