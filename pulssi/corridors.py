"""corridors: measurement stations in the order of their road, and which one is downstream of which

Road addresses of Fintraffic rise along a road, and direction 1 of a station is that of rising addresses.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

DATA: Final = Path(__file__).parent / "data"
PAIR_KM: Final = (0.3, 5.0)
"""Nearer stations see the same queue, and between farther ones too much happens."""
_EARTH_KM: Final = 6371.0


@dataclass(frozen=True, slots=True)
class Station:
    """A station on its road.

    Attributes:
        device_id: such as `tms-23117`.
        road: road number.
        address: section of the road and metres from its start.
        lat: degrees, WGS84.
        lon: degrees, WGS84.
        lanes: of one direction.
    """

    device_id: str
    road: int
    address: tuple[int, int]
    lat: float
    lon: float
    lanes: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two neighbouring stations as the traffic of one direction (1 or 2) passes them."""

    upstream: str
    downstream: str
    direction: int
    road: int
    distance_km: float


def load_stations(path: Path | None = None) -> tuple[Station, ...]:
    """Stations in the order of roads and addresses; those shipped with Pulssi when no path is given."""
    with (path or DATA / "stations.csv").open(encoding="utf-8", newline="") as file:
        found = [
            Station(
                row["device_id"],
                int(row["road"]),
                (int(row["section"]), int(row["distance_m"])),
                float(row["lat"]),
                float(row["lon"]),
                int(row["lanes"]),
            )
            for row in csv.DictReader(file)
        ]
    return tuple(sorted(found, key=lambda station: (station.road, station.address, station.device_id)))


@cache
def lanes() -> dict[str, int]:
    """Lanes of one direction of each station shipped with Pulssi."""
    return {station.device_id: station.lanes for station in load_stations()}


def distance_km(a: Station, b: Station) -> float:
    """Great-circle distance; a motorway between two stations is a few percent longer."""
    lat, lon, to_lat, to_lon = np.radians([a.lat, a.lon, b.lat, b.lon])
    half = np.sin((to_lat - lat) / 2) ** 2 + np.cos(lat) * np.cos(to_lat) * np.sin((to_lon - lon) / 2) ** 2
    return float(2 * _EARTH_KM * np.arcsin(np.sqrt(half)))


def pairs(stations: tuple[Station, ...], km: tuple[float, float] = PAIR_KM) -> list[Pair]:
    """Each station with the next one downstream on its road, for both directions."""
    found = []
    for _, group in groupby(stations, key=lambda station: station.road):
        rising = list(group)
        for direction, along in ((1, rising), (2, rising[::-1])):
            for i, station in enumerate(along):
                for other in along[i + 1 :]:
                    away = distance_km(station, other)
                    if away >= km[0]:
                        if away <= km[1]:
                            found.append(
                                Pair(station.device_id, other.device_id, direction, station.road, round(away, 3))
                            )
                        break
    return found
