"""the European Air Quality Index: the bands of 2025, and those of 2017 to 2024 under their own name

Sources: European Environment Agency / ETC HE Report 2024/17, table 5.2, 2024 (one-hour means); European Environment
Agency, European Air Quality Index, 2017 to 2024 (24-hour running means of particles, one-hour means of gases). A value
equal to the bound of a band belongs to the lower, better band.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from streams.air.dominant import worst

BANDS = ("good", "fair", "moderate", "poor", "very_poor", "extremely_poor")
Revision = Literal["2025", "2017"]
BOUNDS: dict[Revision, dict[str, tuple[float, ...]]] = {
    "2025": {
        "pm2_5": (5, 15, 50, 90, 140),
        "pm10": (15, 45, 120, 195, 270),
        "no2": (10, 25, 60, 100, 150),
        "o3": (60, 100, 120, 160, 180),
        "so2": (20, 40, 125, 190, 275),
    },
    "2017": {
        "pm2_5": (10, 20, 25, 50, 75),
        "pm10": (20, 40, 50, 100, 150),
        "no2": (40, 90, 120, 230, 340),
        "o3": (50, 100, 130, 240, 380),
        "so2": (100, 200, 350, 500, 750),
    },
}
"""Upper bounds of the first five bands, ug/m3."""
COLOURS = ("#50F0E6", "#50CCAA", "#F0E641", "#FF5050", "#960032", "#7D2181")

PARTICLES = ("pm2_5", "pm10")


def band(compound: str, mean: np.ndarray, revision: Revision = "2025") -> np.ndarray:
    """Band 0 (good) to 5 (extremely poor) of means in ug/m3; int16, -1 where the mean is NaN.

    The averaging time is the caller's: one hour, but 24 hours for particles under the 2017 revision.
    """
    values = np.asarray(mean, np.float64)
    bands = np.searchsorted(np.array(BOUNDS[revision][compound]), values, side="left")
    return np.where(np.isnan(values), -1, bands).astype(np.int16)


def station_band(
    means: Mapping[str, np.ndarray],
    *,
    is_traffic_station: bool,
    revision: Revision = "2025",
) -> tuple[np.ndarray, np.ndarray]:
    """The band of a station: the worst of its compounds, when those that the index asks for are there.

    A traffic station needs NO2 and one of the particles; any other needs O3 as well (EEA, index viewer).

    Returns:
        (band, dominant): int16 with -1 where there is no index, object array of compounds with None there.
    """
    names = [name for name in means if name in BOUNDS[revision]]
    bands = np.stack([band(name, means[name], revision) for name in names])
    there = dict(zip(names, bands >= 0, strict=True))
    nothing = np.zeros(bands.shape[1:], bool)
    enough = there.get("no2", nothing) & np.logical_or.reduce([there.get(name, nothing) for name in PARTICLES])
    if not is_traffic_station:
        enough &= there.get("o3", nothing)
    value, dominant = worst(names, np.where(enough & (bands >= 0), bands, np.nan))
    return np.nan_to_num(value, nan=-1).astype(np.int16), dominant
