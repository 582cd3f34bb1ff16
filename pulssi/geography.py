"""places and districts: where a device stands, and in which of Helsinki's 60 districts that is"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import shapely

from pulssi.errors import ConfigurationError
from pulssi.series import is_device_id
from pulssi.times import parse_iso_us

DATA = Path(__file__).parent / "data"
_ALWAYS = (-(2**62), 2**62)


@dataclass(frozen=True, slots=True)
class District:
    """One district: its code (`01` to `60` and beyond), names and area in WGS84."""

    code: str
    name_fi: str
    name_sv: str
    area: shapely.Geometry


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device stood during [valid_from, valid_to) in us UTC; stations move."""

    device_id: str
    kind: str
    name: str
    lat: float
    lon: float
    district: str | None
    valid_from: int
    valid_to: int
    free_flow: tuple[float, float] | None = None


@cache
def districts() -> tuple[District, ...]:
    """Every district, by code."""
    features = json.loads((DATA / "districts.geojson").read_text(encoding="utf-8"))["features"]
    found = [
        District(
            feature["properties"]["code"],
            feature["properties"]["name_fi"],
            feature["properties"]["name_sv"],
            shapely.from_geojson(json.dumps(feature["geometry"])),
        )
        for feature in features
    ]
    return tuple(sorted(found, key=lambda district: district.code))


@cache
def _tree() -> shapely.STRtree:
    return shapely.STRtree([district.area for district in districts()])


def district_of(lat: float, lon: float) -> str | None:
    """Code of the district that holds a point, None outside Helsinki."""
    hits: np.ndarray = _tree().query(shapely.Point(lon, lat), predicate="intersects")
    return districts()[int(hits.min())].code if len(hits) else None


class Places:
    """The places of all devices that we know of, each with its time of validity."""

    def __init__(self, places: list[Place]) -> None:
        self._by_device: dict[str, list[Place]] = {}
        for place in places:
            self._by_device.setdefault(place.device_id, []).append(place)

    def at(self, device_id: str, time_us: int) -> Place | None:
        """Where the device stood at that time, None when nobody said."""
        for place in self._by_device.get(device_id, ()):
            if place.valid_from <= time_us < place.valid_to:
                return place
        return None

    def knows(self, device_id: str) -> bool:
        """Whether any place of a device is known, at whatever time."""
        return device_id in self._by_device

    def of_kind(self, kind: str) -> list[Place]:
        """Every place of devices of one kind, in the order of the file."""
        return [place for places in self._by_device.values() for place in places if place.kind == kind]


def load_places(path: Path | None = None) -> Places:
    """Places from a CSV file; the file shipped with Pulssi when no path is given.

    Raises:
        ConfigurationError: every row that cannot be read, all at once.
    """
    path = path or DATA / "places.csv"
    places: list[Place] = []
    problems: list[str] = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                places.append(_place(row))
            except (KeyError, ValueError) as error:
                problems.append(f"{path} line {number}: {error}")
    if problems:
        raise ConfigurationError(problems)
    return Places(places)


def _place(row: dict[str, str]) -> Place:
    if not is_device_id(row["device_id"]):
        raise ValueError(f"{row['device_id']!r} is no device id")
    lat, lon = float(row["lat"]), float(row["lon"])
    free_flow = (float(row["free_flow_1"]), float(row["free_flow_2"])) if row.get("free_flow_1") else None
    return Place(
        row["device_id"],
        row["kind"],
        row["name"],
        lat,
        lon,
        district_of(lat, lon),
        parse_iso_us(row["valid_from"]) if row["valid_from"] else _ALWAYS[0],
        parse_iso_us(row["valid_to"]) if row["valid_to"] else _ALWAYS[1],
        free_flow,
    )
