"""sites: where stations stood at a time: by the table of places where it knows the device, else by its description"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from pulssi.geography import Places
from pulssi.messages import SeriesInfo

_ALWAYS: Final = -(1 << 62)


class Sites(NamedTuple):
    """Places of stations at one time.

    Attributes:
        since: first us at which each stood there.
        lat, lon: degrees; NaN where nobody said.
    """

    since: np.ndarray
    lat: np.ndarray
    lon: np.ndarray


def sites_at(stations: list[SeriesInfo], places: Places, time: int) -> Sites:
    """Where the stations stood at `time`, us UTC."""
    found = np.array([_site(one, places, time) for one in stations], object).reshape(-1, 3)
    return Sites(found[:, 0].astype(np.int64), found[:, 1].astype(np.float64), found[:, 2].astype(np.float64))


def _site(station: SeriesInfo, places: Places, time: int) -> tuple[int, float, float]:
    place = places.at(station.device_id, time)
    if place is not None:
        return place.valid_from, place.lat, place.lon
    if places.knows(station.device_id) or station.lat is None or station.lon is None:
        return _ALWAYS, np.nan, np.nan
    return _ALWAYS, station.lat, station.lon
