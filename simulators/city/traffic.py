"""traffic measurement stations: flow and speed in both directions, from demand, capacity and road works

Speed falls with the ratio of demand to capacity as in the volume-delay function of the US Bureau of Public Roads
(Traffic Assignment Manual, 1964), with a softer factor, since its speeds are those of stations and not of whole trips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pulssi.corridors import Pair, load_stations, pairs
from pulssi.geography import Place
from pulssi.times import US_PER_S
from simulators.city.noise import key_of, keys_of, normal, smooth, uniform
from simulators.city.rhythm import traffic_level, weather

SENSORS: Final = (
    ("speed_mean", (5122, 5125)),
    ("free_flow_share", (5158, 5161)),
    ("flow", (5116, 5119)),
    ("flow_share", (5164, 5168)),
)
"""What each direction of a station sends, with the sensor ids of direction 1 and 2."""

_SLOT_S: Final = 6 * 3600
_WORKS_PER_SLOT: Final = 3
_WORKS_LEFT: Final = 0.4
"""Share of the capacity that road works leave."""
_KM_PER_DEGREE: Final = 111.2
_WORKS_REACH_KM: Final = 2.0


_COLLISION_LEFT: Final = 0.3
"""Share of the capacity that a collision leaves."""
_COLLISION_S: Final = (1200, 2400)
_QUEUE_S: Final = 180
"""Until its queue has reached the station upstream, and until it is gone again."""


@dataclass(frozen=True, slots=True)
class Collision:
    """Lanes blocked between two stations for a while, in one direction; us UTC."""

    pair: Pair
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RoadWorks:
    """Lanes closed around a station for some hours; us UTC."""

    station: int
    start: int
    end: int


class TrafficStations:
    """The traffic measurement stations of the city."""

    def __init__(self, seed: int, places: list[Place]) -> None:
        self.devices = [place.device_id for place in places]
        self.numbers = [int(device.removeprefix("tms-")) for device in self.devices]
        self.free_flow = np.array([place.free_flow or (60.0, 60.0) for place in places]).T
        self.flow_max = np.where(self.free_flow >= 90, 4000.0, np.where(self.free_flow >= 70, 3200.0, 1600.0))
        self._seed = seed
        self._places = np.array([(place.lat, place.lon) for place in places])
        self._keys = keys_of(seed, "traffic", self.devices)
        self._tide = 0.45 * (2 * uniform(self._keys, 1) - 1)
        known = set(self.devices)
        self._pairs = [pair for pair in pairs(load_stations()) if {pair.upstream, pair.downstream} <= known]
        self._popularity = 0.7 + 0.45 * uniform(self._keys, 2)

    def road_works(self, start: int, end: int) -> list[RoadWorks]:
        """All road works that touch [start, end): a few in each quarter of a day, one to four hours long."""
        slot_us, key = _SLOT_S * US_PER_S, key_of(self._seed, "works")
        found = []
        for count in range((start // slot_us - 1) * _WORKS_PER_SLOT, (end // slot_us + 1) * _WORKS_PER_SLOT):
            station, begin, length = uniform(key, np.arange(3) + 3 * count)
            at = int((count // _WORKS_PER_SLOT + begin) * slot_us)
            works = RoadWorks(int(station * len(self.devices)), at, at + int((1 + 3 * length) * 3600 * US_PER_S))
            if works.start < end and works.end > start:
                found.append(works)
        return found

    def collisions(self, start: int, end: int) -> list[Collision]:
        """All collisions that touch [start, end), with their queues: one in each quarter of a day."""
        slot_us, key = _SLOT_S * US_PER_S, key_of(self._seed, "collision")
        found = []
        for count in range(start // slot_us - 1, end // slot_us + 1) if self._pairs else ():
            pair, begin, length = uniform(key, np.arange(3) + 3 * count)
            at = int((count + begin) * slot_us)
            lasting_s = _COLLISION_S[0] + (_COLLISION_S[1] - _COLLISION_S[0]) * length
            one = Collision(self._pairs[int(pair * len(self._pairs))], at, at + int(lasting_s * US_PER_S))
            if one.start < end and one.end + _QUEUE_S * US_PER_S > start:
                found.append(one)
        return found

    def values(self, stations: np.ndarray, times: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Whole numbers of every quantity, for direction 1 and 2, at some stations and times, equally long."""
        wet = np.minimum(weather(self._seed, times).rain_rate, 1)
        left = self._capacity_left(stations, times)
        collisions = self.collisions(int(times.min()), int(times.max()) + 1) if len(times) else []
        blocked = [self._blocked(collisions, direction, stations, times) for direction in (1, 2)]
        return [self._direction(direction, stations, times, left, wet, *blocked[direction]) for direction in (0, 1)]

    def _direction(
        self,
        direction: int,
        stations: np.ndarray,
        times: np.ndarray,
        left: np.ndarray,
        wet: np.ndarray,
        queue: np.ndarray,
        passing: np.ndarray,
    ) -> dict[str, np.ndarray]:
        keys = self._keys[stations] + np.uint64(direction + 1)
        tide = self._tide[stations] * (1 - 2 * direction)
        demand = traffic_level(times, tide) * self._popularity[stations]
        demand = demand * (1 + 0.07 * smooth(keys, times, 300) + 0.03 * normal(keys, times // US_PER_S))
        demand, left = np.minimum(demand, passing), np.minimum(left, queue)
        load = np.maximum(demand, 0.01) / left
        speed_share = (1 - 0.08 * wet) * (1 + 0.015 * smooth(keys, times, 60)) / (1 + 0.3 * load**4)
        free_flow, flow_max = self.free_flow[direction][stations], self.flow_max[direction][stations]
        flow = np.round(np.minimum(np.maximum(demand, 0.01), left * 0.97) * flow_max / 12) * 12
        speed = np.maximum(np.round(free_flow * speed_share), 2)
        return {
            "speed_mean": speed,
            "free_flow_share": np.round(100 * speed / free_flow),
            "flow": flow,
            "flow_share": np.round(100 * flow / flow_max),
        }

    def _blocked(
        self, collisions: list[Collision], direction: int, stations: np.ndarray, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What collisions leave: of the capacity before the queue, and of the demand behind the blocked lanes."""
        queue, passing = np.ones(len(times)), np.full(len(times), np.inf)
        for one in collisions:
            if one.pair.direction != direction:
                continue
            later = times - _QUEUE_S * US_PER_S
            before = stations == self.devices.index(one.pair.upstream)
            queue[before & (later >= one.start) & (later < one.end)] = _COLLISION_LEFT
            behind = stations == self.devices.index(one.pair.downstream)
            passing[behind & (times >= one.start) & (times < one.end)] = _COLLISION_LEFT
        return queue, passing

    def _capacity_left(self, stations: np.ndarray, times: np.ndarray) -> np.ndarray:
        left = np.ones(len(times))
        if not len(times):
            return left
        for works in self.road_works(int(times.min()), int(times.max()) + 1):
            away = self._places[stations] - self._places[works.station]
            away_km = (
                np.hypot(away[:, 0], away[:, 1] / 2) * _KM_PER_DEGREE
            )  # a degree of longitude is half as long here
            touched = (away_km < _WORKS_REACH_KM) & (times >= works.start) & (times < works.end)
            left[touched] = np.minimum(left[touched], _WORKS_LEFT)
        return left
