"""pane_snapshot: the live cells of a ring of panes as few and short arrays

Cells are written as steps from one to the next and receive times as delays, which compress well.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from streams.lists import Lists
from streams.panes import PaneRing

_AT_ONCE = 1 << 20
"""Values of lists."""


def arrays_of(ring: PaneRing, rows: int) -> dict[str, np.ndarray]:
    """Everything about rows 0 ... rows - 1."""
    inside = slice(1, 1 + rows * ring.length)
    n, n_excluded = ring.n[inside], ring.n_excluded[inside]
    live = np.flatnonzero((n > 0) | (n_excluded > 0)) + 1
    full = live[ring.block[live] > 0]
    excluded = full[ring.n_excluded[full] > 0]
    revised = np.flatnonzero(ring.revisions[:, inside].any(axis=0)) + 1
    return {
        "oldest": ring.oldest[:rows],
        "newest": ring.newest[:rows],
        "live": np.diff(live, prepend=0).astype(np.uint32),
        "delay": ring.receive_time[live] - _event_time(ring, live),
        **{name: getattr(ring, name)[live] for name in ("first", "last_us", "flags")},
        "full": full.astype(np.uint32),
        "n": ring.n[full],
        "sums": ring.sums[ring.block[full]],
        "excluded": excluded.astype(np.uint32),
        "n_excluded": ring.n_excluded[excluded],
        "revised": revised.astype(np.uint32),
        "revisions": ring.revisions[:, revised],
        "readings": ring.readings.gather(full)[0],
        "n_readings": ring.readings.length[full],
        "told": ring.told.gather(live)[0],
        "n_told": ring.told.length[live],
        "entries": ring.sketch.gather(full)[0],
        "n_entries": ring.sketch.length[full],
    }


def _event_time(ring: PaneRing, cells: np.ndarray) -> np.ndarray:
    """Event time of the last reading that counts in each cell; the start of its pane when none does."""
    row, place = np.divmod(cells - 1, ring.length)
    newest = ring.newest[row]
    return np.asarray((newest - (newest - place) % ring.length) * ring.pane_us + ring.last_us[cells])


def fill(ring: PaneRing, rows: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Put what `arrays_of` gave into a new ring."""
    ring.grow(rows)
    ring.oldest[:rows], ring.newest[:rows] = arrays["oldest"], arrays["newest"]
    live, full = np.cumsum(arrays["live"], dtype=np.int64), arrays["full"].astype(np.int64)
    ring.first[live], ring.last_us[live] = arrays["first"], arrays["last_us"]
    flagged = np.flatnonzero(arrays["flags"])
    ring.flag(live[flagged], arrays["flags"][flagged])
    ring.receive_time[live] = arrays["delay"] + _event_time(ring, live)
    ring.n[live] = 1
    ring.n[full] = arrays["n"]
    ring.fill_blocks(full, arrays["sums"])
    ring.n_excluded[arrays["excluded"].astype(np.int64)] = arrays["n_excluded"]
    ring.revisions[:, arrays["revised"].astype(np.int64)] = arrays["revisions"]
    for lists, cells, values, lengths in (
        (ring.readings, full, arrays["readings"], arrays["n_readings"]),
        (ring.told, live, arrays["told"], arrays["n_told"]),
        (ring.sketch, full, arrays["entries"], arrays["n_entries"]),
    ):
        _fill_lists(lists, cells, values, lengths)


def _fill_lists(lists: Lists, cells: np.ndarray, values: np.ndarray, lengths: np.ndarray) -> None:
    """Put values into empty lists, some lists at a time, so that little more memory is needed than they take."""
    ends = np.cumsum(lengths, dtype=np.int64)
    first, place = 0, 0
    while first < len(cells):
        last = max(first + 1, int(np.searchsorted(ends, place + _AT_ONCE, "right")))
        end = int(ends[last - 1])
        lists.append(np.repeat(cells[first:last], lengths[first:last]), values[place:end])
        first, place = last, end
