"""the city: air, traffic and buses on one clock; the same seed and start give the same messages"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from pulssi.geography import load_places
from pulssi.quantities import Kind
from pulssi.times import US_PER_S
from simulators.city import faults as fault
from simulators.city.air import EPISODE_STATION, AirStations, Episode
from simulators.city.noise import keys_of, uniform
from simulators.city.noise_meters import NoiseMeters
from simulators.city.road_weather import RoadWeather
from simulators.city.sample import Sample
from simulators.city.traffic import SENSORS, TrafficStations
from simulators.city.transit import Buses
from simulators.fleet import Seqs
from simulators.formats import own_message, tms_message
from simulators.ledger import Truth
from simulators.messages import Message

SENML_STATIONS: Final = frozenset({"fmi-106948", "fmi-104053", "fmi-105406"})
"""The stations at the harbours send SenML, the others the short form."""
_SPREAD_US: Final = 1000
"""Devices send at whole milliseconds, spread over their interval."""


@dataclass(frozen=True, slots=True)
class CityOptions:
    """What a city does.

    Attributes:
        seed: of everything.
        start: of the run, us UTC.
        interval_s: between two samples of a device.
        for_s: length of the run as far as it is known; faults are spread over it.
        backfill_s: what devices upload at the start of the run, as if they had been away.
        backfill_interval_s: between two samples of the backlog.
        faults: whether faults are planted.
        episode: whether bad air comes to one station 20 s after the start (and came once during the backlog).
        meters: noise meters beside the stations, the many small devices of a load.
        meters_interval_s: between two readings of each.
    """

    seed: int
    start: int
    interval_s: float = 1.0
    for_s: float | None = None
    backfill_s: float = 0.0
    backfill_interval_s: float = 60.0
    faults: bool = True
    episode: bool = False
    meters: int = 0
    meters_interval_s: float = 1.0


class City:
    """Makes the messages of all devices, in order of time, one span after the other."""

    def __init__(self, options: CityOptions) -> None:
        self.options = options
        places = load_places()
        seed = options.seed
        self.air = AirStations(seed, places.of_kind(Kind.AIR), _episodes(options) if options.episode else ())
        self.traffic = TrafficStations(seed, places.of_kind(Kind.TRAFFIC))
        self.buses = Buses(seed)
        self.weather = RoadWeather(seed)
        self.meters = NoiseMeters(seed, options.meters)
        self._seqs = Seqs(options.start)
        self._phases = {
            name: uniform(keys_of(seed, "phase", devices), 0)
            for name, devices in (
                ("air", self.air.devices),
                ("traffic", self.traffic.devices),
                ("weather", self.weather.devices),
                ("meters", self.meters.devices),
            )
        }
        self._faults = fault.Faults()
        self._planned_until = options.start
        self._truths: list[Truth] = []

    @property
    def hearing(self) -> list[tuple[str, str]]:
        """(kind, device) of all that wait for receipts."""
        return [("air", device) for device in self.air.devices] + [("noise", device) for device in self.meters.devices]

    def truths(self) -> list[Truth]:
        """Episodes, and what was on the roads when the run starts or during its backlog."""
        options = self.options
        begin = options.start - int(options.backfill_s * US_PER_S)
        episodes = [Truth("episode", EPISODE_STATION, one.start, one.end) for one in self.air.episodes]
        return self._on_roads(begin, options.start) + episodes

    def _on_roads(self, begin: int, end: int) -> list[Truth]:
        """Road works, and collisions before the station that they hold up."""
        works = [
            Truth("road_works", self.traffic.devices[one.station], one.start, one.end)
            for one in self.traffic.road_works(begin, end)
        ]
        return works + [
            Truth(
                "incident",
                one.pair.upstream,
                one.start,
                one.end,
                {"downstream": one.pair.downstream, "direction": one.pair.direction},
            )
            for one in self.traffic.collisions(begin, end)
        ]

    def new_truths(self) -> list[Truth]:
        """Faults, road works and collisions that came up since the last call."""
        found, self._truths = self._truths, []
        return found

    def backlog(self) -> Iterator[Message]:
        """What the devices upload at the start: samples of the time before it, in order."""
        options = self.options
        begin = options.start - int(options.backfill_s * US_PER_S)
        step_us = int(max(options.backfill_interval_s, 1) * US_PER_S)
        for at in range(begin, options.start, step_us):
            until = min(at + step_us, options.start)
            samples = self._samples(at, until, step_us / US_PER_S, meters=False)
            buses = self.buses.messages(at, until, step_us, stops_only=True)
            yield from _in_order(_encoded(samples), buses)

    def between(self, start: int, end: int) -> Iterator[Message]:
        """Messages that leave in [start, end); short spans are asked for one after the other."""
        if end > self._planned_until:
            self._plan()
        interval_s = self.options.interval_s
        samples = (self._faults.sample(sample) for sample in self._samples(start, end, interval_s, meters=True))
        buses = self.buses.messages(start, end, int(max(interval_s, 1) * US_PER_S))
        healthy = _in_order(_encoded(sample for sample in samples if sample is not None), buses)
        yield from self._faults.messages(healthy, end)

    def rest(self) -> list[Message]:
        """Messages that faults still hold back at the end of a run."""
        return self._faults.rest()

    def _samples(self, start: int, end: int, interval_s: float, *, meters: bool) -> Iterator[Sample]:
        slow_s = max(interval_s, 1.0)  # Digitraffic's times are whole seconds
        parts: list[Iterable[Sample]] = [
            self._air(*self._due("air", start, end, interval_s)),
            self._traffic(*self._due("traffic", start, end, slow_s)),
            self.weather.samples(*self._due("weather", start, end, slow_s)),
        ]
        if meters:
            due = self._due("meters", start, end, self.options.meters_interval_s)
            parts.append(self.meters.samples(*due, self._own("noise")))
        return heapq.merge(*parts, key=lambda sample: sample.send_time)

    def _due(self, name: str, start: int, end: int, interval_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Devices and times of all samples in [start, end), in order of time; each device has its own phase."""
        phases = self._phases[name]
        interval_us = int(interval_s * US_PER_S)
        offsets = (phases * interval_us).astype(np.int64) // _SPREAD_US * _SPREAD_US
        first = -(-(start - offsets) // interval_us)
        counts = np.maximum(-(-(end - offsets) // interval_us) - first, 0)
        devices = np.repeat(np.arange(len(phases)), counts)
        nth = np.arange(len(devices)) - np.repeat(np.cumsum(counts) - counts, counts)
        times = (first[devices] + nth) * interval_us + offsets[devices]
        order = np.argsort(times, kind="stable")
        return devices[order], times[order]

    def _own(self, kind: str) -> Callable[[Sample], list[Message]]:
        return partial(self._encode_own, kind)

    def _encode_own(self, kind: str, sample: Sample) -> list[Message]:
        seq = self._seqs.next(sample.device_id)
        return [
            own_message(
                sample.send_time,
                kind,
                sample.device_id,
                sample.event_time,
                sample.values,
                seq,
                senml=sample.device_id in SENML_STATIONS,
                fault=sample.fault,
            )
        ]

    def _air(self, devices: np.ndarray, times: np.ndarray) -> Iterator[Sample]:
        values = self.air.values(devices, times)
        encode = self._own("air")
        for row, (device, time) in enumerate(zip(devices.tolist(), times.tolist(), strict=True)):
            measured = {name: float(values[name][row]) for name in self.air.quantities(device)}
            yield Sample(time, time, self.air.devices[device], measured, encode)

    def _traffic(self, devices: np.ndarray, times: np.ndarray) -> Iterator[Sample]:
        directions = self.traffic.values(devices, times)
        for row, (device, time) in enumerate(zip(devices.tolist(), times.tolist(), strict=True)):
            measured = {
                f"{quantity}/{direction}": float(directions[direction - 1][quantity][row])
                for quantity, _ in SENSORS
                for direction in (1, 2)
            }
            number = self.traffic.numbers[device]
            yield Sample(time, time, self.traffic.devices[device], measured, partial(_encode_tms, number))

    def _plan(self) -> None:
        """Look a stretch ahead: what begins on the roads, and where faults are planted."""
        options, begin = self.options, self._planned_until
        self._planned_until = end = begin + int(min(fault.STRETCH_S, options.for_s or fault.STRETCH_S) * US_PER_S)
        self._truths += [one for one in self._on_roads(begin, end) if one.start_time >= begin]
        if options.faults:
            own = [device for device in self.air.devices if device != EPISODE_STATION]
            vehicles = sorted({trip.vehicle_id for trip in self.buses.trips(begin, begin + US_PER_S)})
            plan = fault.plan(options.seed, begin, end, fault.Places(own, self.traffic.devices, vehicles))
            self._faults.plant(plan)
            self._truths += [one.truth() for one in plan]


def _episodes(options: CityOptions) -> tuple[Episode, ...]:
    live = Episode(options.start + 20 * US_PER_S, 3.0, 25.0, 5.0)
    if options.backfill_s < 3600:
        return (live,)
    return (Episode(options.start - 3000 * US_PER_S, 240.0, 360.0, 240.0), live)


def _encode_tms(number: int, sample: Sample) -> list[Message]:
    """One message for each sensor of a station."""
    found = []
    for quantity, sensors in SENSORS:
        for direction, sensor in enumerate(sensors, start=1):
            value = int(sample.values[f"{quantity}/{direction}"])
            found.append(
                tms_message(sample.send_time, number, sensor, sample.event_time // US_PER_S, value, fault=sample.fault)
            )
    return found


def _encoded(samples: Iterable[Sample]) -> Iterator[Message]:
    for sample in samples:
        yield from sample.encode(sample)


def _in_order(*parts: Iterable[Message]) -> Iterator[Message]:
    return heapq.merge(*parts, key=lambda message: message.send_time)
