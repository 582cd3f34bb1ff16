"""A backtest against an obvious oracle, and that working on frames together hides nothing."""

import csv
import gzip
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.rules import Rule, Scope, load_rules
from pulssi.commands.backtest import core, recorded
from pulssi.commands.backtest.trace import Trace
from pulssi.frames import IndicatorKind
from pulssi.settings import Settings
from simulators.recordings.base import DATA
from streams.catalogue import Catalogue
from streams.season import Calendar
from tests.fixtures.air import info
from tests.fixtures.backtest import T0, S, by_series, fire, frame
from tests.property.backtest_oracle import steps

TESTS = Path(__file__).parents[1]
BEIJING = TESTS / "data/beijing_aotizhongxin/2016-11_2016-12.csv.gz"
LATENCY = TESTS / "data/nab/data/realKnownCause/ec2_request_latency_system_failure.csv.gz"


def threshold(**given_) -> Rule:
    return Rule.model_validate({"id": "r", "severity": "warning", "threshold": given_})


@st.composite
def series(draw):
    """Rows in order of arrival, a few of them late or twice, in frames of any size."""
    gaps = draw(st.lists(st.sampled_from([1, 7, 30, 60, 61, 300]), min_size=1, max_size=40))
    values = draw(st.lists(st.sampled_from([10, 39, 40, 41, 49, 50, 51, 90]), min_size=len(gaps), max_size=len(gaps)))
    rows = list(zip(np.cumsum(gaps).tolist(), values, strict=True))
    for at in draw(st.lists(st.integers(0, len(rows) - 1), max_size=4)):
        rows.insert(min(at + draw(st.integers(1, 3)), len(rows)), rows[at])
    cuts = sorted(draw(st.sets(st.integers(1, len(rows)), max_size=5)) | {len(rows)})
    return rows, [rows[a:b] for a, b in zip([0, *cuts], cuts, strict=False) if a < b]


@settings(max_examples=80)
@given(series(), st.sampled_from([0, 30, 60, 120]), st.sampled_from([0, 60, 90]), st.sampled_from([50, 40, 39]))
def test_a_threshold_with_hold_time_and_clear_level(made, for_s, clear_for_s, clear):
    rows, parts = made
    rule = threshold(above=50, clear=clear, for_s=for_s, clear_for_s=clear_for_s)
    outcome = fire([frame(part, info("dev-1", "pm2_5")) for part in parts], rule)
    found = [(str(one.state), (one.event_time - T0) // S) for one in outcome.transitions]
    assert found == steps(rows, 50, clear, for_s, clear_for_s)


DEVICES = tuple(info(f"dev-{number}", "pm2_5") for number in range(3))


@st.composite
def traffic(draw):
    """(device, event, receipt, value) in order of receipt: prompt, late, silent for a while, or with a backlog."""
    clock, found = 0, []
    for _ in range(draw(st.integers(5, 60))):
        clock += draw(st.sampled_from([1, 20, 40, 60, 200]))
        device = draw(st.sampled_from(range(len(DEVICES))))
        behind = draw(st.sampled_from([0, 0, 0, 5, 45, 90, 130, 400]))
        found.append((device, max(clock - behind, 0), clock, draw(st.sampled_from([10, 40, 60, 100]))))
    return found


WINDOWS = (
    threshold(on="window", window_s=60, above=50, clear=30),
    threshold(on="window", window_s=300, above=50, clear=45, for_s=60).model_copy(update={"id": "long"}),
)


def one_by_one(monkeypatch):
    """Each frame by itself, and all windows, as a living system would have it at the slowest."""
    monkeypatch.setattr(core, "lean", lambda settings_, _rules: settings_)
    monkeypatch.setattr(core.Batching, "of", classmethod(lambda cls, _rules, _settings: cls(0, 0, None)))


SINGLE = (
    threshold(above=50, clear=40, for_s=60, without=("gap", "step", "spike")),
    Rule.model_validate({"id": "odd", "severity": "info", "anomaly": {"score": 0.5, "clear_for_s": 0}}),
    Rule.model_validate({"id": "silent", "severity": "info", "no_data": {"after_s": 100}}),
)


@settings(max_examples=60)
@given(traffic(), st.integers(0, 1000), st.sampled_from([WINDOWS, SINGLE, SINGLE[:2]]))
def test_frames_that_are_worked_on_together_hide_no_revision(rows, more_s, rules):
    frames = [frame([(at, value, received)], DEVICES[device]) for device, at, received, value in rows]
    with pytest.MonkeyPatch.context() as patch:
        together = fire(frames, *rules, infos=DEVICES, end=T0 + more_s * S)
        one_by_one(patch)
        alone = fire(frames, *rules, infos=DEVICES, end=T0 + more_s * S)
    first, second = by_series(together, alone)
    assert first == second


# Recordings


def recorded_outcome(name, *rules, only=None, **more):
    found, told = Catalogue(), Settings()
    records = recorded.load([str(name)], None, "value")[:only]
    frames = recorded.frames(records, told, found, Counter(), structlog.get_logger())
    return core.backtest(frames, rules, told, found, **more)


def found_steps(outcome):
    found = defaultdict(list)
    for one in outcome.transitions:
        found[one.device_id].append((str(one.state), one.event_time // S))
    return found


def scoped(quantity, **given_) -> Rule:
    return threshold(**given_).model_copy(update={"scope": Scope(quantity=(quantity,))})


def second(moment, hours_east):
    return int(moment.replace(tzinfo=timezone(timedelta(hours=hours_east))).timestamp())


def test_two_months_of_a_station_as_the_raw_file_says():
    rows = []
    with gzip.open(BEIJING, "rt") as lines:
        for row in csv.DictReader(lines):
            hour = datetime(*(int(row[name]) for name in ("year", "month", "day", "hour")))  # noqa: DTZ001  below
            rows += [(second(hour, 8), float(row["NO2"]))] if row["NO2"] != "NA" else []
    expected = steps(rows, 120, 100, 7200, 3600)
    assert len(expected) > 20
    rule = scoped("no2", above=120, clear=100, for_s=7200, clear_for_s=3600)
    assert found_steps(recorded_outcome(BEIJING, rule)) == {"beijing-2016-11_2016-12": expected}


def test_three_sensors_as_the_raw_files_say():
    minutes, expected = 3000, {}
    for sensor in ("RT01", "RT02", "RT03"):
        file = DATA / "epa_sensortoolkit" / f"toco_toucan_{sensor}_raw.csv.gz"
        with gzip.open(file, "rt", encoding="utf-8-sig") as lines:
            raw = [row for row in list(csv.reader(lines))[7 : 7 + minutes] if row[3]]
        times = [datetime.strptime(row[0], "%m/%d/%Y %H:%M") for row in raw]  # noqa: DTZ007  made aware by `second`
        rows = [(second(time, -5), float(row[3])) for time, row in zip(times, raw, strict=True)]
        expected[f"epa-{sensor}"] = steps(rows, 14, 10, 600, 300)
    assert sum(map(len, expected.values())) > 20
    rule = scoped("pm2_5", above=14, clear=10, for_s=600, clear_for_s=300)
    assert found_steps(recorded_outcome("epa", rule, only=3 * minutes)) == expected


def test_the_shipped_rules_say_the_same_of_a_recording_whatever_is_worked_on_together(monkeypatch):
    rules = [rule for rule in load_rules() if rule.source]
    single = [rule for rule in rules if rule.source.kind == IndicatorKind.READING]
    together, of_readings = (recorded_outcome(BEIJING, *some, only=150) for some in (rules, single))
    one_by_one(monkeypatch)
    alone = recorded_outcome(BEIJING, *rules, only=150)
    first, second = by_series(together, alone)
    assert first == second
    assert len(first) > 10
    alone.transitions = [one for one in alone.transitions if one.rule in {rule.id for rule in single}]
    first, second = by_series(of_readings, alone)
    assert first == second
    assert len(first) > 4


def test_what_was_expected_is_what_the_detector_of_the_streams_expected():
    detector = Rule.model_validate({"id": "anomaly", "severity": "info", "anomaly": {"score": 0.99}})
    scores, wanted = {}, []

    def seen(rows):
        trace.see(rows)
        reading = rows.kind == IndicatorKind.READING
        wanted.extend(set(rows.series_id.tolist()))
        scores.update(zip(rows.window_start[reading].tolist(), rows.last[reading].tolist(), strict=True))

    trace = Trace(detector, lambda _series: True, calendar=Calendar("Europe/Helsinki", "FI"))
    recorded_outcome(LATENCY, detector, only=1500, seen=seen)
    expected = trace.expected(wanted[:1])[wanted[0]]
    assert dict(zip(expected.time.tolist(), expected.score.tolist(), strict=True)) == scores
    assert (expected.low <= expected.high).all()
    assert expected.at(int(expected.time[7])) == (expected.low[7], expected.high[7])
    assert expected.at(int(expected.time[7]) + 1) is None
    assert expected.at(int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * S) is None
