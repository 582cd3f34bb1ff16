"""Collisions of the simulated city are found between the right stations, and its healthy days bring no alarm."""

import numpy as np
import pytest

from pulssi.frames import IndicatorKind, Indicators
from pulssi.geography import load_places
from pulssi.quantities import Kind
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.times import parse_iso_us
from simulators.city.city import City, CityOptions
from simulators.city.rhythm import local_hours
from simulators.city.traffic import TrafficStations
from streams.traffic.incident_watch import IncidentWatch

MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
MONDAY = parse_iso_us("2026-11-15T22:00:00Z")


def traffic_of(seed):
    return TrafficStations(seed, load_places().of_kind(Kind.TRAFFIC))


def minutes(traffic, devices, start, end):
    """One-minute windows of flow and speed of some stations, minute by minute."""
    times = np.arange(start // MINUTE_US, end // MINUTE_US) * MINUTE_US
    parts = []
    for device in devices:
        values = traffic.values(np.full(len(times), traffic.devices.index(device)), times + MINUTE_US // 2)
        for direction, of_direction in enumerate(values, start=1):
            for quantity in ("flow", "speed_mean"):
                rows = Indicators.empty(len(times))
                rows.series_id[:] = series_id(device, quantity, str(direction))
                rows.kind[:], rows.window_s[:], rows.window_start[:] = IndicatorKind.WINDOW, 60, times
                rows.mean[:] = of_direction[quantity]
                parts.append(rows)
    return Indicators.concat(parts)


def found(traffic, one, start, end):
    """Minutes in which `incident` stands in each direction, by the stations of a collision alone."""
    watch = IncidentWatch(0, 1, StreamsSettings(group_lateness_s_max=604_800), lambda _: None, None)
    rows, _ = watch.take(minutes(traffic, (one.pair.upstream, one.pair.downstream), start, end))
    standing = {}
    for series, at, value in zip(rows.series_id.tolist(), rows.window_start.tolist(), rows.value.tolist(), strict=True):
        if value == 1:
            standing.setdefault(series, []).append(at)
    ours = [series_id(one.pair.upstream, "incident", channel) for channel in ("1", "2")]
    return [standing.get(series, []) for series in ours]


def felt(traffic, first, last):
    """Collisions in the busy hours of these days, far from road works."""
    for one in traffic.collisions(first, last):
        works = traffic.road_works(one.start - DAY_US // 12, one.end + DAY_US // 12)
        hours, rest = local_hours(np.array([one.start, one.end]))
        near = {traffic.devices[work.station] for work in works}
        if 7 <= hours[0] < hours[1] <= 18 and not rest.any() and not near & {one.pair.upstream, one.pair.downstream}:
            yield one


@pytest.mark.parametrize("seed", [3, 7])
def test_a_collision_in_busy_hours_is_found_between_its_stations(seed):
    traffic = traffic_of(seed)
    one = next(felt(traffic, MONDAY + 4 * DAY_US, MONDAY + 12 * DAY_US))
    standing = found(traffic, one, MONDAY, one.end + 30 * MINUTE_US)
    mine = standing[one.pair.direction - 1]
    during = [at for at in mine if one.start <= at < one.end]
    assert during
    assert min(during) - one.start <= 12 * MINUTE_US
    assert len(mine) - len(during) <= 25  # its queue takes a while to go, and the evidence


def test_a_collision_is_told_as_truth():
    traffic = traffic_of(7)
    one = traffic.collisions(MONDAY, MONDAY + DAY_US)[1]
    city = City(CityOptions(seed=7, start=one.start + MINUTE_US, for_s=60))
    truths = {(truth.subject, truth.start_time): truth.detail for truth in city.truths() if truth.kind == "incident"}
    wanted = {"downstream": one.pair.downstream, "direction": one.pair.direction}
    assert truths[one.pair.upstream, one.start] == wanted


def test_only_one_direction_between_two_stations_is_touched():
    traffic = traffic_of(7)
    one = next(felt(traffic, MONDAY, MONDAY + 12 * DAY_US))
    during = one.start + 10 * MINUTE_US + np.arange(60) * MINUTE_US // 12
    up, down = (
        traffic.values(np.full(60, traffic.devices.index(device)), during)
        for device in (one.pair.upstream, one.pair.downstream)
    )
    mine, other = one.pair.direction - 1, 2 - one.pair.direction
    assert up[mine]["free_flow_share"].mean() < 50
    assert up[other]["free_flow_share"].mean() > 75
    assert down[mine]["free_flow_share"].mean() > 85
    assert down[mine]["flow_share"].max() <= 31
