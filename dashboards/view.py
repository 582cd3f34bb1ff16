"""view: rows of the database become stations with a state, and two looks become what changed between them

Pure: no client library, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import TypeVar

from dashboards.levels import level_of
from dashboards.schemas import Alert, Gone, Model, Overview, Station, StationState, Sync, Tick, Value, Vehicle
from pulssi.quality import Quality
from pulssi.quantities import Kind
from storage.queries import LatestReading

Rates = tuple[float, float | None, float | None]
_Keyed = TypeVar("_Keyed", bound=Model)

_TELLING = {
    name: rank
    for rank, name in enumerate(
        (
            *("pm2_5", "pm10", "no2", "o3", "so2", "black_carbon", "trs", "co", "no", "nox", "pm1", "co2"),
            *("speed_mean", "free_flow_share", "flow", "flow_share"),
            *("road_temperature", "temperature", "humidity", "wind_speed", "rain_rate", "sound_level"),
        ),
    )
}
"""The order in which values are told."""

OPEN = frozenset({"firing", "acknowledged"})
"""States of an alert that an operator has to see."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the live page shows, at one moment, by key."""

    overview: Overview
    stations: dict[str, Station] = field(default_factory=dict)
    vehicles: dict[str, Vehicle] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)

    def sync(self, history: Iterable[Rates]) -> Sync:
        """All of it, for a client that knows nothing."""
        return Sync(
            overview=self.overview,
            stations=tuple(self.stations.values()),
            vehicles=tuple(self.vehicles.values()),
            alerts=tuple(self.alerts.values()),
            history=tuple(history),
        )

    def since(self, before: Snapshot) -> Tick:
        """What a client that knows `before` has to be told."""
        return Tick(
            overview=self.overview,
            stations=_changed(before.stations, self.stations),
            vehicles=_changed(before.vehicles, self.vehicles),
            alerts=_changed(before.alerts, self.alerts),
            gone=Gone(
                stations=_gone(before.stations, self.stations),
                vehicles=_gone(before.vehicles, self.vehicles),
                alerts=_gone(before.alerts, self.alerts),
            ),
        )


def _changed(before: Mapping[str, _Keyed], now: Mapping[str, _Keyed]) -> tuple[_Keyed, ...]:
    return tuple(item for key, item in now.items() if before.get(key) != item)


def _gone(before: Mapping[str, _Keyed], now: Mapping[str, _Keyed]) -> tuple[str, ...]:
    return tuple(key for key in before if key not in now)


def stations(rows: Iterable[LatestReading], alerts: Iterable[Alert], *, now: datetime, stale_s: float) -> list[Station]:
    """Stations from the newest reading of each series.

    Args:
        rows: newest readings in any order; series of vehicles and routes are left out.
        alerts: the open ones.
        now: the time of the look.
        stale_s: a station is stale when nothing has come from it for so long.
    """
    open_alerts: dict[str, list[str]] = {}
    for alert in alerts:
        if alert.state in OPEN:
            open_alerts.setdefault(alert.device_id, []).append(alert.alert_id)
    of_places = sorted((row for row in rows if row.kind != Kind.TRANSIT), key=_device)
    fresh_after = now - timedelta(seconds=stale_s)
    return [
        _station(device, list(group), tuple(sorted(open_alerts.get(device, ()))), fresh_after)
        for device, group in groupby(of_places, key=_device)
    ]


def _device(row: LatestReading) -> str:
    return row.device_id


def _station(device_id: str, rows: Sequence[LatestReading], alerts: tuple[str, ...], fresh_after: datetime) -> Station:
    rows = sorted(rows, key=_rank)
    values = tuple(_value(row) for row in rows)
    heard = max(value.receive_time for value in values)
    fresh = [value for value in values if value.receive_time >= fresh_after]
    levels = [value.level for value in fresh if value.level is not None]
    if alerts:
        state = StationState.ALERT
    elif heard < fresh_after:
        state = StationState.STALE
    elif any(value.flags for value in fresh):
        state = StationState.FLAGGED
    else:
        state = StationState.OK
    first = rows[0]
    return Station(
        device_id=device_id,
        kind=first.kind,
        name=first.name,
        lat=first.lat,
        lon=first.lon,
        district=first.district,
        state=state,
        level=max(levels, default=None),
        headline=_headline(fresh or values).series_id,
        heard_time=heard,
        alerts=alerts,
        values=values,
    )


def _headline(values: Sequence[Value]) -> Value:
    """The value that stands for a station: the one that gives its level, as a speed where that is a share of speed."""
    worst = max(values, key=lambda value: -1 if value.level is None else value.level)
    if worst.quantity != "free_flow_share":
        return worst
    speeds = (value for value in values if value.quantity == "speed_mean" and value.channel == worst.channel)
    return next(speeds, worst)


def _rank(row: LatestReading) -> tuple[int, str, str]:
    return _TELLING.get(row.quantity, len(_TELLING)), row.quantity, row.channel or ""


def _value(row: LatestReading) -> Value:
    return Value(
        series_id=row.series_id,
        quantity=row.quantity,
        channel=row.channel,
        unit=row.unit,
        value=row.value,
        level=level_of(row.quantity, row.value),
        flags=flag_names(row.quality),
        event_time=row.event_time,
        receive_time=row.receive_time,
    )


def flag_names(flags: int) -> tuple[str, ...]:
    """Names of the quality bits that are set, in lower case."""
    return tuple(str(flag.name).lower() for flag in Quality if flag and flags & flag)
