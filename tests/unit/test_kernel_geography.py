"""Districts and places: 60 real districts, points where they belong, moved stations by time."""

import pytest

from pulssi.errors import ConfigurationError
from pulssi.geography import Place, Places, district_of, districts, load_places


def test_there_are_the_sixty_districts_of_helsinki():
    assert len(districts()) == 60
    assert len({district.code for district in districts()}) == 60
    assert all(district.area.is_valid for district in districts())


@pytest.mark.parametrize(
    ("lat", "lon", "name"),
    [(60.18739, 24.95060, "Alppiharju"), (60.1719, 24.9414, "Kluuvi"), (60.25004, 24.93942, "Tuomarinkylä")],
)
def test_a_point_is_in_its_district(lat, lon, name):
    code = district_of(lat, lon)
    assert [district.name_fi for district in districts() if district.code == code] == [name]


def test_a_point_in_espoo_is_in_no_district():
    assert district_of(60.2055, 24.6559) is None


def test_the_shipped_places_are_the_twelve_air_and_seventy_one_traffic_stations():
    places = load_places()
    assert len(places.of_kind("air")) == 12
    traffic = places.of_kind("traffic")
    assert len(traffic) == 71
    assert all(place.free_flow and min(place.free_flow) > 0 for place in traffic)


def test_a_station_that_moved_is_where_it_stood_at_the_time():
    old = Place("s", "air", "old", 60.1, 24.9, None, 0, 100)
    new = Place("s", "air", "new", 60.2, 24.9, None, 100, 200)
    places = Places([old, new])
    assert [places.at("s", time) for time in (0, 99, 100, 199, 200)] == [old, old, new, new, None]
    assert places.at("nobody", 5) is None


def test_every_bad_row_of_a_places_file_is_told_at_once(tmp_path):
    file = tmp_path / "places.csv"
    file.write_text(
        "device_id,kind,name,lat,lon,valid_from,valid_to\n"
        "a/b,air,x,60,24,,\n"
        "good,air,x,60,24,2026-01-01T00:00:00Z,\n"
        "c,air,x,north,24,,\n"
        "d,air,x,60,24,2026-01-01,\n",
    )
    with pytest.raises(ConfigurationError) as caught:
        load_places(file)
    assert [problem.split(": ")[0].rsplit(" ", 1)[1] for problem in caught.value.problems] == ["2", "4", "5"]
