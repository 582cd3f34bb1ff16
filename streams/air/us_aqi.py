"""the US Air Quality Index of May 2024

Source: US EPA, Technical Assistance Document for the Reporting of Daily Air Quality, EPA-454/B-24-002, May 2024,
table 6. A concentration is truncated to the digits of its table, then I = (I_hi - I_lo) / (C_hi - C_lo) (C - C_lo) +
I_lo, rounded half up. Particles above the table continue its last line, as EPA reports them; gases end at 500.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from streams.air.dominant import worst

INDEX = ((0, 50), (51, 100), (101, 150), (151, 200), (201, 300), (301, 500))
"""Index numbers of good, moderate, unhealthy for sensitive groups, unhealthy, very unhealthy, hazardous."""


@dataclass(frozen=True, slots=True)
class Table:
    """Breakpoints of one pollutant and averaging time.

    Attributes:
        decimals: digits kept when a concentration is truncated.
        bands: (lowest, highest) concentration of each band.
        first: number of the band in `INDEX` with which the table begins.
        open_ended: whether the last line continues above the table.
    """

    decimals: int
    bands: tuple[tuple[float, float], ...]
    first: int = 0
    open_ended: bool = False


TABLES: dict[str, Table] = {
    "pm2_5_24h": Table(
        1, ((0, 9), (9.1, 35.4), (35.5, 55.4), (55.5, 125.4), (125.5, 225.4), (225.5, 325.4)), open_ended=True
    ),
    "pm10_24h": Table(0, ((0, 54), (55, 154), (155, 254), (255, 354), (355, 424), (425, 604)), open_ended=True),
    "o3_8h": Table(3, ((0, 0.054), (0.055, 0.070), (0.071, 0.085), (0.086, 0.105), (0.106, 0.200))),
    "o3_1h": Table(3, ((0.125, 0.164), (0.165, 0.204), (0.205, 0.404), (0.405, 0.604)), first=2),
    "co_8h": Table(1, ((0, 4.4), (4.5, 9.4), (9.5, 12.4), (12.5, 15.4), (15.5, 30.4), (30.5, 50.4))),
    "so2_1h": Table(0, ((0, 35), (36, 75), (76, 185), (186, 304))),
    "so2_24h": Table(0, ((305, 604), (605, 1004)), first=4),
    "no2_1h": Table(0, ((0, 53), (54, 100), (101, 360), (361, 649), (650, 1249), (1250, 2049))),
}
"""PM in ug/m3, O3 and CO in ppm, SO2 and NO2 in ppb. One-hour SO2 gives 200 at most, eight-hour O3 300."""

_TRUNCATION_SLACK = 1e-6
"""0.029 * 1000 is 28.999999999999996: a decimal number must not lose its last digit to binary."""


def truncate(concentration: np.ndarray, decimals: int) -> np.ndarray:
    """Cut to so many decimals, towards zero; NaN stays NaN."""
    scale = 10.0**decimals
    return np.trunc(concentration * scale + _TRUNCATION_SLACK) / scale


def sub_index(table: str, concentration: np.ndarray) -> np.ndarray:
    """Index numbers of one pollutant.

    Args:
        table: a key of `TABLES`.
        concentration: float64 in the unit of the table; NaN where there is none. Negative ones count as 0.

    Returns:
        float64 of the same shape: whole index numbers, NaN where there is no concentration or where the table does not
        begin yet (one-hour ozone below 0.125 ppm, 24-hour SO2 below 305 ppb).
    """
    rules = TABLES[table]
    low, high = np.array(rules.bands).T
    index_low, index_high = np.array(INDEX[rules.first : rules.first + len(low)], np.float64).T
    cut = truncate(np.maximum(np.asarray(concentration, np.float64), 0.0), rules.decimals)
    half_a_digit = 0.5 * 10.0**-rules.decimals
    band = np.minimum(np.searchsorted(high + half_a_digit, cut), len(low) - 1)
    raw = (index_high - index_low)[band] / (high - low)[band] * (cut - low[band]) + index_low[band]
    rounded = np.floor(raw + 0.5 + 1e-9)
    if not rules.open_ended:
        rounded = np.minimum(rounded, index_high[-1])
    return np.where(np.isnan(cut) | (cut < low[0] - half_a_digit), np.nan, rounded)


def site_index(sub_indices: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The index of a site: the highest sub-index, and which table gave it.

    Returns:
        (index, dominant): float64, NaN where no pollutant has an index; object array of table names, None there.
    """
    values = np.stack([np.asarray(one, np.float64) for one in sub_indices.values()])
    return worst(list(sub_indices), values)


def category(index: np.ndarray) -> np.ndarray:
    """Class 0 (good) to 5 (hazardous) of index numbers; int16, -1 where there is none."""
    highest = np.array([high for _low, high in INDEX[:-1]], np.float64)
    return np.where(np.isnan(index), -1, np.searchsorted(highest, index)).astype(np.int16)
