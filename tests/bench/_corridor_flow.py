"""traffic along a corridor with incidents of known place and time: a cell-transmission model, many days at once

Source of the model: Daganzo, The Cell Transmission Model, Transportation Research B 28 (4), 1994, with the drop of the
discharge of a queue, ramps, and a triangular fundamental diagram. An incident takes capacity from one cell: its queue
grows upstream by the model's own kinematic waves while the flow downstream falls. Around it stands what makes detection
hard: a daily rhythm, days that differ, surges of demand, rain, stop-and-go waves, bottlenecks with queues of their own
in rush hours, counting noise, detectors that are off by a constant, silent for a while or stuck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FREE_KM_H = 100.0
STEP_S = 10
CELL_KM = FREE_KM_H * STEP_S / 3600
CAPACITY_VEH_H = 4000.0
JAM_VEH_KM = 260.0
LANES = 2
EFFECTIVE_LENGTH_M = 6.5
MINUTES = 1440
_MINUTE_STEPS = 60 // STEP_S
_RAMP_EVERY_KM = 2.0
_BOTTLENECKS = ((0.28, 0.93), (0.62, 0.9), (0.9, 0.88))
"""Where on the road, and the capacity that is there."""
_DISCHARGE_LEFT = 0.94


@dataclass(frozen=True, slots=True)
class Incident:
    """A part of the capacity gone at one place, between the stations `pair` and `pair` + 1; minutes of its world."""

    world: int
    pair: int
    start: int
    end: int
    capacity_left: float


@dataclass(frozen=True, slots=True)
class Flow:
    """What the stations measured, [worlds, minutes, stations], NaN where a sample is missing, and what was planted."""

    occupancy: np.ndarray  # %
    flow: np.ndarray  # veh/h
    incidents: list[Incident]


def simulate(seed: int, station_km: np.ndarray, worlds: int, days: int) -> Flow:
    """Days of traffic past the stations, upstream first, at rising kilometres."""
    random = np.random.default_rng(seed)
    road = _Road(station_km)
    capacity, incidents = _capacity(random, road, worlds, days)
    demand = _demand(random, road, worlds * days)
    density, passed = _run(road, capacity, demand)
    shape = (worlds, days * MINUTES, len(station_km))
    occupancy, flow = _measured(random, density, passed)
    occupancy, flow = occupancy.reshape(shape), flow.reshape(shape)
    _break_detectors(random, occupancy, flow)
    return Flow(occupancy, flow, incidents)


class _Road:
    """Cells, where the stations stand, ramps and bottlenecks."""

    def __init__(self, station_km: np.ndarray) -> None:
        before, after = 6, 6
        place = (station_km - station_km[0]) / CELL_KM
        self.station = before + np.round(place).astype(np.int64)
        self.cells = int(self.station[-1]) + after
        ramps = np.arange(4, self.cells - 4, round(_RAMP_EVERY_KM / CELL_KM))
        self.on, self.off = ramps + 2, ramps
        self.leaving = np.zeros(self.cells)
        self.leaving[self.off] = 0.12
        self.capacity = np.ones(self.cells)
        for place, left in _BOTTLENECKS:
            self.capacity[int(self.cells * place) : int(self.cells * place) + 2] = left


def _bell(minute: np.ndarray, centre_h: float, width_h: float) -> np.ndarray:
    return np.exp(-0.5 * ((minute / 60 - centre_h) / width_h) ** 2)


def _smooth(random: np.random.Generator, rows: int, minutes: int) -> np.ndarray:
    """Noise of unit spread with a memory of `minutes`, [rows, MINUTES]."""
    knots = random.normal(size=(rows, MINUTES // minutes + 2))
    place = np.arange(MINUTES) / minutes
    left, part = place.astype(np.int64), place % 1
    weight = np.sqrt(part**2 + (1 - part) ** 2)
    return np.asarray((knots[:, left] * (1 - part) + knots[:, left + 1] * part) / weight)


def _demand(random: np.random.Generator, road: _Road, lanes: int) -> np.ndarray:
    """Vehicles per step that want to enter, [days, MINUTES, 1 + ramps]: at the upstream end and at each ramp."""
    minute = np.arange(MINUTES)
    level = 0.06 + 0.66 * _bell(minute, 7.8, 1.0) + 0.5 * _bell(minute, 12.5, 3.4) + 0.66 * _bell(minute, 16.6, 1.4)
    entries = 1 + len(road.on)
    share = np.full(entries, 0.11)
    share[0] = 0.93
    day = 1 + 0.06 * random.normal(size=(lanes, 1, 1))
    wobble = np.stack([_smooth(random, lanes, 15) for _ in range(entries)], axis=2)
    demand = level[:, None] * share * day * (1 + 0.07 * wobble)
    for lane in np.flatnonzero(random.random(lanes) < 0.6):
        start, length = random.integers(7 * 60, 20 * 60), random.integers(20, 60)
        where = random.integers(entries)
        demand[lane, start : start + length, where] *= 1.25 if where == 0 else 2.2
    return np.asarray(demand * CAPACITY_VEH_H * STEP_S / 3600)


def _capacity(random: np.random.Generator, road: _Road, worlds: int, days: int) -> tuple[np.ndarray, list[Incident]]:
    """Capacity as a share of the full one, [days, MINUTES, cells], and the incidents in it."""
    lanes = worlds * days
    share = road.capacity * (1 + 0.02 * random.normal(size=(lanes, 1, road.cells)))
    share = np.repeat(share, MINUTES, axis=1).astype(np.float32)
    share *= 1 + 0.015 * _smooth(random, lanes, 20).astype(np.float32)[:, :, None]
    for lane in np.flatnonzero(random.random(lanes) < 0.3):
        start, length = random.integers(0, MINUTES), random.integers(60, 240)
        share[lane, start : start + length] *= 0.9  # rain
    for lane, count in enumerate(random.poisson(25, lanes)):
        for _ in range(count):  # a lane change that brakes everybody: seed of a stop-and-go wave
            at = random.integers(6 * 60, 20 * 60)
            share[lane, at : at + random.integers(1, 3), random.integers(road.cells)] *= 0.6
    incidents = []
    for lane, count in enumerate(random.choice(3, lanes, p=[0.3, 0.45, 0.25])):
        for _ in range(count):
            start, length = int(random.integers(6 * 60, 20 * 60)), int(random.integers(15, 70))
            cell, left = int(random.integers(road.station[0] + 1, road.station[-1])), random.uniform(0.15, 0.6)
            share[lane, start : start + length, cell] *= left
            pair = int(np.searchsorted(road.station, cell)) - 1
            world, day = divmod(lane, days)
            at = day * MINUTES + start
            incidents.append(Incident(world, pair, at, at + length, left))
    return share, incidents


def _run(road: _Road, capacity: np.ndarray, demand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density (veh/km) and vehicles per minute at the stations, [days, MINUTES, stations]."""
    lanes = len(capacity)
    full = CAPACITY_VEH_H * STEP_S / 3600
    room = JAM_VEH_KM * CELL_KM
    critical = CAPACITY_VEH_H / FREE_KM_H * CELL_KM
    backward = full / (room - critical)  # vehicles that move up for each free place
    staying = 1 - road.leaving
    n = np.zeros((lanes, road.cells))
    waiting = np.zeros((lanes, 1 + len(road.on)))
    density = np.zeros((lanes, MINUTES, len(road.station)), np.float32)
    passed = np.zeros_like(density)
    for minute in range(MINUTES):
        most = capacity[:, minute] * full
        arriving = demand[:, minute]
        for _ in range(_MINUTE_STEPS):
            waiting += arriving
            sending = np.minimum(n, np.where(n > critical * 1.05, most * _DISCHARGE_LEFT, most))
            receiving = np.minimum(most, backward * (room - n))
            entering = np.minimum(waiting[:, 1:], 0.35 * receiving[:, road.on])
            receiving[:, road.on] -= entering
            first = np.minimum(waiting[:, 0], receiving[:, 0])
            out = sending
            out[:, :-1] = np.minimum(sending[:, :-1], receiving[:, 1:] / staying[:-1])
            n -= out
            n[:, 1:] += (out * staying)[:, :-1]
            n[:, 0] += first
            n[:, road.on] += entering
            waiting[:, 0] -= first
            waiting[:, 1:] -= entering
            density[:, minute] += n[:, road.station]
            passed[:, minute] += out[:, road.station]
    density /= _MINUTE_STEPS * CELL_KM
    return density, passed


def _measured(random: np.random.Generator, density: np.ndarray, passed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Occupancy (%) and flow (veh/h) as detectors give them."""
    stations = density.shape[2]
    count = np.maximum(np.round(passed + random.normal(size=passed.shape) * np.sqrt(0.5 * passed)), 0)
    noise = 0.05 + 0.3 / np.sqrt(np.maximum(passed, 1))
    wrong = np.exp(0.12 * random.normal(size=stations))
    occupancy = density / LANES * EFFECTIVE_LENGTH_M / 10 * wrong
    occupancy = np.where(count > 0, occupancy * np.exp(noise * random.normal(size=passed.shape)), 0.0)
    return np.clip(occupancy, 0, 100), count * 60


def _break_detectors(random: np.random.Generator, occupancy: np.ndarray, flow: np.ndarray) -> None:
    """Silences of minutes to an hour, single samples that are missing, and detectors that repeat themselves."""
    worlds, minutes, stations = occupancy.shape
    for world in range(worlds):
        for station in range(stations):
            for start in random.integers(0, minutes, random.poisson(minutes / MINUTES / 2)):
                here = np.s_[world, start : start + random.integers(3, 60), station]
                occupancy[here] = flow[here] = np.nan
            for start in random.integers(0, minutes, random.poisson(minutes / MINUTES / 20)):
                here = np.s_[world, start : start + random.integers(30, 180), station]
                occupancy[here], flow[here] = occupancy[world, start, station], flow[world, start, station]
    missing = random.random(occupancy.shape) < 0.005
    occupancy[missing] = flow[missing] = np.nan
