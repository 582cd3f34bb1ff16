"""What would have fired: hand-computed cases through the processors of production, and what is told of them."""

import itertools
import json
import re
import struct
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import structlog

from alerts.rules import Rule
from pulssi import cli
from pulssi.commands.backtest.core import Batching
from pulssi.commands.backtest.plot import broken, thinned
from pulssi.commands.backtest.report import shown_range
from pulssi.settings import Settings
from tests.fixtures.air import info
from tests.fixtures.backtest import T0, S, fire, frame, words


def rule(**given) -> Rule:
    return Rule.model_validate({"id": "r", "severity": "warning"} | given)


HIGH = rule(threshold={"above": 50, "clear": 40, "for_s": 60, "clear_for_s": 60})


# What fires


def test_a_threshold_with_hold_times_and_a_clear_level():
    rows = [(0, 30), (30, 51), (60, 45), (90, 52), (120, 55), (150, 60), (180, 45), (210, 40), (240, 39), (270, 38)]
    assert words(fire(rows, HIGH)) == [
        "pending 30",
        "resolved 60",  # back before the hold time ended
        "pending 90",
        "firing 150",
        "resolved 270",  # 45 lies between the levels: the clear time counts from 210
    ]


def test_an_alert_that_is_open_at_the_end_stays_open():
    outcome = fire([(0, 60), (60, 61)], HIGH)
    assert words(outcome) == ["pending 0", "firing 60"]
    assert outcome.end == T0 + 60 * S


def test_the_clock_of_the_alert_is_that_of_the_records():
    fired = fire([(0, 60, 2), (60, 61, 63)], HIGH).transitions[1]
    assert (fired.receive_time, fired.decided_time) == (T0 + 63 * S, T0 + 63 * S)


def test_a_window_is_judged_when_it_closes():
    hourly = rule(threshold={"on": "window", "window_s": 300, "above": 10, "completeness_min": 0.5})
    rows = [(60 * minute, 100 if minute == 10 else 0) for minute in range(30)]
    # The minute of 100 is in the windows of five minutes that end with minutes 11 to 15: means 20, in pane time.
    pane = 60 * S
    first = (T0 + 600 * S) // pane * pane + pane
    assert [(one.state, one.event_time) for one in fire(rows, hourly).transitions] == [
        ("firing", first),
        ("resolved", first + 5 * pane),
    ]


def test_silence_is_found_inside_and_at_the_end_only_as_far_as_the_clock_goes():
    silent = rule(no_data={"after_s": 900})
    rows = [(0, 1), (60, 1), (2000, 1)]
    assert words(fire(rows, silent)) == ["firing 960", "resolved 2000"]
    assert words(fire(rows, silent, end=T0 + 2899 * S)) == ["firing 960", "resolved 2000"]
    assert words(fire(rows, silent, end=T0 + 2900 * S)) == ["firing 960", "resolved 2000", "firing 2900"]


def test_windows_that_the_end_leaves_open_are_judged_when_the_clock_has_passed_them():
    minute = rule(threshold={"on": "window", "window_s": 60, "above": 10})
    assert words(fire([(0, 100)], minute)) == []
    (one,) = fire([(0, 100)], minute, end=T0 + 3600 * S).transitions
    assert one.state == "firing"


def test_a_reading_that_no_indicator_counts_fires_nothing():
    now = rule(threshold={"above": 50})
    assert words(fire([(0, 5000), (60, 20)], now)) == []  # beyond the range of pm2_5
    assert words(fire([(0, 60), (60, 20)], now)) == ["firing 0", "resolved 60"]


def test_series_out_of_scope_fire_nothing_and_count_as_readings():
    other = info("dev-2", "no2")
    outcome = fire(
        [frame([(0, 99), (60, 10)], other)],
        rule(scope={"quantity": ["pm2_5"]}, threshold={"above": 50}),
        infos=(other,),
    )
    assert (words(outcome), outcome.readings) == ([], 2)


def test_what_could_be_revised_is_worked_on_alone():
    streams = Settings().streams
    window = rule(threshold={"on": "window", "window_s": 3600, "above": 1})
    index = rule(id="i", threshold={"on": "air_index", "window_s": 3600, "above": 1})
    assert Batching.of([HIGH], streams).prompt_us is None
    assert Batching.of([HIGH, window], streams).span_us == (7200 - 3600 - 240) * S
    assert Batching.of([window, index], streams).rows_max == 0


# What is told


def table(*values, start="2026-03-01T00:00:00", minutes=1):
    """A CSV file as the Numenta benchmark writes it."""
    times = np.datetime64(start) + np.arange(len(values)) * np.timedelta64(60 * minutes, "s")
    return "".join(
        ["timestamp,value\n", *(f"{str(t).replace('T', ' ')},{v}\n" for t, v in zip(times, values, strict=True))]
    )


@pytest.fixture
def pulssi(monkeypatch, capsys, tmp_path):
    """Runs a command; gives its exit code, what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words_):
        monkeypatch.setattr(sys, "argv", ["pulssi", "backtest", *map(str, words_)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        told = capsys.readouterr()
        return end.value.code or 0, told.out, told.err

    yield run
    structlog.reset_defaults()  # the command has set its log up on the stderr of this test


INLINE = "threshold = { above = 50, clear = 40, for_s = 120 }"


def test_the_table_and_the_summary_of_a_rule_written_in_toml(pulssi, tmp_path):
    (tmp_path / "flow.csv").write_text(table(10, 60, 70, 80, 45, 40, 10))
    code, out, err = pulssi(INLINE, "flow.csv", "--language", "sv")
    assert (code, err) == (0, "")
    head, row, summary = out.splitlines()
    assert head.split() == ["onset", "fired", "resolved", "duration", "series", "value", "expected", "text"]
    assert re.split(r"  +", row)[:7] == [
        "2026-03-01 00:01:00Z",
        "2026-03-01 00:03:00Z",
        "2026-03-01 00:05:00Z",
        "4\u00a0min",
        "csv-flow/value",
        "60",
        "\u2264 50",
    ]
    assert "värde" in row
    assert summary.startswith("inline: 1 fired, 2\u00a0min in alarm, 0 only pending; 1 series looked at, 7 readings")


def test_json_is_one_object(pulssi, tmp_path):
    (tmp_path / "a.csv").write_text(table(60, 70, 80, 40, 60, 10, 60, 70, 80))
    code, out, _ = pulssi(INLINE, "a.csv", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["firing"], told["open"], told["cancelled"], told["alarm_s"]) == (2, 1, 1, 60.0)
    assert [one["onset_time"] for one in told["alerts"]] == [f"2026-03-01T00:0{i}:00.000Z" for i in (0, 4, 6)]
    assert [one["duration_s"] for one in told["alerts"]] == [180, 60, 120]
    first = told["alerts"][0]
    assert (first["fired_time"], first["resolved_time"]) == ("2026-03-01T00:02:00.000Z", "2026-03-01T00:03:00.000Z")
    assert (first["value"], first["expected"], first["series"]) == (60, [None, 50], "csv-a/value")
    assert told["firing_by_day"] == {"2026-03-01": 2}
    assert (told["readings"], told["series"], told["refused"]) == (9, 1, {})


def test_columns_of_device_quantity_and_channel_and_a_choice_of_series(pulssi, tmp_path):
    (tmp_path / "long.csv").write_text(
        "time,device,quantity,channel,value\n"
        "2026-03-01T00:00:00Z,a,no2,,99\n2026-03-01T00:00:00Z,a,no2,inlet,99\n2026-03-01T00:00:00Z,b,pm10,,99\n"
    )
    above = "threshold = { above = 50 }"
    names = lambda *more: [one["series"] for one in json.loads(pulssi(above, "long.csv", "--json", *more)[1])["alerts"]]  # noqa: E731
    assert sorted(names()) == ["a/no2", "a/no2/inlet", "b/pm10"]
    assert names("--series", "a/no2/inlet") == ["a/no2/inlet"]
    assert sorted(names("--series", "*/pm*", "--series", "?/no2/i*")) == ["a/no2/inlet", "b/pm10"]


def test_from_and_to_cut_the_data_and_set_the_clock(pulssi, tmp_path):
    (tmp_path / "a.csv").write_text(table(60, 10, 60, 10))
    span = ("--from", "2026-03-01T00:01:00Z", "--to", "2026-03-01T02:03:00+02:00")
    told = json.loads(pulssi("threshold = { above = 50 }", "a.csv", *span, "--json")[1])
    assert told["readings"] == 2
    assert [one["onset_time"] for one in told["alerts"]] == ["2026-03-01T00:02:00.000Z"]
    assert told["end"] == "2026-03-01T00:03:00.000Z"


def test_refused_messages_and_an_empty_scope_are_said(pulssi, tmp_path):
    (tmp_path / "a.csv").write_text(
        "time,device,value\n2026-03-01T00:00:00Z,no such name,1\n2026-03-01T00:01:00Z,b,1\n"
    )
    code, out, err = pulssi("no2-alert", "a.csv")
    assert code == 0
    assert err.splitlines() == [
        "pulssi: refused: 1 bad_device_id",
        "pulssi: no2-alert looked at nothing in these data",
    ]
    assert out.startswith("no2-alert: 0 fired")


def test_every_problem_is_told_at_once_with_exit_2(pulssi, tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    words_ = ("nothing", "x.csv", "gone.csv", "--from", "2026-03-01T00:00:00", "--to", "yesterday", "--language", "de")
    code, out, err = pulssi(*words_, "--series", "a", "--quantity", "love", "--plot", "there/plot.pdf")
    assert (code, out) == (2, "")
    for expected in (
        "there is no rule 'nothing'; known are no2-alert",
        "x.csv: nothing tells its format",
        "gone.csv: [Errno 2]",
        "shipped recordings are hfp, epa",
        "--from: '2026-03-01T00:00:00' names no time zone",
        "--to: Invalid isoformat",
        "--language: 'de' is none of fi, sv, en",
        "--series: 'a' is not DEVICE/QUANTITY[/CHANNEL]",
        "--quantity: there is no quantity 'love'",
        "ends neither in .png nor in .svg",
        "there is no folder there",
    ):
        assert f"pulssi: {expected}" in err or expected in err, expected


@pytest.mark.parametrize(
    ("words_", "expected"),
    [
        (["threshold = { above = 1", "epa"], "is no TOML"),
        (["threshold = { above = 1, below = 2 }", "epa"], "the rule: threshold: exactly one of above and below"),
        (["no2-alert", "epa", "--score", "0.9"], "--score: is of the detector"),
        (["anomaly", "epa", "--score", "7"], "--score: anomaly.score"),
        (
            ["threshold = { on = 'window', window_s = 7, above = 1 }", "epa"],
            "none of the windows that streams makes",
        ),
    ],
)
def test_a_wrong_rule_is_told(pulssi, words_, expected):
    code, _, err = pulssi(*words_)
    assert code == 2
    assert expected in err


def test_a_span_that_ends_before_it_begins_is_a_problem(pulssi):
    code, _, err = pulssi("anomaly", "epa", "--from", "2026-03-02T00:00:00Z", "--to", "2026-03-01T00:00:00Z")
    assert (code, err) == (2, "pulssi: --from: is not before --to\n")


def test_rules_come_from_the_file_that_is_named(pulssi, tmp_path):
    (tmp_path / "a.csv").write_text(table(5))
    (tmp_path / "mine.toml").write_text('[[rule]]\nid = "mine"\nseverity = "info"\nthreshold = { below = 6 }\n')
    told = json.loads(pulssi("mine", "a.csv", "--rules", "mine.toml", "--json")[1])
    assert (told["firing"], told["alerts"][0]["severity"], told["alerts"][0]["expected"]) == (1, "info", [6, None])


# The plot


def test_a_png_of_the_right_size(pulssi, tmp_path):
    (tmp_path / "a.csv").write_text(table(10, 60, 70, 80, 10, 10))
    code, _, err = pulssi(INLINE, "a.csv", "--plot", "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert (code, err) == (0, "")
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.rstrip().endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1440, 408)


def test_an_svg_with_every_alarm_as_a_span(pulssi, tmp_path):
    (tmp_path / "a.csv").write_text(table(10, 60, 70, 80, 10, 60, 10, 60, 70, 80, 90))
    pulssi(INLINE, "a.csv", "--plot", "a.svg")
    root = ET.fromstring((tmp_path / "a.svg").read_text())  # noqa: S314  our own file
    names = [name for one in root.iter() if (name := one.get("id", "")).startswith(("alarm", "pending", "value"))]
    assert len(names) == len(set(names))
    kinds = [name.partition("-")[0] for name in names]
    assert {kind: kinds.count(kind) for kind in kinds} == {"value": 1, "pending": 3, "alarm": 2}
    text = "".join(root.itertext())
    assert "clear level" in text
    assert "csv-a/value" in text


def test_without_matplotlib_the_cure_is_named(pulssi, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text(table(1))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    code, _, err = pulssi(INLINE, "a.csv", "--plot", "a.png")
    assert code == 2
    assert "--plot needs matplotlib, which is not installed: pip install 'pulssi[plot]'" in err


def test_thinning_keeps_every_extreme_and_the_order():
    rng = np.random.default_rng(3)
    time, value = np.sort(rng.integers(0, 10**12, 50_000)), rng.normal(size=50_000)
    t, v = thinned(time, value)
    assert len(t) <= 4000
    assert (np.diff(t) >= 0).all()
    assert (v.min(), v.max()) == (value.min(), value.max())
    assert np.array_equal(thinned(time[:100], value[:100])[1], value[:100])


def test_no_line_leads_through_a_silence():
    time, value = np.array([0, 10, 20, 500, 510]), np.arange(5.0)
    t, v = broken(time, value)
    assert t.tolist() == [0, 10, 20, 499, 500, 510]
    assert np.isnan(v).tolist() == [False, False, False, True, False, False]
    assert [len(one) for one in broken(time[:1], value[:1])] == [1, 1]


def test_a_plot_of_nothing_is_said_and_not_drawn(pulssi, tmp_path):
    (tmp_path / "a.csv").write_text(table(1))
    code, _, err = pulssi("no2-alert", "a.csv", "--plot", "a.png")
    assert code == 0
    assert "a.png is not drawn" in err
    assert not (tmp_path / "a.png").exists()


def test_a_plot_shows_the_series_with_most_alarms_first_and_says_what_it_leaves_out(pulssi, tmp_path):
    lines = ["time,device,value"]
    for minute, device in itertools.product(range(4), range(9)):
        high = 99 if minute % 2 and (minute, device) in {(1, 7), (3, 7), (1, 3)} else 1
        lines.append(f"2026-03-01T00:0{minute}:00Z,dev-{device},{high}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    _, _, err = pulssi("threshold = { above = 50 }", "a.csv", "--plot", "a.svg")
    assert "a.svg shows 8 of 9 series: choose with --series" in err
    shown = re.findall(r'id="value-(dev-\d)', (tmp_path / "a.svg").read_text())
    assert shown == [f"dev-{device}" for device in (7, 3, 0, 1, 2, 4, 5, 6)]


def test_a_silence_is_shaded_on_every_series_of_its_device(pulssi, tmp_path):
    rows = "".join(f"2026-03-01T0{hour}:00:00Z,a,{word},,1\n" for hour in (0, 3) for word in ("no2", "o3"))
    (tmp_path / "a.csv").write_text("time,device,quantity,channel,value\n" + rows)
    code, out, _ = pulssi("no_data = { after_s = 3600 }", "a.csv", "--plot", "a.svg", "--json")
    told = json.loads(out)
    assert (code, told["firing"], told["alerts"][0]["series"], told["series"]) == (0, 1, "a", 2)
    assert told["alerts"][0]["expected"] == [None, 3600]
    assert len(re.findall(r'id="alarm-1-a/', (tmp_path / "a.svg").read_text())) == 2


def test_an_anomaly_tells_what_was_expected(pulssi, tmp_path):
    noise = np.random.default_rng(5).normal(20, 1, 310).round(2).tolist()
    (tmp_path / "a.csv").write_text(table(*noise, 95, 20, 20))
    told = json.loads(pulssi("anomaly", "a.csv", "--score", "0.999", "--json", "--plot", "a.svg")[1])
    (one,) = [one for one in told["alerts"] if one["value"] == 95]
    low, high = one["expected"]
    assert 10 < low < 20 < high < 30
    assert one["onset_time"] == "2026-03-01T05:10:00.000Z"
    assert "expected" in "".join(ET.fromstring((tmp_path / "a.svg").read_text()).itertext())  # noqa: S314  our own file


@pytest.mark.parametrize(
    ("bounds", "unit", "expected"),
    [
        ((None, None), "1", "\u2013"),
        ((None, 5.5), "1", "\u2264 5,5"),
        ((3, None), "1", "\u2265 3"),
        ((-1, 1000), "1", "\u22121 \u2026 1\u00a0000"),
        ((None, 900), "s", "\u2264 15\u00a0min"),
        ((40, 45.5), "ug/m3", "40\u00a0µg/m³ \u2026 45,5\u00a0µg/m³"),
    ],
)
def test_ranges_in_words(bounds, unit, expected):
    assert shown_range(bounds, unit, "fi") == expected
