from __future__ import annotations

import msgspec
import numpy as np
import pytest

from alerts.board import Board, Limits
from alerts.lifecycle import alert_id
from alerts.processor import AlertsProcessor
from alerts.rules import Rule, load_rules
from pulssi.errors import PoisonError
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import AlertState, AlertTransition, SeriesInfo
from pulssi.partitions import Output, Record
from pulssi.quality import Quality
from pulssi.series import series_id
from pulssi.topics import Topics

S = 1_000_000
T0 = 1_790_000_000 * S
TOPICS = Topics()


def info(device: str = "fmi-1", quantity: str = "pm2_5", **more) -> SeriesInfo:
    given = {"unit": "ug/m3", "kind": "air", "name": device.upper()} | more
    return SeriesInfo(
        series_id=series_id(device, quantity, given.get("channel")), device_id=device, quantity=quantity, **given
    )


def rule(**given) -> Rule:
    return Rule.model_validate({"id": "r", "severity": "warning"} | given)


HIGH = rule(threshold={"above": 50, "clear": 40, "for_s": 60, "clear_for_s": 60})
FAST = rule(id="fast", threshold={"above": 50})
SILENT = rule(id="silent", no_data={"after_s": 60})
HOURLY = rule(id="hourly", threshold={"on": "window", "window_s": 3600, "above": 180, "completeness_min": 0.75})


class Bench:
    """One processor, fed row by row."""

    def __init__(self, *rules: Rule, infos=None, limits: Limits | None = None, snapshot: bytes | None = None):
        self.infos = {one.series_id: one for one in (infos if infos is not None else [info()])}
        self.core = AlertsProcessor(rules, 2, self.infos.get, TOPICS, lambda: 42, limits, snapshot)
        self.offset = 0

    def feed(self, *frames: Indicators, kinds: bytes = b"reading") -> list[AlertTransition]:
        records = []
        for frame in frames:
            records.append(Record(self.offset, None, frame.encode(), {"kinds": kinds}))
            self.offset += 1
        return said(self.core.process(records))

    def read(self, at_s: int, value: float, one: SeriesInfo | None = None, **more) -> list[AlertTransition]:
        return self.feed(reading(at_s, value, one or info(), **more))

    def window(self, end_s: int, value: float, one: SeriesInfo | None = None, **more) -> list[AlertTransition]:
        columns = {"window_s": 3600, "window_start": T0 + (end_s - 3600) * S, "completeness": 1.0, "n": 60} | more
        return self.feed(row(one or info(), value, IndicatorKind.WINDOW, columns), kinds=b"window")


def reading(at_s: int, value: float, one: SeriesInfo, received_s: int | None = None, **more) -> Indicators:
    received = at_s if received_s is None else received_s
    columns = {"window_start": T0 + at_s * S, "receive_time": T0 + received * S} | more
    return row(one, value, IndicatorKind.READING, columns)


def row(one: SeriesInfo, value: float, kind: IndicatorKind, columns: dict[str, float]) -> Indicators:
    rows = Indicators.empty(1)
    for name, given in ({"series_id": one.series_id, "kind": kind, "value": value} | columns).items():
        getattr(rows, name)[0] = given
    return rows


def said(outputs: list[Output]) -> list[AlertTransition]:
    return [msgspec.json.decode(one.value, type=AlertTransition) for one in outputs if one.topic == TOPICS.alerts]


def words(transitions: list[AlertTransition]) -> list[str]:
    return [f"{one.state.value} {(one.event_time - T0) // S}" for one in transitions]


def test_an_alert_goes_from_pending_to_firing_to_resolved():
    bench = Bench(HIGH)
    assert words(bench.read(0, 30)) == []
    assert words(bench.read(10, 51)) == ["pending 10"]
    assert words(bench.read(40, 55)) == []
    assert words(bench.read(70, 52)) == ["firing 70"]
    assert words(bench.read(80, 45)) == []  # between the levels
    assert words(bench.read(90, 40)) == []
    assert words(bench.read(120, 41)) == []  # beyond the clear level again: the clear time begins anew
    assert words(bench.read(130, 39)) == []
    assert words(bench.read(190, 39)) == ["resolved 190"]


def test_a_transition_carries_what_a_person_needs():
    bench = Bench(FAST, infos=[info(district="11", lat=60.2, lon=24.9)])
    (one,) = bench.read(5, 63.2, received_s=6)
    assert one.alert_id == alert_id("fast", str(info().series_id), T0 + 5 * S)
    assert (one.sequence, one.state, one.condition, one.severity) == (0, "firing", "threshold", "warning")
    assert (one.value, one.threshold, one.unit) == (63.2, 50.0, "ug/m3")
    assert (one.name, one.district, one.lat, one.lon) == ("FMI-1", "11", 60.2, 24.9)
    assert (one.onset_time, one.receive_time, one.decided_time) == (T0 + 5 * S, T0 + 6 * S, 42)
    assert one.rule_version == FAST.version
    assert "63.2" in one.texts["en"]


@pytest.mark.parametrize("step_s", [30, 45])
def test_states_of_vehicles_are_heard_whatever_the_length_of_their_steps(step_s):
    shipped = next(one for one in load_rules() if one.id == "vehicle-vanished")
    bus = info("veh:0012:01913", "vanished", kind="transit", unit="1")
    bench = Bench(shipped, infos=[bus])

    def step(start_s, value):
        columns = {"window_s": step_s, "window_start": T0 + start_s * S}
        return words(bench.feed(row(bus, value, IndicatorKind.VEHICLE, columns), kinds=b"window"))

    assert step(0, 1.0) == [f"firing {step_s}"]
    assert step(step_s, 1.0) == []
    assert step(2 * step_s, 0.0) == [f"resolved {3 * step_s}"]


def test_an_alert_goes_to_the_partition_of_its_indicators_under_its_id():
    bench = Bench(FAST)
    (output,) = bench.core.process([Record(0, None, reading(0, 99, info()).encode(), {})])
    (one,) = said([output])
    assert (output.topic, output.partition, output.key) == ("pulssi.alerts", 2, one.alert_id.encode())
    assert ("content", b"alert") in output.headers


def test_a_pending_alert_that_comes_back_ends_without_having_fired():
    bench = Bench(HIGH)
    (begun,) = bench.read(0, 51)
    (over,) = bench.read(30, 50)
    assert (over.state, over.sequence, over.alert_id) == ("resolved", 1, begun.alert_id)
    assert over.evidence["fired"] == 0
    assert words(bench.read(70, 60)) == ["pending 70"]


@pytest.mark.parametrize("flag", [Quality.RANGE, Quality.STUCK, Quality.CLOCK, Quality.LATE, Quality.DUPLICATE])
def test_an_excluded_reading_fires_nothing_and_moves_nothing(flag):
    bench = Bench(FAST)
    assert bench.read(100, 999, flags=int(flag)) == []
    assert words(bench.read(50, 60)) == ["firing 50"]


def test_a_rule_may_distrust_more_flags():
    careful = rule(threshold={"above": 50, "without": ["step", "spike"]})
    bench = Bench(careful)
    assert bench.read(0, 999, flags=int(Quality.SPIKE)) == bench.read(1, 999, flags=int(Quality.RANGE)) == []
    assert words(bench.read(2, 99, flags=int(Quality.GAP))) == ["firing 2"]


def test_a_flag_that_does_not_exclude_is_evidence():
    (one,) = Bench(FAST).read(0, 99, flags=int(Quality.STEP))
    assert one.evidence["quality"] == Quality.STEP


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_passed_over(value):
    bench = Bench(FAST)
    assert bench.read(0, value) == []
    assert words(bench.read(1, 60)) == ["firing 1"]
    assert bench.read(2, value) == []


def test_replayed_and_late_rows_change_nothing():
    bench = Bench(FAST)
    bench.read(10, 60)
    assert bench.read(10, 60) == bench.read(5, 10) == []
    assert words(bench.read(20, 10)) == ["resolved 20"]
    assert bench.read(10, 60) == bench.read(15, 60) == bench.read(20, 10) == []


def test_an_alert_below_a_level_is_the_mirror():
    slow = rule(threshold={"below": 25, "clear": 40})
    bench = Bench(slow)
    assert words(bench.read(0, 25)) == []
    (one,) = bench.read(1, 24.9)
    assert (one.state, one.threshold) == ("firing", 25.0)
    assert "below the limit" in one.texts["en"]
    assert words(bench.read(2, 39)) == []
    assert words(bench.read(3, 40)) == ["resolved 3"]


def test_windows_are_judged_by_their_own_column_and_length():
    bench = Bench(HOURLY)
    assert bench.window(3600, 200, window_s=300) == []
    assert bench.window(3600, 200, completeness=0.7) == []
    assert bench.window(3600, 180) == []
    (one,) = bench.window(3660, 181)
    assert (one.state, one.event_time) == ("firing", T0 + 3660 * S)
    assert (one.evidence["window_s"], one.evidence["revision"], one.evidence["n"]) == (3600, 0, 60)


def test_a_new_revision_of_the_newest_window_is_judged_and_the_same_one_is_not():
    bench = Bench(HOURLY)
    assert bench.window(3600, 170) == []
    assert bench.window(3600, 190) == []
    assert words(bench.window(3600, 190, revision=1)) == ["firing 3600"]
    assert bench.window(3600, 170, revision=1) == []
    assert words(bench.window(3600, 170, revision=2)) == ["resolved 3600"]
    assert bench.window(3540, 190, revision=9) == []  # an older window is history


def test_a_provisional_window_is_older_than_the_real_one_and_newer_than_one_of_fewer_readings():
    bench = Bench(HOURLY)
    assert words(bench.window(3600, 190, revision=-(1 << 28) + 60)) == ["firing 3600"]
    assert bench.window(3600, 170, revision=-(1 << 28) + 60) == []
    assert words(bench.window(3600, 170, revision=-(1 << 28) + 61)) == ["resolved 3600"]
    assert words(bench.window(3600, 190, revision=0)) == ["firing 3600"]
    assert bench.window(3600, 170, revision=-(1 << 28) + 62) == []
    assert words(bench.window(3660, 170, revision=-(1 << 28) + 1)) == ["resolved 3660"]


def test_windows_are_not_decoded_when_no_rule_asks_for_them():
    bench = Bench(FAST)
    assert bench.core.process([Record(0, None, b"not even a frame", {"kinds": b"window"})]) == []


def test_an_anomaly_goes_by_the_score_and_rests_after_its_end():
    odd = rule(anomaly={"score": 0.9, "clear_for_s": 0, "refractory_s": 100})
    bench = Bench(odd)
    assert bench.read(0, 5, last=0.89) == bench.read(1, 5, last=np.nan) == []
    (one,) = bench.read(2, 7, last=0.9)
    assert (one.state, one.condition, one.value, one.threshold) == ("firing", "anomaly", 7.0, None)
    assert (one.evidence["score"], one.evidence["score_limit"]) == (0.9, 0.9)
    assert words(bench.read(3, 5, last=0.1)) == ["resolved 3"]
    assert bench.read(102, 5, last=1.0) == []
    assert words(bench.read(103, 5, last=1.0)) == ["firing 103"]


def test_an_anomaly_is_told_only_once_it_has_lasted():
    odd = rule(anomaly={"score": 0.9, "for_s": 60, "clear_for_s": 0})
    bench = Bench(odd)
    assert bench.read(0, 5, last=0.95) == bench.read(30, 5, last=0.1) == bench.read(40, 5, last=0.95) == []
    (one,) = bench.read(100, 5, last=0.95)
    assert (one.state, one.sequence, one.onset_time) == ("firing", 0, T0 + 40 * S)
    (over,) = bench.read(110, 5, last=0.1)
    assert (over.state, over.sequence) == ("resolved", 1)


def test_silence_is_seen_by_the_clock_of_the_partition():
    other = info("fmi-2")
    bench = Bench(SILENT, infos=[info(), other])
    bench.read(0, 1)
    assert bench.read(59, 1, other) == []
    (one,) = bench.read(61, 1, other)
    assert (one.state, one.device_id, one.onset_time, one.event_time) == ("firing", "fmi-1", T0, T0 + 60 * S)
    assert bench.read(70, 1, other) == []
    (over,) = bench.read(80, 1)
    assert (over.state, over.sequence, over.alert_id, over.value) == ("resolved", 1, one.alert_id, 80.0)


def test_a_gap_that_nobody_saw_is_told_when_it_ends():
    bench = Bench(SILENT)
    bench.read(0, 1)
    assert words(bench.read(200, 1)) == ["firing 60", "resolved 200"]


def test_silence_is_about_the_device_and_not_about_one_of_its_series():
    bench = Bench(SILENT, infos=[info(), info(quantity="no2"), info("fmi-2")])
    bench.read(0, 1)
    bench.read(50, 1, info(quantity="no2"))
    assert bench.read(100, 1, info("fmi-2")) == []
    (one,) = bench.read(111, 1, info("fmi-2"))
    assert (one.device_id, one.quantity) == ("fmi-1", "")


def test_a_replayed_reading_does_not_end_a_silence():
    bench = Bench(SILENT, infos=[info(), info("fmi-2")])
    bench.read(0, 1)
    assert len(bench.read(100, 1, info("fmi-2"))) == 1
    assert bench.read(0, 1) == []
    assert words(bench.read(101, 1)) == ["resolved 101"]


def test_the_wall_clock_counts_only_when_the_whole_partition_is_quiet():
    bench = Bench(SILENT)
    bench.read(0, 1)
    later = T0 + 1000 * S
    assert bench.core.tick(later) == bench.core.tick(later + 59 * S) == []
    (one,) = said(bench.core.tick(later + 60 * S))
    assert (one.state, one.onset_time, one.event_time) == ("firing", T0, T0 + 60 * S)
    assert bench.core.tick(later + 61 * S) == []
    assert words(bench.read(30, 1)) == ["resolved 60"]  # our own outage: the reading had come in time
    assert bench.core.tick(later + 62 * S) == []


def test_rows_wait_until_their_series_is_described():
    bench = Bench(FAST, infos=[])
    assert bench.read(0, 60) == []
    assert bench.core.tick(0) == []
    bench.infos[info().series_id] = info()
    assert words(bench.read(1, 10)) == ["firing 0", "resolved 1"]


def test_a_described_series_is_judged_at_the_next_tick():
    bench = Bench(FAST, infos=[])
    bench.read(0, 60)
    bench.infos[info().series_id] = info()
    assert words(said(bench.core.tick(0))) == ["firing 0"]


def test_waiting_rows_are_bounded_and_counted():
    bench = Bench(FAST, infos=[], limits=Limits(waiting_rows_max=3))
    for at in range(5):
        bench.read(at, 60 + at)
    assert len(bench.core.board.waiting) == 3
    assert bench.core.board.refused == {"waiting_rows": 2}
    bench.infos[info().series_id] = info()
    (one,) = said(bench.core.tick(0))
    assert one.value == 62


def test_series_are_bounded():
    bench = Bench(FAST, infos=[info("a"), info("b")], limits=Limits(series_max=1))
    bench.read(0, 1, info("a"))
    assert bench.read(0, 99, info("b")) == []
    assert bench.core.board.refused == {"series": 1}
    assert len(bench.core.board.waiting) == 0


def test_open_alerts_are_bounded():
    many = [info(f"d{i}") for i in range(4)]
    bench = Bench(FAST, infos=many, limits=Limits(open_max=2))
    assert len(bench.feed(*(reading(0, 99, one) for one in many))) == 2
    assert bench.core.board.refused == {"open_alerts": 2}
    bench.read(1, 1, many[0])
    assert words(bench.read(1, 99, many[3])) == ["firing 1"]


def test_a_bad_frame_becomes_a_dead_letter_and_the_others_count():
    bench = Bench(FAST)
    good = Record(1, None, reading(0, 99, info()).encode(), {"kinds": b"reading"})
    letter, alert = bench.core.process([Record(0, None, b"\x00garbage", {"kinds": b"reading"}), good])
    assert alert.topic == TOPICS.alerts
    assert (letter.topic, letter.value, letter.key) == ("pulssi.deadletters", b"\x00garbage", b"")
    told = dict(letter.headers)
    assert (told["reason"], told["source"], told["topic"]) == (b"bad_frame", b"kafka", b"pulssi.indicators")
    assert (told["partition"], told["offset"]) == (b"2", b"0")


def test_an_unreadable_snapshot_is_told():
    with pytest.raises(PoisonError):
        Bench(FAST, snapshot=b"\xff")


def test_open_alerts_survive_a_restart():
    bench = Bench(HIGH, SILENT)
    bench.read(0, 60)
    again = Bench(HIGH, SILENT, snapshot=bench.core.snapshot())
    assert words(again.read(59, 60)) == []
    assert words(again.read(60, 60)) == ["firing 60"]


@pytest.mark.parametrize(
    "today",
    [
        (),
        (rule(threshold={"above": 50, "on": "window", "window_s": 60}),),
        (rule(scope={"kind": ["noise"]}, threshold={"above": 50}),),
    ],
)
def test_an_alert_whose_rule_is_gone_ends(today):
    bench = Bench(rule(threshold={"above": 50}), SILENT, infos=[info(), info("b")])
    (one,) = bench.read(0, 99)
    bench.read(0, 1, info("b"))
    bench.read(100, 99)
    again = Bench(*today, infos=[info(), info("b")], snapshot=bench.core.snapshot())
    once_more = Bench(*today, infos=[info(), info("b")], snapshot=again.core.snapshot())
    for restarted in (again, once_more):
        ended = said(restarted.core.tick(0))
        assert sorted(end.rule for end in ended) == ["r", "silent"]
        assert {end.state for end in ended} == {AlertState.RESOLVED}
        assert [(end.alert_id, end.sequence) for end in ended if end.rule == "r"] == [(one.alert_id, 1)]
        assert "withdrawn" in ended[0].texts["en"]
        assert restarted.core.tick(1) == []


def test_an_alert_goes_on_under_a_changed_rule():
    bench = Bench(FAST)
    bench.read(0, 60)
    stricter = rule(id="fast", threshold={"above": 50, "clear": 20})
    again = Bench(stricter, snapshot=bench.core.snapshot())
    assert again.read(1, 30) == []
    (over,) = again.read(2, 20)
    assert (over.state, over.rule_version, over.sequence) == ("resolved", stricter.version, 1)


def test_the_shipped_rules_judge_a_city():
    infos = [
        info(),
        info("tms-1", "free_flow_share", unit="%", kind="traffic", channel="1"),
        info("tms-1", "free_flow_share", unit="%", kind="traffic", channel="1-5min"),
        info("route:4400:1", "delay", unit="s", kind="transit"),
    ]
    bench = Bench(*load_rules(), infos=infos)
    assert [one.rule for one in bench.read(0, 120)] == ["pm2_5-now"]
    assert [one.rule for one in bench.read(0, 5, infos[1])] == ["traffic-queuing", "traffic-stationary"]
    assert bench.read(0, 5, infos[2]) == []
    late = row(infos[3], 900, IndicatorKind.DELAY, {"window_s": 900, "window_start": T0})
    assert [one.rule for one in bench.feed(late, kinds=b"window")] == ["route-delay"]


def test_nothing_is_asked_of_a_board_without_rules():
    board = Board((), {info().series_id: info()}.get)
    assert board.see(reading(0, 99, info()), 0) == []
