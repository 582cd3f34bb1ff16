"""board: which windows of which vehicle or route are open, changed or given out

A window ends with a pane; `end` is the number of the pane after its last. The board covers a moving range of ends.
"""

from __future__ import annotations

import numpy as np


class Board:
    """Marks by end, entity and window length.

    Attributes:
        first: the lowest end that the board covers.
        changed: bool, (ends, entities, lengths): has events that were not given out yet.
        revision: int16, same shape: how often the window was given out.
    """

    def __init__(self, ends: int, lengths: np.ndarray) -> None:
        self.first = 0
        self._lengths = lengths
        self.changed = np.zeros((ends, 0, len(lengths)), np.bool_)
        self.revision = np.zeros((ends, 0, len(lengths)), np.int16)

    @property
    def end(self) -> int:
        """The first end beyond the board."""
        return self.first + len(self.changed)

    def grow(self, entities: int) -> None:
        """Make room for more entities."""
        more = ((0, 0), (0, entities - self.changed.shape[1]), (0, 0))
        if more[1][1] > 0:
            self.changed, self.revision = np.pad(self.changed, more), np.pad(self.revision, more)

    def keep(self, entities: np.ndarray) -> None:
        """Keep only these entities, in this order."""
        self.changed, self.revision = self.changed[:, entities], self.revision[:, entities]

    def move(self, first: int) -> None:
        """Cover the range from `first` on; what falls off is forgotten."""
        steps = min(first - self.first, len(self.changed))
        if steps <= 0:
            return
        for marks in (self.changed, self.revision):
            marks[:-steps] = marks[steps:]
            marks[-steps:] = 0
        self.first = first

    def mark(self, pane: int, entities: np.ndarray) -> None:
        """Every window of these entities that holds the pane has changed."""
        start = max(pane + 1 - self.first, 0)
        for which, length in enumerate(self._lengths.tolist()):
            self.changed[start : max(pane + 1 + length - self.first, 0), entities, which] = True

    def due(self, target: np.ndarray) -> np.ndarray:
        """Rows of (end, entity, which length) that changed and end at or before their entity's target."""
        ends = self.first + np.arange(len(self.changed))
        span = max(int(target.max(initial=self.first)) + 1 - self.first, 0)
        due: np.ndarray = np.argwhere(self.changed[:span] & (ends[:span, None, None] <= target[None, :, None]))
        due[:, 0] += self.first
        return due

    def give_out(self, due: np.ndarray) -> np.ndarray:
        """Mark windows as given out; the revision under which each goes."""
        place = (due[:, 0] - self.first, due[:, 1], due[:, 2])
        revision: np.ndarray = self.revision[place].astype(np.int32)
        self.revision[place] += 1
        self.changed[place] = False
        return revision
