"""A slow and obvious account of the traffic indicators of one direction, pane by pane, in plain Python."""

from __future__ import annotations

import math

HOUR, HEALTH = 60, 240
"""Panes of a minute."""
DENSITIES = [11, 18, 26, 35, 45]
"""Highest density of levels of service A to E, per mile and lane; Highway Capacity Manual."""


def rows_of(cells, *, free_flow, lanes):
    """{(quantity, window_s, last pane): (value, class, panes or readings)} of one direction.

    `cells` is {quantity: {pane: (mean, n, stuck)}} of five-minute windows by their last pane; mean None = none.
    """
    return Direction(cells, free_flow, lanes).rows()


class Direction:
    def __init__(self, cells, free_flow, lanes):
        self.cells, self.free_flow, self.lanes = cells, free_flow, lanes

    def value(self, quantity, pane):
        return self.cells.get(quantity, {}).get(pane, (None, 0, False))[0]

    def there(self, quantities, panes):
        return [pane for pane in panes if any(pane in self.cells.get(one, {}) for one in quantities)]

    def rows(self):
        found = {}
        for end in sorted({pane for cells in self.cells.values() for pane in cells}):
            hour = range(end - HOUR + 1, end + 1)
            driving = ("speed_mean", "flow", "free_flow_share")
            if self.there(("speed_mean", "free_flow_share"), [end]):
                n = max(self.cells.get(one, {}).get(end, (None, 0, False))[1] for one in driving)
                found["free_flow_share", 300, end] = (*self.share_row(end), n)
            loop = ("speed_mean", "flow", "occupancy")
            if self.there(("speed_mean", "occupancy"), [end]):
                n = max(self.cells.get(one, {}).get(end, (None, 0, False))[1] for one in loop)
                found["density", 300, end] = (*self.density_row(end), n)
            if self.there(("speed_mean", "free_flow_share"), hour):
                n = len(self.there(driving, hour))
                for quantity, value in self.reliability(hour).items():
                    found[quantity, 3600, end] = (value, -1, n)
                queue = self.queue(hour)
                found["queue", 3600, end] = (queue, queue, n)
            long = range(end - HEALTH + 1, end + 1)
            if self.there(("flow", "occupancy"), long):
                health = self.health(long)
                found["detector_health", 4 * 3600, end] = (health, health, len(self.there(("flow", "occupancy"), long)))
        return found

    def share(self, pane):
        if self.value("flow", pane) == 0:
            return None
        own, speed = self.value("free_flow_share", pane), self.value("speed_mean", pane)
        if own is not None:
            return own
        return None if speed is None else 100 * speed / self.free_flow

    def share_row(self, pane):
        share = self.share(pane)
        if share is None:
            return None, -1
        return share, sum(share >= limit for limit in (10, 25, 75, 90)) + (share > 100)

    def density_row(self, pane):
        flow, speed, occupancy = (self.value(one, pane) for one in ("flow", "speed_mean", "occupancy"))
        if flow and speed and flow > 0 and speed > 0:
            density = flow / speed / self.lanes
        elif occupancy is not None:
            density = occupancy / 100 * 1000 / 6.5
        else:
            return None, -1
        return density, sum(density * 1.609344 > limit for limit in DENSITIES)

    def reliability(self, hour):
        times = sorted(100 / max(share, 1.0) for share in map(self.share, hour) if share is not None)
        names = ("travel_time_index", "planning_time_index", "buffer_index")
        if len(times) < 0.75 * len(hour):
            return dict.fromkeys(names)
        mean, p95 = math.fsum(times) / len(times), times[math.ceil(0.95 * len(times)) - 1]
        return dict(zip(names, (mean, p95, p95 / mean - 1), strict=True))

    def queue(self, hour):
        state, low, high = 0, 0, 0
        for share in map(self.share, hour):
            low = low + 1 if share is not None and share < 25 else 0
            high = high + 1 if share is not None and share >= 40 else 0
            state = 1 if low >= 3 else 0 if high >= 3 else state
        return state

    def health(self, panes):
        flows = [self.value("flow", pane) for pane in panes]
        heard = [flow for flow in flows if flow is not None]
        health = 1 if len(heard) >= 0.9 * len(panes) and not any(flow > 0 for flow in heard) else 0
        if any(self.cells.get(one, {}).get(panes[-1], (None, 0, False))[2] for one in ("flow", "occupancy")):
            health = 2
        occupancy = self.value("occupancy", panes[-1])
        if occupancy is not None and occupancy >= 100:
            health = 3
        if flows[-1] is not None and flows[-1] > 37 * 120 * self.lanes:
            health = 4
        return health
