"""Classes, density, levels of service and reliability follow their published definitions."""

import numpy as np
import pytest

from streams.traffic import flow, reliability
from streams.traffic.flow import FreeFlow


@pytest.mark.parametrize(
    ("share", "name"),
    [
        (0, FreeFlow.STATIONARY),
        (9.99, FreeFlow.STATIONARY),
        (10, FreeFlow.QUEUING),
        (25, FreeFlow.SLOW),
        (74.9, FreeFlow.SLOW),
        (75, FreeFlow.PLATOONING),
        (90, FreeFlow.FLUENT),
        (100, FreeFlow.FLUENT),
        (100.1, FreeFlow.FASTER),
        (np.nan, -1),
    ],
)
def test_a_share_has_digitraffics_class(share, name):
    assert flow.free_flow_class(np.array([share]))[0] == name


def test_a_share_of_an_unknown_free_flow_speed_is_unknown():
    shares = flow.free_flow_share(np.array([50.0, 50, 50]), np.array([100.0, 0, np.nan]))
    np.testing.assert_array_equal(shares, [50, np.nan, np.nan])


def test_flow_is_density_times_speed():
    flows, speeds = np.array([1200.0, 600]), np.array([60.0, 0])
    densities = flow.density(flows, speeds)
    assert densities[0] * speeds[0] == flows[0]
    assert np.isnan(densities[1])


def test_a_loop_that_is_covered_a_tenth_of_the_time_sees_a_tenth_of_the_densest_row_of_cars():
    assert flow.density_from_occupancy(np.array([10.0]), effective_length_m=6.5)[0] == pytest.approx(15.3846, abs=1e-4)


def test_levels_of_service_change_at_the_published_densities():
    per_mile = np.array([0, 11, 11.01, 18, 18.01, 26, 26.01, 35, 35.01, 45, 45.01, np.nan])
    levels = flow.level_of_service(per_mile / flow.KM_PER_MILE + np.where(per_mile % 1, 0, -1e-12))
    assert levels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, -1]


def test_reliability_of_a_ten_minute_road():
    mean, p95, free = np.array([600.0]), np.array([900.0]), np.array([450.0])
    assert reliability.travel_time_index(mean, free)[0] == pytest.approx(4 / 3)
    assert reliability.planning_time_index(p95, free)[0] == 2
    assert reliability.buffer_index(p95, mean)[0] == 0.5
