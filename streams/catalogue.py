"""catalogue: what the checks need to know of each series, found by series id

Filled from `pulssi.series` by the shell. The gateway publishes the description of a series before its first reading, so
a shell that reads that topic to its end before it answers gives the same limits in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pulssi.messages import SeriesInfo
from pulssi.quantities import QUANTITIES


@dataclass(slots=True)
class Limits:
    """Limits of n series, float64 arrays of length n; infinite (NaN for `interval_s`) where nothing is known.

    Attributes:
        low: lowest credible value.
        high: highest credible value.
        step_max: largest credible change between neighbouring readings.
        stuck_s: seconds for which an unchanged value is credible.
        interval_s: declared seconds between readings; NaN = learn it from the readings.
        lateness_s: how far behind its newest reading one may come without a revision; NaN = as all.
    """

    low: np.ndarray
    high: np.ndarray
    step_max: np.ndarray
    stuck_s: np.ndarray
    interval_s: np.ndarray
    lateness_s: np.ndarray


Lookup = Callable[[np.ndarray], Limits]
"""From int64 series ids to their limits; must give the same answer for the same series for ever."""


def no_limits(series_ids: np.ndarray) -> Limits:
    """Nothing is known of any series."""
    n = len(series_ids)
    return Limits(*(np.full(n, one) for one in (-np.inf, np.inf, np.inf, np.inf, np.nan, np.nan)))


class Catalogue:
    """Series descriptions by id; `limits` is a `Lookup`.

    Args:
        lateness_of: lateness bound of a kind and device id, s; `StreamsSettings.lateness_of`. None = that of all.
    """

    def __init__(self, lateness_of: Callable[[str, str], float] | None = None) -> None:
        self._infos: dict[int, SeriesInfo] = {}
        self._lateness_of = lateness_of

    def add(self, info: SeriesInfo) -> None:
        """Learn or replace the description of one series."""
        self._infos[info.series_id] = info

    def get(self, series_id: int) -> SeriesInfo | None:
        """The description of one series, if it came."""
        return self._infos.get(series_id)

    def infos(self) -> list[SeriesInfo]:
        """Every description, in the order in which the series came."""
        return list(self._infos.values())

    def missing(self, series_ids: np.ndarray) -> np.ndarray:
        """Those of `series_ids` that are not here; what a shell waits for before it answers."""
        known = np.fromiter((one in self._infos for one in series_ids.tolist()), np.bool_, len(series_ids))
        return series_ids[~known]

    def limits(self, series_ids: np.ndarray) -> Limits:
        """Limits by the quantity of each series; unknown series and quantities have none."""
        found = no_limits(series_ids)
        for i, series_id in enumerate(series_ids.tolist()):
            info = self._infos.get(series_id)
            if info is None:
                continue
            if self._lateness_of is not None:
                found.lateness_s[i] = self._lateness_of(info.kind, info.device_id)
            quantity = QUANTITIES.get(info.quantity)
            if quantity is not None:
                found.low[i], found.high[i] = quantity.low, quantity.high
                found.step_max[i], found.stuck_s[i] = quantity.step_max, quantity.stuck_s
        return found

    def __len__(self) -> int:
        return len(self._infos)
