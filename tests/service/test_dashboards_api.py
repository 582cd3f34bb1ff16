"""The API tells what is in a real database, refuses what it should, and says when it cannot know."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import psycopg
import pytest

from dashboards.reader import Reader
from dashboards.schemas import Sync, Tick
from deploy.local import Database
from pulssi import logs
from pulssi.metrics import Metrics
from pulssi.series import series_id
from storage.migrate import migrate
from tests.fixtures.city import KALLIO, City, settings_for

pytestmark = pytest.mark.service

KALLIO_PM = series_id(KALLIO, "pm2_5")
HOSTILE = [
    "' OR '1'='1",
    "1; DROP TABLE readings",
    "1 UNION SELECT secret FROM subscriptions",
    "%s",
    "%(since)s",
    "\\",
    "a\x00b",
    "../../etc/passwd",
    "9" * 5000,
    "١٢٣",
    "<script>alert(1)</script>",
    "1e5",
]


def test_stations_have_their_place_state_and_newest_values(page_server: httpx.Client):
    stations = {one["device_id"]: one for one in page_server.get("/api/stations").json()}
    assert len(stations) == 82
    kallio = stations[KALLIO]
    assert (kallio["name"], kallio["district"], kallio["state"], kallio["kind"]) == ("Kallio 2", "12", "alert", "air")
    assert kallio["alerts"] == ["a1f0"]
    assert [value["quantity"] for value in kallio["values"]] == ["pm2_5", "pm10", "no2"]
    assert kallio["headline"] == str(KALLIO_PM)
    states = {one["name"]: one["state"] for one in stations.values()}
    assert states["Paloheinä"] == "stale"
    assert states["Pirkkola"] == "flagged"
    assert stations["fmi-106950"]["values"][2]["flags"] == ["stuck"]


def test_vehicles_have_a_delay_and_the_device_of_its_series(page_server: httpx.Client, city: City):
    vehicles = page_server.get("/api/vehicles").json()
    assert len(vehicles) == 48
    first = vehicles[0]
    assert first["vehicle"] == "0012/00000"
    start = datetime.now(UTC) - timedelta(minutes=10)
    key = city.delay(first["device_id"], start, 45.0)
    described = page_server.get("/api/series", params={"device": first["device_id"]}).json()
    assert [(one["series_id"], one["quantity"]) for one in described] == [(str(key), "delay")]
    found = page_server.get(f"/api/series/{key}").json()
    assert found["points"] == []
    assert [(window["value"], window["window_s"]) for window in found["windows"]] == [(45.0, 300)]
    assert {vehicle["delay_s"] for vehicle in vehicles} >= {-95, 520}


def test_vehicles_that_went_home_are_not_shown(page_server: httpx.Client, city: City):
    city.vehicle("0012/99999", "1", 60.2, 24.9, time=datetime.now(UTC) - timedelta(seconds=301))
    assert "0012/99999" not in {one["vehicle"] for one in page_server.get("/api/vehicles").json()}


def test_the_overview_counts_what_there_is(page_server: httpx.Client, city: City):
    city.tell_progress()
    overview = page_server.get("/api/overview").json()
    assert overview["counts"]["readings"] == city.rows
    assert overview["counts"]["stations"] == 82
    assert overview["alerts_open"] == {"info": 0, "warning": 1, "critical": 1}
    assert overview["dead_letters"] == {"bad_json": 2, "not_finite": 1}
    assert overview["tier"] in {"timescaledb-apache", "timescaledb-community"}
    assert overview["health"]["status"] == "ok"


def test_a_series_is_thinned_out_without_losing_its_peaks(page_server: httpx.Client, city: City):
    end = datetime.now(UTC) + timedelta(seconds=1)
    query = {"start": (end - timedelta(hours=2)).isoformat(), "end": end.isoformat()}
    every = page_server.get(f"/api/series/{KALLIO_PM}", params={**query, "points": 1000}).json()
    few = page_server.get(f"/api/series/{KALLIO_PM}", params={**query, "points": 4}).json()
    assert [point["n"] for point in every["points"]] == [1] * 30
    assert len(few["points"]) <= 4
    assert sum(point["n"] for point in few["points"]) == 30
    assert max(point["max"] for point in few["points"]) == max(point["value"] for point in every["points"])
    assert every["series"]["quantity"] == "pm2_5"
    assert len(every["windows"]) == 15
    assert all(window["window_s"] == 300 for window in every["windows"])
    assert every["points"] == sorted(every["points"], key=lambda point: point["time"])


def test_the_range_is_half_open(page_server: httpx.Client, city: City):
    key = city.series("half-open", "no2")
    moments = [datetime(2026, 11, 1, 12, minute, tzinfo=UTC) for minute in (0, 1, 2)]
    for moment in moments:
        city.reading(key, 1.0, moment)
    query = {"start": moments[0].isoformat(), "end": moments[2].isoformat()}
    points = page_server.get(f"/api/series/{key}", params=query).json()["points"]
    assert [point["time"] for point in points] == ["2026-11-01T12:00:00Z", "2026-11-01T12:01:00Z"]
    city.connection.execute("DELETE FROM latest WHERE series_id = %s", (key,))


def test_alerts_come_newest_first_and_one_comes_with_its_steps(page_server: httpx.Client):
    assert [one["alert_id"] for one in page_server.get("/api/alerts").json()] == ["a1f0", "a0e3"]
    assert len(page_server.get("/api/alerts", params={"limit": 1}).json()) == 1
    one = page_server.get("/api/alerts/a1f0").json()
    assert [step["state"] for step in one["transitions"]] == ["pending", "firing"]
    assert set(one["texts"]) == {"fi", "sv", "en"}
    assert one["evidence"] == {"mean": 41.0, "n": 5}


def test_only_active_leaves_out_what_is_over(page_server: httpx.Client, city: City):
    city.alert("a2", "resolved", 2)
    ids = [one["alert_id"] for one in page_server.get("/api/alerts", params={"active": True}).json()]
    assert ids == ["a1f0", "a0e3"]
    city.connection.execute("DELETE FROM alerts WHERE alert_id = 'a2'")


def test_districts_are_sixty_and_cached(page_server: httpx.Client):
    first = page_server.get("/api/districts")
    assert first.headers["content-type"] == "application/geo+json"
    assert len(first.json()["features"]) == 60
    assert first.headers["content-encoding"] == "gzip"
    tag = first.headers["etag"]
    for asked in (tag, f"W/{tag}", f'"other", {tag}'):
        again = page_server.get("/api/districts", headers={"If-None-Match": asked})
        assert (again.status_code, again.content) == (304, b"")
    assert page_server.get("/api/districts", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/health", "/api/nothing", "/static/js/main.js", "/metrics", "/api/stream"])
def test_every_answer_is_guarded(page_server: httpx.Client, path: str):
    with page_server.stream("GET", path) as answer:
        headers = answer.headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_another_site_may_not_read_us(page_server: httpx.Client):
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    assert "access-control-allow-origin" not in page_server.options("/api/stations", headers=asked).headers
    assert "access-control-allow-origin" not in page_server.get("/api/stations", headers=asked).headers


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
@pytest.mark.parametrize(
    "path", ["/api/series/{}", "/api/alerts/{}", "/api/alerts?limit={}", "/api/series?kind={}", "/static/{}"]
)
def test_hostile_words_are_refused_as_a_problem_and_change_nothing(
    page_server: httpx.Client, city: City, path: str, text: str
):
    before = city.connection.execute("SELECT count(*) FROM readings").fetchone()
    answer = page_server.get(path.format(quote(text, safe="")))
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert "psycopg" not in answer.text
    assert "Traceback" not in answer.text
    assert city.connection.execute("SELECT count(*) FROM readings").fetchone() == before


@pytest.mark.parametrize("text", [" 1", "+1", "1 ", "01x", "--1", "0x10"])
def test_a_series_id_is_digits_and_nothing_else(page_server: httpx.Client, text: str):
    assert page_server.get(f"/api/series/{quote(text, safe='')}").status_code == 422


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"start": "2026-11-24T10:00:00"}, "zone"),
        ({"start": "2026-11-24T10:00:00Z", "end": "2026-11-24T10:00:00Z"}, "range"),
        ({"start": "2026-11-24T11:00:00Z", "end": "2026-11-24T10:00:00Z"}, "range"),
        ({"start": "2020-01-01T00:00:00Z", "end": "2026-11-24T10:00:00Z"}, "range"),
        ({"end": "0001-01-01T00:00:00Z"}, "time"),
        ({"start": "yesterday"}, "start"),
        ({"points": "0"}, "points"),
        ({"points": "1000000"}, "points"),
        ({"window_s": "-1"}, "window_s"),
    ],
)
def test_parameters_that_mean_nothing_are_named(page_server: httpx.Client, query: dict[str, str], word: str):
    answer = page_server.get(f"/api/series/{KALLIO_PM}", params=query)
    assert answer.status_code == 422
    assert word in answer.text


@pytest.mark.parametrize(("key", "status"), [(2**63, 404), (-(2**63) - 1, 404), (2**63 - 1, 404), (KALLIO_PM, 200)])
def test_a_series_id_beyond_64_bits_is_nobodys(page_server: httpx.Client, key: int, status: int):
    assert page_server.get(f"/api/series/{key}").status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(page_server: httpx.Client, method: str):
    answer = page_server.request(method, "/api/alerts", json={"x": 1})
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")


def test_the_reader_role_can_neither_write_nor_see_secrets(city: City):
    info = {**city.settings.database.conninfo("reader"), "user": "pulssi_reader"}
    with psycopg.connect(**info, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM latest")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT secret FROM subscriptions")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT payload FROM dead_letters")


def test_the_description_is_complete(page_server: httpx.Client):
    document = page_server.get("/api/openapi.json").json()
    models = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation.get("description"), path
            assert all(parameter.get("description") for parameter in operation.get("parameters", ())), path
    ours = {name: model for name, model in models.items() if not name.startswith(("HTTP", "Validation"))}
    assert {Sync.__name__, Tick.__name__, "Problem", "Station"} <= ours.keys()
    for name, model in ours.items():
        for key, described in model.get("properties", {}).items():
            assert described.get("description") or "$ref" in json.dumps(described), f"{name}.{key}"


def test_metrics_follow_the_contract(page_server: httpx.Client):
    page_server.get("/api/health")
    text = page_server.get("/metrics").text
    assert 'pulssi_connected{component="api",target="database"} 1.0' in text
    assert 'pulssi_limit{component="api",what="live_streams"} 500.0' in text
    assert 'pulssi_age_seconds{component="api",what="data"}' in text


def test_the_page_is_served_small_and_its_libraries_for_good(page_server: httpx.Client):
    page = page_server.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    with page_server.stream("GET", "/static/vendor/leaflet-1.9.4/leaflet.js") as answer:
        assert "immutable" in answer.headers["cache-control"]
        small = b"".join(answer.iter_raw())
    assert len(small) < len(gzip.decompress(small)) / 2
    assert page_server.get("/static/../app.py").status_code == 404


# Each row: age of the newest data, how far behind, what health must say.
@pytest.mark.parametrize(
    ("age_s", "behind", "status", "reasons"),
    [
        (1, 0, "ok", 0),
        (119, 10_000, "ok", 0),
        (125, 0, "degraded", 1),
        (1, 10_001, "degraded", 1),
        (125, 10_001, "degraded", 2),
    ],
)
def test_health_tells_the_truth(
    page_server: httpx.Client, city: City, age_s: int, behind: int, status: str, reasons: int
):
    city.tell_progress()
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    for topic in (city.settings.kafka.topics.readings, city.settings.kafka.topics.vehicles):
        city.progress(topic, city.rows, at=at)
    city.progress(city.settings.kafka.topics.indicators, 1, at=at, next_offset=100, log_end=100 + behind)
    answer = page_server.get("/api/health")
    found = answer.json()
    assert (found["status"], len(found["reasons"])) == (status, reasons)
    assert answer.status_code == (200 if status == "ok" else 503)
    assert answer.headers["cache-control"] == "no-store"
    assert age_s <= found["data_age_s"] < age_s + 5
    assert found["sink_lag_records"] == behind
    city.tell_progress()


@pytest.fixture(scope="module")
def empty(each_tier: Database):
    """A reader on tables without a row, on each tier."""
    settings = settings_for(each_tier)
    outcome = migrate(settings.database)
    with Reader(settings, Metrics("api"), logs.setup("api")) as reader:
        yield reader, outcome.tier


def test_a_city_without_data_is_no_error_but_not_healthy(empty):
    reader, tier = empty
    snapshot = reader.snapshot(full=True)
    assert snapshot.overview.tier == tier
    assert snapshot.overview.health.status == "degraded"
    assert snapshot.overview.health.reasons == ("nothing has been stored yet",)
    assert (snapshot.stations, snapshot.vehicles, snapshot.alerts) == ({}, {}, {})
    assert reader.alerts(active=False, limit=10) == []
    assert reader.alert("0") is None
