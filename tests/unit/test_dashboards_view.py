"""Rows become stations with a state; two looks become what changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards import levels, view
from dashboards.schemas import Alert, AlertCounts, Counts, Gone, Health, Overview, Rates, Station, StationState, Vehicle
from dashboards.view import Snapshot
from pulssi.air_classes import FINNISH_LIMITS
from pulssi.quality import Quality
from storage.queries import LatestReading
from streams.air import finnish

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def row(device: str = "a", quantity: str = "pm2_5", **more: Any) -> LatestReading:
    age_s = more.pop("age_s", 5)
    values: dict[str, Any] = {
        "series_id": more.pop("series_id", hash((device, quantity, more.get("channel")))),
        "device_id": device,
        "quantity": quantity,
        "channel": None,
        "unit": "ug/m3",
        "kind": "air",
        "name": None,
        "lat": 60.2,
        "lon": 24.9,
        "district": "12",
        "event_time": NOW - timedelta(seconds=age_s),
        "receive_time": NOW - timedelta(seconds=age_s),
        "value": 5.0,
        "quality": 0,
    }
    return LatestReading(**{**values, **more})


def alert(device: str = "a", state: str = "firing", alert_id: str = "1") -> Alert:
    return Alert(
        alert_id=alert_id,
        state=state,
        severity="warning",
        rule="r",
        condition="threshold",
        series_id=1,
        device_id=device,
        quantity="pm2_5",
        kind="air",
        unit="ug/m3",
        name=None,
        lat=None,
        lon=None,
        district=None,
        value=1.0,
        threshold=1.0,
        onset_time=NOW,
        fired_time=NOW,
        resolved_time=None,
        sequence=1,
        texts={},
    )


def stations(rows: list[LatestReading], alerts: list[Alert] | None = None) -> dict[str, Station]:
    found = view.stations(rows, alerts or [], now=NOW, stale_s=900)
    return {station.device_id: station for station in found}


@pytest.mark.parametrize(
    ("age_s", "quality", "alert_state", "state"),
    [
        (5, 0, None, StationState.OK),
        (5, int(Quality.STUCK), None, StationState.FLAGGED),
        (901, 0, None, StationState.STALE),
        (901, int(Quality.STUCK), None, StationState.STALE),
        (900, 0, None, StationState.OK),
        (5, 0, "firing", StationState.ALERT),
        (5, 0, "acknowledged", StationState.ALERT),
        (901, int(Quality.RANGE), "firing", StationState.ALERT),
        (5, 0, "pending", StationState.OK),
        (5, 0, "resolved", StationState.OK),
    ],
)
def test_an_alert_is_shown_before_silence_and_silence_before_doubt(age_s, quality, alert_state, state):
    alerts = [alert(state=alert_state)] if alert_state else []
    assert stations([row(age_s=age_s, quality=quality)], alerts)["a"].state is state


def test_one_fresh_series_keeps_a_station_from_being_stale_and_old_flags_do_not_count():
    found = stations([row(age_s=5), row(quantity="no2", age_s=5_000, quality=int(Quality.STUCK), value=500)])
    assert found["a"].state is StationState.OK
    assert found["a"].level == 0, "an old value says nothing about now"


def test_the_most_telling_quantity_comes_first_and_vehicles_are_no_stations():
    found = stations(
        [
            row(quantity="temperature"),
            row(quantity="no2"),
            row(quantity="pm2_5", series_id=7),
            row("veh:0012:1", "delay", kind="transit"),
        ],
    )
    assert list(found) == ["a"]
    assert [value.quantity for value in found["a"].values] == ["pm2_5", "no2", "temperature"]
    assert found["a"].headline == 7


def test_the_value_that_gives_the_colour_stands_for_the_station():
    found = stations([row(value=5.0, series_id=1), row(quantity="no2", value=180, series_id=2)])["a"]
    assert (found.headline, found.level) == (2, 3)
    found = stations([row(value=5.0, series_id=1), row(quantity="no2", value=180, series_id=2, age_s=901)])["a"]
    assert (found.headline, found.level) == (1, 0), "an old value stands for nothing while there is a fresh one"


def test_a_road_is_known_by_its_speed_in_the_slower_direction():
    def both(quantity: str, first: float, second: float, series: int) -> list[LatestReading]:
        return [
            row(quantity=quantity, channel=channel, value=value, kind="traffic", series_id=series + int(channel))
            for channel, value in (("1", first), ("2", second))
        ]

    rows = [*both("speed_mean", 78, 21, 10), *both("free_flow_share", 97, 26, 20), *both("flow", 10, 20, 30)]
    found = stations(rows)["a"]
    assert (found.headline, found.level) == (12, 2)


def test_a_series_id_beyond_53_bits_survives_as_text():
    station = stations([row(series_id=-(2**63))])["a"]
    assert '"headline":"-9223372036854775808"' in station.model_dump_json()


@given(flags=st.integers(0, 2**13 - 1))
def test_flag_names_say_each_bit_once(flags):
    assert sum(Quality[name.upper()] for name in view.flag_names(flags)) == flags


# Finnish Meteorological Institute and HSY, class table of the air quality index: values on both sides of each bound.
@pytest.mark.parametrize(
    ("quantity", "value", "level"),
    [
        ("pm2_5", 9.9, 0),
        ("pm2_5", 10, 1),
        ("pm2_5", 24.9, 1),
        ("pm2_5", 25, 2),
        ("pm2_5", 75, 3),
        ("pm2_5", 75.1, 4),
        ("no2", 39.9, 0),
        ("no2", 70.1, 2),
        ("no2", 200.1, 4),
        ("o3", -3, 0),
        ("free_flow_share", 9.9, 4),
        ("free_flow_share", 10, 3),
        ("free_flow_share", 25, 2),
        ("free_flow_share", 75, 1),
        ("free_flow_share", 90, 0),
        ("free_flow_share", 130, 0),
        ("temperature", 10, None),
    ],
)
def test_levels_follow_the_published_bounds(quantity, value, level):
    assert levels.level_of(quantity, value) == level


def test_a_level_is_the_class_that_the_streams_give_an_hourly_mean():
    for quantity, limits in FINNISH_LIMITS.items():
        means = np.array([0.0, *limits, *(limit * 1.01 for limit in limits), *(limit * 0.99 for limit in limits)])
        expected = finnish.sub_class(quantity, means).tolist()
        assert [levels.level_of(quantity, mean) for mean in means.tolist()] == expected


@given(st.sampled_from(sorted(FINNISH_LIMITS)), st.floats(-10, 1e4), st.floats(0, 1e4))
def test_more_of_a_pollutant_is_never_better(quantity, value, more):
    assert levels.level_of(quantity, value) <= levels.level_of(quantity, value + more)


def overview(readings: int = 0) -> Overview:
    health = Health(status="ok", reasons=(), time=NOW, database=True, data_age_s=1, sink_lag_records=0)
    return Overview(
        time=NOW,
        health=health,
        tier=None,
        rates=Rates(),
        counts=Counts(readings=readings),
        alerts_open=AlertCounts(),
        dead_letters={},
        latencies={},
    )


def vehicle(key: str, lat: float) -> Vehicle:
    return Vehicle(
        vehicle=key,
        mode="bus",
        route=None,
        direction=None,
        line=None,
        headsign=None,
        lat=lat,
        lon=25,
        heading=None,
        speed=None,
        delay_s=None,
        device_id=f"veh:{key}",
        event_time=NOW,
    )


looks = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3))


@given(before=looks, after=looks)
def test_what_a_client_knew_and_what_changed_make_what_is(before, after):
    def snapshot(look: dict[str, int]) -> Snapshot:
        return Snapshot(overview(), vehicles={key: vehicle(key, lat) for key, lat in look.items()})

    then, now = snapshot(before), snapshot(after)
    tick = now.since(then)
    known = dict(then.vehicles)
    known.update({one.vehicle: one for one in tick.vehicles})
    for key in tick.gone.vehicles:
        del known[key]
    assert known == now.vehicles
    assert all(then.vehicles.get(one.vehicle) != one for one in tick.vehicles), "only what changed is told"


def test_nothing_new_is_a_tick_with_just_the_overview():
    look = Snapshot(overview(), alerts={"1": alert()}, stations=stations([row()]))
    tick = look.since(look)
    assert (tick.stations, tick.vehicles, tick.alerts, tick.gone) == ((), (), (), Gone())
