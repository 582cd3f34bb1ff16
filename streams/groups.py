"""groups: rows that mean something beside those of other devices, and where they meet

A partition of readings holds whole devices, and which ones is a matter of a hash. What compares devices therefore reads
`pulssi.groups`: each row that a group needs goes once to the partition of its group, and there is all of the group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, Protocol

import numpy as np

from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.series import partition_of
from pulssi.times import US_PER_S

Describe = Callable[[int], SeriesInfo | None]

_NOWHERE: Final = -1
_UNKNOWN: Final = -2


class Part(Protocol):
    """Indicators of one sort that follow from rows of others: pure, and the same however the rows are batched."""

    @property
    def too_late(self) -> int:
        """Rows that came too late to be put beside others, since the start of the process."""

    def take(self, rows: Indicators) -> tuple[Indicators, list[SeriesInfo]]:
        """Take rows in order of position, among others; what follows, and series that come up for the first time.

        What follows goes forward in time for each series. Behind `pulssi.groups` a row may come again, and rows of
        different partitions of readings take turns in any way: neither may change what is said in the end.
        """

    def snapshot(self) -> bytes:
        """The whole state, exactly."""


@dataclass(frozen=True, slots=True)
class Interest:
    """The rows that a part wants to see.

    Attributes:
        window_s: length of the windows, of which only those are sent that follow one another without overlap.
        group: name of the group of a series, None when it is in none.
    """

    window_s: int
    group: Callable[[SeriesInfo], str | None]


class Router:
    """Finds the rows that groups want among those of a partition.

    Args:
        interests: of all parts.
        partitions: of `pulssi.groups`.
        describe: descriptions of series.
    """

    def __init__(self, interests: Sequence[Interest], partitions: int, describe: Describe) -> None:
        self._interests = interests
        self._partitions = partitions
        self._describe = describe
        self._places: list[dict[int, int]] = [{} for _ in interests]

    def route(self, rows: Indicators) -> list[tuple[int, Indicators]]:
        """Rows for each partition of `pulssi.groups`, in the order in which they came."""
        found = []
        for number, interest in enumerate(self._interests):
            wanted = (rows.window_s == interest.window_s) & (rows.kind == IndicatorKind.WINDOW)
            wanted &= rows.window_start % (interest.window_s * US_PER_S) == 0
            at = np.flatnonzero(wanted)
            place = self._places_of(number, rows.series_id[at])
            found += [(one, rows.take(at[place == one])) for one in np.unique(place[place > _NOWHERE]).tolist()]
        return found

    def _places_of(self, number: int, series_ids: np.ndarray) -> np.ndarray:
        """Partition of each series by the interest `number`, negative where there is none."""
        known, ids = self._places[number], series_ids.tolist()
        place = np.fromiter(map(known.get, ids, repeat(_UNKNOWN)), np.int64, len(ids))
        new = {ids[row] for row in np.flatnonzero(place == _UNKNOWN).tolist()}
        if not new:
            return place
        for one in new:
            info = self._describe(one)
            if info is not None:  # otherwise it is asked for again when it comes again
                group = self._interests[number].group(info)
                known[one] = _NOWHERE if group is None else partition_of(group, self._partitions)
        return np.fromiter(map(known.get, ids, repeat(_UNKNOWN)), np.int64, len(ids))
