"""measures: what the panes of a direction of a road mean, as columns"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from streams.traffic.cells import FLOW, OCCUPANCY, SHARE, SPEED
from streams.traffic.flow import density, density_from_occupancy, free_flow_share
from streams.traffic.health import Health, HealthLimits
from streams.traffic.reliability import buffer_index, planning_time_index, travel_time_index

QUEUE_BELOW: Final = 25.0
QUEUE_OVER: Final = 40.0
PERSISTENCE: Final = 3
"""Panes in a row below `QUEUE_BELOW` percent of free flow that make a queue, or from `QUEUE_OVER` on that end it."""

SHARE_LEAST: Final = 1.0
"""Percent of free flow that a standing road counts with, so that travel times stay finite: 100 times as long."""

EFFECTIVE_LENGTH_M: Final = 6.5
"""Mean vehicle plus loop."""

DISAGREEMENT: Final = 5.0
"""Percentage points between the share sensor and speed over the known free-flow speed that are no rounding."""


HEARD_MIN: Final = 0.9
"""Share of the panes in which a detector that has no hits must have said so."""


class Queue(IntEnum):
    """Whether the road is in a queue."""

    NONE = 0
    QUEUE = 1


def shares(values: np.ndarray, free_flow_km_h: np.ndarray) -> np.ndarray:
    """Percent of free flow, [points, panes]: of the share sensor, else of speed; NaN where nobody drove.

    Args:
        values: [points, quantities, panes].
        free_flow_km_h: [points], NaN where unknown.
    """
    own = free_flow_share(values[:, SPEED], free_flow_km_h[:, None])
    found = np.where(np.isnan(values[:, SHARE]), own, values[:, SHARE])
    return np.where(values[:, FLOW] == 0, np.nan, found)


def disagree(values: np.ndarray, free_flow_km_h: np.ndarray) -> np.ndarray:
    """Where the share sensor and speed say different things about the newest pane."""
    own = free_flow_share(values[:, SPEED, -1], free_flow_km_h)
    return np.asarray((np.abs(own - values[:, SHARE, -1]) > DISAGREEMENT) & (values[:, FLOW, -1] != 0))


def densities(values: np.ndarray, lanes: np.ndarray) -> np.ndarray:
    """Vehicles per km and lane in the newest pane: from flow and speed, else from occupancy; NaN where nobody drove."""
    flow, speed, occupancy = (values[:, quantity, -1] for quantity in (FLOW, SPEED, OCCUPANCY))
    moving = density(np.where(flow > 0, flow, np.nan), speed) / lanes
    return np.where(np.isnan(moving), density_from_occupancy(occupancy, EFFECTIVE_LENGTH_M), moving)


def reliability(share: np.ndarray, completeness_min: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Travel-time, planning-time and buffer index of the panes, [points] each; NaN where too few are known.

    Args:
        share: percent of free flow, [points, panes].
        completeness_min: share of the panes that must be known.
    """
    time = 100.0 / np.maximum(share, SHARE_LEAST)
    known = ~np.isnan(time)
    n = known.sum(axis=1)
    ordered = np.sort(time, axis=1)  # NaN last
    rank = np.maximum(np.ceil(0.95 * n).astype(np.int64) - 1, 0)
    p95 = np.take_along_axis(ordered, rank[:, None], axis=1)[:, 0]
    mean = np.where(known, time, 0).sum(axis=1) / np.maximum(n, 1)
    enough = n >= completeness_min * share.shape[1]
    one = np.where(enough, 1.0, np.nan)
    return travel_time_index(mean, one), planning_time_index(p95, one), buffer_index(p95, mean * one)


def queues(share: np.ndarray) -> np.ndarray:
    """`Queue` at the last pane of each point, from the panes before; int16, a gap ends every run of panes."""
    begun, over = _last_run(share < QUEUE_BELOW), _last_run(share >= QUEUE_OVER)
    return np.where(begun > over, int(Queue.QUEUE), int(Queue.NONE)).astype(np.int16)


def _last_run(holds: np.ndarray) -> np.ndarray:
    """Pane that ended the last run of `PERSISTENCE` panes, -1 where there is none."""
    runs = np.asarray(np.lib.stride_tricks.sliding_window_view(holds, PERSISTENCE, axis=1).all(axis=-1))
    last = runs.shape[1] - 1 - np.argmax(runs[:, ::-1], axis=1)
    return np.where(runs.any(axis=1), last, -1)


def health(values: np.ndarray, lanes: np.ndarray, stuck: np.ndarray) -> np.ndarray:
    """`Health` of the detectors at the last pane; int16 [points].

    The panes are the time that a silent detector is given. A window of five minutes that is full has been locked for
    longer than it may. `NO_CHANGE` follows from readings with the flag STUCK, where `stuck`.
    """
    flow, occupancy = values[:, FLOW], values[:, OCCUPANCY]
    said = np.zeros(len(values), np.int16)
    heard = ~np.isnan(flow)
    said[(heard.mean(axis=1) >= HEARD_MIN) & ~(flow > 0).any(axis=1)] = Health.NO_HITS
    said[stuck] = Health.NO_CHANGE
    said[occupancy[:, -1] >= 100] = Health.LOCKED_ON
    said[flow[:, -1] > HealthLimits().chatter_veh_h_lane * lanes] = Health.CHATTER
    return said
