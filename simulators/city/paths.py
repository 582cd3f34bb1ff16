"""paths of bus routes: the stretch that recordings show, and beyond it straight to the terminus"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from pulssi.times import parse_iso_us
from simulators.recordings import SHIPPED, open_text

_M_PER_DEGREE: Final = 111_195.0
_LON: Final = 0.4970
"""Cosine of 60.2 degrees: how much shorter a degree of longitude is."""
_STEP_M_MIN: Final = 5.0
_STEP_M_MAX: Final = 400.0
_STOP_EVERY_M: Final = 500.0

_TERMINI: Final[dict[tuple[str, str], tuple[float, float]]] = {
    ("4400", "1"): (60.2935, 24.8480),  # Vantaankoski
    ("1061", "2"): (60.1712, 24.9432),  # Rautatientori
    ("1066", "1"): (60.2560, 24.9260),  # Paloheina
    ("1064", "1"): (60.2750, 24.9480),  # Ita-Pakila
    ("1064", "2"): (60.1712, 24.9432),
    ("5530", "1"): (60.2612, 24.8546),  # Myyrmaki
    ("4735", "1"): (60.3480, 25.1050),  # Mikkola
    ("4735", "2"): (60.2925, 25.0440),  # Tikkurila
    ("4631", "2"): (60.2925, 25.0440),
}
"""Where each recorded route and direction ends, roughly: the recordings show a few hundred metres of each."""


@dataclass(frozen=True, slots=True)
class Path:
    """One direction of one route.

    Attributes:
        route: GTFS route id.
        direction: `1` or `2`.
        line: the number that passengers know.
        headsign: as in the topic.
        operator: four digits.
        line_number, journey_base: HSL's internal `line` and `jrn`.
        distance: metres from the start at each point, rising from 0.
        lat, lon: of each point.
        stops: (metres from the start, stop id), the first at 0.
    """

    route: str
    direction: str
    line: str
    headsign: str
    operator: str
    line_number: int
    journey_base: int
    distance: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    stops: tuple[tuple[float, int], ...]

    def at(self, metres: float) -> tuple[float, float, float]:
        """Latitude, longitude and heading (degrees) so far along the path."""
        lat, lon = np.interp(metres, self.distance, self.lat), np.interp(metres, self.distance, self.lon)
        i = min(max(int(np.searchsorted(self.distance, metres, "right")), 1), len(self.distance) - 1)
        north, east = self.lat[i] - self.lat[i - 1], (self.lon[i] - self.lon[i - 1]) * _LON
        return float(lat), float(lon), float(np.degrees(np.arctan2(east, north)) % 360)


@cache
def paths() -> tuple[Path, ...]:
    """The paths of the shipped recordings."""
    seen: dict[tuple[str, str], list[tuple[int, list[str], dict[str, Any]]]] = {}
    with open_text(SHIPPED["hfp"][1][0]) as file:
        for line in file:
            topic, fields = _parse(line)
            if topic[3] == "journey" and fields["lat"] is not None and tuple(topic[9:11]) in _TERMINI:
                seen.setdefault((topic[9], topic[10]), []).append((parse_iso_us(fields["tst"]), topic, fields))
    return tuple(_path(number, key, rows) for number, (key, rows) in enumerate(sorted(seen.items())))


def _parse(line: str) -> tuple[list[str], dict[str, Any]]:
    at = line.index(" {")
    (fields,) = json.loads(line[at + 1 :]).values()
    return line[:at].split(" ", 1)[1].split("/"), fields


def _path(number: int, key: tuple[str, str], rows: list[tuple[int, list[str], dict[str, Any]]]) -> Path:
    rows.sort(key=lambda row: row[0])
    points = _clean([(fields["lat"], fields["long"]) for _, _, fields in rows])
    points.append(_TERMINI[key])
    lat, lon = np.array(points).T
    steps = np.hypot(np.diff(lat), np.diff(lon) * _LON) * _M_PER_DEGREE
    distance = np.r_[0.0, np.cumsum(steps)]
    _, topic, fields = rows[-1]
    known = list(dict.fromkeys(int(row[1][13]) for row in rows if row[1][13].isdigit()))
    places = np.arange(0, distance[-1], _STOP_EVERY_M)
    ids = known + [9_000_000 + number * 1000 + i for i in range(len(places))]
    return Path(
        key[0],
        key[1],
        fields["desi"],
        topic[11],
        topic[7],
        fields["line"],
        fields["jrn"],
        distance,
        lat,
        lon,
        tuple(zip(places.tolist(), ids, strict=False)),
    )


def _clean(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that move on by a credible step; where a position jumps, the rest is left out."""
    kept = [points[0]]
    for lat, lon in points[1:]:
        step = float(np.hypot(lat - kept[-1][0], (lon - kept[-1][1]) * _LON) * _M_PER_DEGREE)
        if step > _STEP_M_MAX:
            break
        if step >= _STEP_M_MIN:
            kept.append((lat, lon))
    return kept
