"""NowCast: what the air is like now, from hourly means of which the newest count most"""

from __future__ import annotations

import numpy as np

from streams.air.us_aqi import truncate

PM_HOURS = 12
_WEIGHT_MIN = 0.5
_RECENT_HOURS = 3
_RECENT_MIN = 2


def pm_nowcast(hours: np.ndarray, decimals: int) -> np.ndarray:
    """NowCast of particles.

    Weight w = max(c_min / c_max, 1/2) over the valid hours; result = sum(w^k c_k) / sum(w^k), k = 0 for the newest.
    A missing hour is left out of both sums and keeps its place. At least two of the newest three hours must be there.
    Source: US EPA, Technical Assistance Document, EPA-454/B-24-002, May 2024, NowCast for PM2.5 and PM10.

    Args:
        hours: float64, shape (..., 12), OLDEST first; NaN = missing, negative counts as 0.
        decimals: digits kept by truncation: 1 for PM2.5, 0 for PM10.

    Returns:
        float64, shape (...): NaN where there is no NowCast.
    """
    newest_first = np.maximum(np.asarray(hours, np.float64), 0.0)[..., ::-1]
    valid = ~np.isnan(newest_first)
    highest = np.where(valid, newest_first, -np.inf).max(axis=-1)
    lowest = np.where(valid, newest_first, np.inf).min(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(highest > 0, np.maximum(lowest / highest, _WEIGHT_MIN), 1.0)
        powers = weight[..., None] ** np.arange(newest_first.shape[-1])
        weighted = np.where(valid, newest_first * powers, 0.0).sum(axis=-1)
        result = weighted / np.where(valid, powers, 0.0).sum(axis=-1)
    enough = valid[..., :_RECENT_HOURS].sum(axis=-1) >= _RECENT_MIN
    return np.where(enough, truncate(result, decimals), np.nan)


def ozone_surrogate(hours_ppb: np.ndarray) -> np.ndarray:
    """The surrogate ozone NowCast: 0.85 c + 4.5 ppb of the newest of the last three hours.

    EPA's own NowCast (since 2019-08-01) is a regression on 336 hours that falls back to this line; as a streaming
    estimate the line alone misses the diurnal shape that the regression knows.
    Source: US EPA, O3-Nowcast, R code, 2019.

    Args:
        hours_ppb: float64, shape (..., n), OLDEST first, n >= 3; NaN = missing.

    Returns:
        float64, shape (...), ppb, not below 0: NaN where the last three hours are missing.
    """
    recent = np.asarray(hours_ppb, np.float64)[..., -_RECENT_HOURS:][..., ::-1]
    valid = ~np.isnan(recent)
    newest = np.take_along_axis(recent, valid.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return np.maximum(0.85 * newest + 4.5, 0.0)
