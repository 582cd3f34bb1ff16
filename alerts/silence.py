"""silence: one no-data rule on all devices of a partition

Silence is measured in receive time against the clock of the partition, which is the newest receive time of any reading
in it: while records flow, the same records give the same alerts, whatever the wall clock says. Firing may also be seen
late, when the next reading of the device shows the gap: the steps are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from alerts.lifecycle import NEVER, Room, grown
from pulssi.messages import AlertState

_LATER = 2**62


class Gap(NamedTuple):
    """The beginning or end of a silence: `onset` is when the device was last heard, `heard` when it was heard again."""

    rule: int
    device: str
    state: AlertState
    onset: int
    time: int
    heard: int


@dataclass(slots=True)
class Silence:
    """Who was heard when.

    Attributes:
        rule: number of the rule.
        after_us: silence that fires.
        room: shared with the layers of the partition.
        group_of: dense series index -> number of its device here, -1 out of scope.
        devices: by number; `heard` (us) and `open` go by the same number.
        due: no device is silent too long before this time of the partition's clock.
    """

    rule: int
    after_us: int
    room: Room
    group_of: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    devices: dict[str, int] = field(default_factory=dict)
    heard: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    open: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    due: int = _LATER

    def add_series(self, devices: list[str | None]) -> None:
        """Append series, each with its device, None when the rule is not about it."""
        groups = [-1 if name is None else self.devices.setdefault(name, len(self.devices)) for name in devices]
        self.group_of = np.concatenate([self.group_of, np.array(groups, np.int64)])
        self.heard, self.open = grown(self.heard, len(self.devices), NEVER), grown(self.open, len(self.devices), False)

    def see(self, series: np.ndarray, receive: np.ndarray, clock: np.ndarray) -> list[Gap]:
        """Take readings in stream order.

        Args:
            series: dense index.
            receive: receive time, us.
            clock: the clock of the partition after each row, us.
        """
        group = self.group_of[series]
        if (group < 0).any():
            inside = group >= 0
            group, receive, clock = group[inside], receive[inside], clock[inside]
        before = self.heard[group]
        suspect = (clock >= before + self.after_us) | self.open[group] | (before == NEVER)
        if not suspect.any():
            np.maximum.at(self.heard, group, receive)
            return []
        hot = np.zeros(len(self.devices), bool)
        hot[group[suspect]] = True
        among = hot[group]
        np.maximum.at(self.heard, group[~among], receive[~among])
        gaps: list[Gap] = []
        names = list(self.devices)
        for one, time, now in zip(group[among].tolist(), receive[among].tolist(), clock[among].tolist(), strict=True):
            last = int(self.heard[one])
            if time <= last:
                continue
            if last == NEVER:
                self.due = min(self.due, time + self.after_us)
            elif self.open[one] or now >= last + self.after_us:
                gaps += self._over(one, names[one], last, time, now)
            self.heard[one] = time
        return gaps

    def _over(self, one: int, name: str, last: int, time: int, now: int) -> list[Gap]:
        """Steps of a silence that a reading ends; the first of them only when it was not said before."""
        gaps = []
        if not self.open[one]:
            if not self.room.take():
                return []
            gaps.append(Gap(self.rule, name, AlertState.FIRING, last, last + self.after_us, last))
        gaps.append(Gap(self.rule, name, AlertState.RESOLVED, last, max(now, last + self.after_us), time))
        self.open[one] = False
        self.room.open -= 1
        self.due = min(self.due, time + self.after_us)
        return gaps

    def late(self, clock: int) -> list[Gap]:
        """Devices that have become silent by this time."""
        if clock < self.due:
            return []
        end = self.heard + self.after_us
        waiting = ~self.open & (self.heard != NEVER)
        gaps = []
        names = list(self.devices)
        for one in np.flatnonzero(waiting & (clock >= end)).tolist():
            if not self.room.take():
                break
            self.open[one] = True
            waiting[one] = False
            last = int(self.heard[one])
            gaps.append(Gap(self.rule, names[one], AlertState.FIRING, last, last + self.after_us, last))
        self.due = int(end[waiting].min()) if waiting.any() else _LATER
        return gaps
