"""Faults that the simulated city plants: every stuck, spiking and drifting value is flagged, and the others are not.

Stuck and spike are found in the stream of each series by the processor; drift by comparing stations, as there is no
reference instrument in the city.
"""

import numpy as np
import pytest

from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.geography import load_places
from pulssi.partitions import Record
from pulssi.quality import Quality
from pulssi.quantities import QUANTITIES, Kind
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.times import parse_iso_us
from pulssi.topics import Topics
from simulators.city.air import AirStations
from simulators.city.faults import STRETCH_S, FaultKind, Faults, Places, plan
from simulators.city.sample import Sample
from streams.air.neighbour_rows import FLOORS
from streams.catalogue import Limits
from streams.quality.neighbours import disagreement, neighbours_within
from streams.readings_processor import ReadingsProcessor
from streams.sensors import Sensors
from tests.fixtures.air import info
from tests.fixtures.two_stages import TwoStages

S = 1_000_000
START = parse_iso_us("2026-11-23T06:00:00Z")
STRETCHES = 4
INTERVAL_S = 2
NAMES = ("pm2_5", "pm10", "no2", "o3")


@pytest.fixture(scope="module", params=[7, 8, 9])
def day(request):
    """Values [stations, times] of each quantity, and what was planted; the first and last stretch are free."""
    places = load_places().of_kind(Kind.AIR)
    stations = AirStations(request.param, places)
    times = np.arange(START, START + (STRETCHES + 2) * STRETCH_S * S, INTERVAL_S * S)
    faults, planted = Faults(), []
    number = np.arange(len(places))
    values = {name: np.empty((len(places), len(times))) for name in NAMES}
    for i, time in enumerate(times.tolist()):
        if (time - START) % (STRETCH_S * S) == 0 and 0 < time - START <= STRETCHES * STRETCH_S * S:
            fresh = plan(request.param, time, time + STRETCH_S * S, Places(stations.devices, [], []))
            faults.plant(fresh)
            planted += [one for one in fresh if one.kind in {FaultKind.STUCK, FaultKind.SPIKE, FaultKind.DRIFT}]
        found = stations.values(number, np.full(len(places), time))
        for station, device in enumerate(stations.devices):
            sample = Sample(time, time, device, {name: float(found[name][station]) for name in NAMES}, lambda _: [])
            changed = faults.sample(sample) or sample
            for name in NAMES:
                values[name][station, i] = changed.values[name]
    return places, times, values, planted


def limits(ids):
    names = {series_id(f"s{k}", name): name for k in range(100) for name in NAMES}
    known = [QUANTITIES[names[one]] for one in ids.tolist()]
    rows = np.array([(one.low, one.high, one.step_max, one.stuck_s) for one in known]).reshape(-1, 4)
    return Limits(*rows.T, *np.full((2, len(ids)), np.nan))


def settled(times, values):
    """Final flags by (station, quantity): int array [times], after a horizon of five minutes."""
    settings = StreamsSettings(horizon_s=300, windows_s=(300,))
    processor = ReadingsProcessor(0, settings, Topics(), limits)
    keys = [(k, name) for name in NAMES for k in range(len(values["no2"]))]
    ids = np.array([series_id(f"s{k}", name) for k, name in keys])
    flags = {one: np.zeros(len(times), np.int64) for one in ids.tolist()}
    for offset, first in enumerate(range(0, len(times), 50)):
        part = times[first : first + 50]
        n = len(part) * len(ids)
        time = np.repeat(part, len(ids))
        value = np.concatenate([values[name][:, first : first + 50] for name in NAMES]).T.reshape(-1)
        readings = Readings(np.tile(ids, len(part)), time, time, value, np.zeros(n, np.uint16), np.full(n, -1))
        for output in processor.process([Record(offset, None, readings.encode(), {})]):
            rows = Indicators.decode(output.value)
            said = rows.take(np.isin(rows.kind, (IndicatorKind.READING, IndicatorKind.FLAGS)))
            place = np.searchsorted(times, said.window_start)
            for sid, at, flag in zip(said.series_id.tolist(), place.tolist(), said.flags.tolist(), strict=True):
                flags[sid][at] = flag
    return {key: flags[sid] for key, sid in zip(keys, ids.tolist(), strict=True)}


def test_what_is_planted_is_flagged_and_healthy_series_are_not(day):
    places, times, values, planted = day
    devices = [place.device_id for place in places]
    flags = settled(times, values)
    sick = {key: np.zeros(len(times), bool) for key in flags}
    names = {FaultKind.STUCK: "no2", FaultKind.SPIKE: "no2", FaultKind.DRIFT: "o3"}
    assert sum(1 for fault in planted if fault.kind is not FaultKind.DRIFT) == 2 * STRETCHES
    for fault in planted:
        key = (devices.index(fault.device_id), names[fault.kind])
        during = (times >= fault.start) & (times < fault.end)
        sick[key] |= during
        if fault.kind is FaultKind.SPIKE:
            assert flags[key][np.argmax(during)] & Quality.SPIKE
        elif fault.kind is FaultKind.STUCK:
            stuck = np.flatnonzero(during & ((flags[key] & int(Quality.STUCK)) != 0))
            assert times[stuck[0]] - fault.start <= 120 * S
            assert len(stuck) > 0.4 * during.sum()
    wrong = sum(int(np.count_nonzero(flags[key][~sick[key]])) for key in flags)
    assert wrong == 0, f"{wrong} of {sum((~one).sum() for one in sick.values())} healthy readings"


def test_planted_drift_is_a_disagreement_with_the_neighbours(day):
    places, times, values, planted = day
    near = neighbours_within(
        np.array([place.lat for place in places]), np.array([place.lon for place in places]), 15_000
    )
    per = 10  # means of 20 s
    means = values["o3"].reshape(len(places), -1, per).mean(axis=2)
    steps = times[::per]
    flags = disagreement(means, near, past=30, deviations=6.0, floor=15.0) != 0
    healthy = np.ones(means.shape, bool)
    for fault in planted:
        if fault.kind is FaultKind.DRIFT:
            station = [place.device_id for place in places].index(fault.device_id)
            during = (steps >= fault.start) & (steps < fault.end)
            assert flags[station, during].any()
            healthy[station, (steps >= fault.start - 20 * S) & (steps < fault.end + 600 * S)] = False
    assert not flags[healthy].any()


def test_planted_drift_is_told_live_of_the_station_that_drifts(day):
    """The same through the processors of readings and of groups: an index of each minute, none of a healthy station."""
    places, times, values, planted = day
    known = [info(place.device_id, "o3", lat=place.lat, lon=place.lon) for place in places]
    settings = StreamsSettings(windows_s=(60,), neighbour_window_s=60, neighbour_radius_m=15_000)
    stages = TwoStages(settings, known, Sensors(), load_places())
    ids = np.array([one.series_id for one in known])
    for first in range(0, len(times), 150):
        part = times[first : first + 150]
        stages.feed(
            np.tile(ids, len(part)), np.repeat(part, len(ids)), values["o3"][:, first : first + 150].T.reshape(-1)
        )
    drifts = {fault.device_id: [] for fault in planted}
    for fault in planted:
        if fault.kind is FaultKind.DRIFT:
            drifts[fault.device_id].append(fault)
    judgeable, found = 0, 0
    for place in places:
        rows = stages.series(place.device_id, "sensor_health", "o3:neighbours", 60)
        told, ends = rows.window_start[rows.class_ == 3], rows.window_start + 60 * S
        healthy = np.ones(len(told), bool)
        for fault in drifts.get(place.device_id, ()):
            during = (told + 60 * S > fault.start) & (told < fault.end)
            healthy &= ~during
            height = 0.4 * (fault.end - fault.start - 60 * S) / S  # of the last whole minute
            if height > 1.3 * FLOORS["o3"] and (rows.class_[ends > fault.start] >= 0).all():
                judgeable, found = judgeable + 1, found + bool(during.any())
        assert not healthy.any(), place.device_id
    assert judgeable == found > 0
