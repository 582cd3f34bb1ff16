"""slots: what the stations of one quantity said of each window, for a bounded time

A slot is a window that follows the one before it without overlap, numbered from the epoch. Stations are rings of slots;
a cell says whose slot it holds.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

_NO_SLOT: Final = -1


class Slots:
    """Rings of slots, arrays [stations, length].

    Args:
        length: slots kept.

    Attributes:
        slot: whose slot a cell holds.
        mean: NaN where the window was not complete enough.
        revision: of the window.
        receive_time: newest that went in, us.
    """

    COLUMNS: ClassVar[dict[str, np.dtype[Any]]] = {
        "slot": np.dtype(np.int64),
        "mean": np.dtype(np.float64),
        "revision": np.dtype(np.int32),
        "receive_time": np.dtype(np.int64),
    }

    def __init__(self, length: int) -> None:
        self.length = length
        self.slot, self.mean, self.revision, self.receive_time = (
            np.zeros((0, length), dtype) for dtype in self.COLUMNS.values()
        )

    def grow(self, stations: int) -> None:
        """Room for stations 0 ... stations - 1."""
        more = max(stations - len(self.slot), 0)
        for name, dtype in self.COLUMNS.items():
            blank = np.full((more, self.length), _NO_SLOT if name == "slot" else 0, dtype)
            setattr(self, name, np.concatenate((getattr(self, name), blank)))

    def put(
        self, station: np.ndarray, slot: int, mean: np.ndarray, revision: np.ndarray, receive_time: np.ndarray
    ) -> np.ndarray:
        """What distinct stations say of one slot; those for which that is news, an older or known revision is none."""
        place = slot % self.length
        news = (self.slot[station, place] != slot) | (revision > self.revision[station, place])
        at = station[news]
        self.slot[at, place], self.mean[at, place] = slot, mean[news]
        self.revision[at, place], self.receive_time[at, place] = revision[news], receive_time[news]
        return np.asarray(at)

    def heard(self, slot: int) -> np.ndarray:
        """Which stations have spoken of a slot, complete or not."""
        return np.asarray(self.slot[:, slot % self.length] == slot)

    def past(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slots [first, stop): mean (NaN = none), revisions from 1 on (0 = none), receive time; [stations, slots]."""
        wanted = np.arange(first, stop)
        place = wanted % self.length
        there = self.slot[:, place] == wanted
        return (
            np.where(there, self.mean[:, place], np.nan),
            np.where(there, self.revision[:, place].astype(np.int64) + 1, 0),
            np.where(there, self.receive_time[:, place], 0),
        )
