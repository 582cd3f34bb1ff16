"""Stations stand along their roads, and the next one downstream is the one that traffic reaches."""

import pytest

from pulssi.corridors import PAIR_KM, Station, distance_km, load_stations, pairs
from pulssi.geography import load_places


def test_every_station_is_a_place_that_we_know():
    known = {place.device_id for place in load_places().of_kind("traffic")}
    stations = [station.device_id for station in load_stations()]
    assert len(stations) == len(set(stations)) == 70
    assert set(stations) <= known


def test_direction_1_follows_rising_road_addresses_and_direction_2_comes_back():
    found = pairs(load_stations())
    one = {(pair.upstream, pair.downstream) for pair in found if pair.direction == 1}
    two = {(pair.downstream, pair.upstream) for pair in found if pair.direction == 2}
    assert ("tms-23117", "tms-23103") in one  # from Munkkiniemi out to Turku
    assert ("tms-23117", "tms-23103") in two
    assert len(found) == 102


def test_pairs_are_neither_too_near_nor_too_far_nor_on_different_roads():
    stations = {station.device_id: station for station in load_stations()}
    for pair in pairs(load_stations()):
        upstream, downstream = stations[pair.upstream], stations[pair.downstream]
        assert upstream.road == downstream.road == pair.road
        assert PAIR_KM[0] <= pair.distance_km <= PAIR_KM[1]
        rising = upstream.address < downstream.address
        assert rising == (pair.direction == 1)


def test_a_twin_at_the_same_place_is_passed_over():
    line = tuple(
        Station(name, 3, (1, place), 60 + place / 111_195, 25.0, 2)
        for name, place in (("a", 0), ("b", 2000), ("twin", 2000), ("c", 4000))
    )
    assert distance_km(line[0], line[3]) == pytest.approx(4, abs=1e-4)
    forward = [(pair.upstream, pair.downstream) for pair in pairs(line) if pair.direction == 1]
    assert forward == [("a", "b"), ("b", "c"), ("twin", "c")]
