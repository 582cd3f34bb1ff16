"""steps: the columns that the steps of a partition hand to each other"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streams.grouping import starts_of


class Arrived(NamedTuple):
    """Readings that are neither late nor duplicates, series by series in order of arrival.

    `flags` are those that no order can change, `told` all with which a reading was given out. `clock` is that of the
    partition with the reading, and before it.
    """

    row: np.ndarray
    time: np.ndarray
    value: np.ndarray
    flags: np.ndarray
    told: np.ndarray
    receive_time: np.ndarray
    position: np.ndarray
    clock: np.ndarray
    clock_before: np.ndarray


class Marks(NamedTuple):
    """How far readings closed their series: a silence before them up to pane `silent`, at the position `silence`."""

    closed_after: np.ndarray
    position: np.ndarray
    silent: np.ndarray
    silence: np.ndarray

    def take(self, index: np.ndarray) -> Marks:
        """The chosen readings."""
        return Marks(*(column[index] for column in self))


class Kept(NamedTuple):
    """What goes into panes; `pane` and `place_us` are those of the reading.

    `newest` is the newest pane with the reading, `complete` the newest that it leaves beyond the horizon,
    `closed_before` the newest closed before it.
    """

    row: np.ndarray
    pane: np.ndarray
    place_us: np.ndarray
    value: np.ndarray
    flags: np.ndarray
    told: np.ndarray
    receive_time: np.ndarray
    position: np.ndarray
    newest: np.ndarray
    complete: np.ndarray
    closed_before: np.ndarray

    def take(self, index: np.ndarray) -> Kept:
        """The chosen readings."""
        return Kept(*(column[index] for column in self))


class Due(NamedTuple):
    """Windows to publish: row, last pane, and [lengths, n] source position that gave or changed each, -1 = not due."""

    row: np.ndarray
    end: np.ndarray
    position: np.ndarray


def united(dues: list[Due]) -> Due:
    """Each row and last pane once, with the latest position of each length."""
    row, end, position = (np.concatenate([due[i] for due in dues], axis=-1) for i in range(3))
    order = np.lexsort((end, row))
    starts = starts_of(row[order], end[order])
    return Due(
        row[order][starts],
        end[order][starts],
        np.maximum.reduceat(position[:, order], starts, axis=1),
    )
