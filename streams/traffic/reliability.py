"""reliability of travel times: how much longer than in free flow, and how much to plan for

Source: US Federal Highway Administration, Travel Time Reliability Measures, 2006.
"""

from __future__ import annotations

import numpy as np


def travel_time_index(mean_s: np.ndarray, free_flow_s: np.ndarray) -> np.ndarray:
    """Mean travel time over that of free flow; 1 = as on an empty road."""
    return np.asarray(mean_s, np.float64) / np.asarray(free_flow_s, np.float64)


def planning_time_index(p95_s: np.ndarray, free_flow_s: np.ndarray) -> np.ndarray:
    """95th percentile of travel time over that of free flow: what to plan for to be late once in twenty times."""
    return np.asarray(p95_s, np.float64) / np.asarray(free_flow_s, np.float64)


def buffer_index(p95_s: np.ndarray, mean_s: np.ndarray) -> np.ndarray:
    """Extra time beyond the mean, as a share of the mean."""
    mean = np.asarray(mean_s, np.float64)
    return (np.asarray(p95_s, np.float64) - mean) / mean
