"""The live page in a real browser, served by the real server from a real database."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.fixtures.city import KALLIO, TEXTS, City, serve

pytestmark = pytest.mark.browser

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser(browser_executable: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser_executable)
        yield running
        running.close()


@contextmanager
def watched(context: BrowserContext, url: str) -> Iterator[Page]:
    """A page that may neither complain nor ask anybody but its own server."""
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(url) else complaints.append(f"asked {asked.url}"))
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def open_page(browser: Browser, page_server: httpx.Client) -> Iterator[Callable[..., Page]]:
    """Opens the page and waits until it shows the city."""
    url = str(page_server.base_url)
    opened = []

    def open_one(path: str = "/?lang=en", viewport: dict[str, int] = DESK, **options: Any) -> Page:
        context = browser.new_context(viewport=viewport, timezone_id="Pacific/Auckland", **options)
        watch = watched(context, url)
        page = watch.__enter__()
        opened.append(watch)
        page.goto(url + path)
        page.wait_for_selector("body.ready")
        page.evaluate("async () => { window.shown = await (await import('/static/js/main.js')).page }")
        return page

    yield open_one
    for watch in reversed(opened):
        watch.__exit__(None, None, None)


@pytest.fixture
def screenshots(pytestconfig: pytest.Config) -> Path:
    folder = pytestconfig.rootpath / ".pulssi" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_city_is_drawn(open_page):
    page = open_page()
    expect(page.locator("path.district")).to_have_count(60)
    expect(page.locator("#map .station")).to_have_count(82)
    expect(page.locator("path.district.affected")).to_have_count(2)
    kallio = page.locator(f"#map .station[data-device='{KALLIO}']")
    expect(kallio).to_have_attribute("data-state", "alert")
    expect(kallio).to_have_attribute("aria-label", re.compile(r"^Kallio 2: Alert, PM2\.5 \d+(\.\d)? µg/m³, "))
    expect(kallio.locator("svg text")).to_have_text("!")
    expect(page.locator("#connection")).to_contain_text("Live")
    expect(page.locator(".district-name", has_text="Vuosaari")).to_be_visible()
    expect(page).to_have_title("(2) Pulssi · Helsinki now")


def test_a_state_has_a_sign_beside_its_colour(open_page):
    page = open_page()
    signs = page.evaluate(
        """() => Object.fromEntries(['alert', 'stale', 'flagged', 'ok'].map((state) => [state,
             document.querySelector(`#map .station[data-state=${state}] svg`).textContent]))"""
    )
    assert signs == {"alert": "!", "stale": "\u2013", "flagged": "?", "ok": ""}
    shapes = page.locator(".legend-kinds path").evaluate_all("paths => paths.map((path) => path.getAttribute('d'))")
    assert len(set(shapes)) == 3


def test_an_alert_reads_in_three_languages(open_page):
    page = open_page()
    for language in ("fi", "sv", "en"):
        page.locator(f"#languages button[lang={language}]").click()
        expect(page.locator("[data-alert=a1f0] .alert-text")).to_have_text(TEXTS[language])
        expect(page.locator("html")).to_have_attribute("lang", language)
    page.locator("#languages button[lang=sv]").click()
    expect(page.locator(".district-name", has_text="Nordsjö")).to_be_visible()
    page.goto(page.url.split("?")[0])
    expect(page.locator("html")).to_have_attribute("lang", "sv")


def test_a_vehicle_glides_to_where_it_is(open_page, city: City):
    page = open_page()
    vehicle = "0012/00003"
    city.vehicle(vehicle, "717", 60.2000, 24.9500, delay_s=10, heading=90)
    place = f"shown.vehicles.position(shown.vehicles.tracks.get('{vehicle}'), performance.now())"
    page.wait_for_function(f"() => {place}.lat === 60.2 && {place}.lng === 24.95")
    city.vehicle(vehicle, "717", 60.2000, 24.9530, delay_s=10, heading=90)
    page.wait_for_function(f"() => {place}.lng > 24.95 && {place}.lng < 24.953")
    page.wait_for_function(f"() => {place}.lng === 24.953")


def test_a_vehicle_is_painted_where_it_is_and_its_delays_are_drawn(open_page, city: City):
    for minutes in (20, 15, 10):
        city.delay("veh:0012:00003", datetime.now(UTC) - timedelta(minutes=minutes), 60.0 + minutes)
    page = open_page("/?lang=en#vehicle=0012%2F00003")
    expect(page.locator("#detail h2")).to_contain_text("717")
    page.wait_for_function(
        """() => {
            const { vehicles } = shown;
            const at = vehicles.pointOf('0012/00003');
            const ratio = vehicles.canvas.width / vehicles.map.getSize().x;
            return vehicles.context.getImageData(at.x * ratio, at.y * ratio, 1, 1).data[3] > 0;
        }"""
    )
    expect(page.locator("#detail .chart")).to_have_attribute(
        "aria-label", re.compile("^3 points, 69.81 s, latest 70 s$")
    )
    expect(page.locator("#detail .chart-legend")).to_have_text("5 min median")


def test_the_latest_vehicle_leads_the_list_and_a_click_shows_it_on_the_map(open_page, city: City):
    city.vehicle("0012/00042", "23", 60.2300, 25.0900, delay_s=3_000, headsign="Ruskeasuo", heading=10)
    page = open_page()
    page.locator("#tab-vehicles").click()
    rows = page.locator(".list.vehicles .row")
    expect(rows).to_have_count(48)
    expect(rows.first).to_contain_text("+50 min")
    panel, row = page.locator("aside").bounding_box(), rows.first.bounding_box()
    assert row["width"] > panel["width"] - 10, "a row is as wide as its list"
    rows.first.click()
    expect(page.locator("#detail h2")).to_have_text("23 → Ruskeasuo")
    page.wait_for_function("() => shown.city.map.getCenter().distanceTo([60.23, 25.09]) < 100")


def test_a_vehicle_that_is_new_to_the_streams_has_no_chart_yet(open_page):
    page = open_page("/?lang=en#vehicle=0012%2F00005")
    expect(page.locator("#detail .values")).to_contain_text("km/h")
    expect(page.locator("#detail .chart")).to_have_count(0)


def test_a_click_on_an_alert_flies_there_and_shows_the_readings(open_page):
    page = open_page()
    page.locator("[data-alert=a1f0]").click()
    expect(page.locator("#detail h2")).to_have_text("Kallio 2")
    expect(page.locator("#detail .detail-alerts")).to_contain_text(TEXTS["en"])
    expect(page.locator("#detail .chart")).to_have_attribute("aria-label", re.compile(r"^\d+ points, .* µg/m³"))
    expect(page.locator("#detail .chart-legend")).to_contain_text("limit 25")
    expect(page.locator("#detail .chart canvas")).to_be_visible()
    page.wait_for_function("() => shown.city.map.getCenter().distanceTo([60.18739, 24.9506]) < 100")
    page.get_by_role("radio", name=re.compile("^NO₂")).click()
    expect(page.locator("#detail .readout")).to_contain_text("µg/m³")
    expect(page.locator("#detail .chart-legend")).not_to_contain_text("limit")
    page.get_by_role("button", name="6 h").click()
    expect(page.get_by_role("button", name="6 h")).to_have_attribute("aria-pressed", "true")


def test_the_limit_of_a_silence_is_no_line_in_the_chart(open_page):
    page = open_page("/?lang=en#alert=a0e3")
    expect(page.locator("#detail h2")).to_have_text("Kulosaari · st170")
    expect(page.locator("#detail .chart canvas")).to_be_visible()
    expect(page.locator("#detail .chart-legend")).not_to_contain_text("limit")


def test_an_alert_comes_and_goes_while_one_looks(open_page, city: City):
    page = open_page()
    city.alert("a9", "firing", 1, severity="info", device_id="fmi-100742", texts={"en": "Just so that you know."})
    row = page.locator("[data-alert=a9]")
    expect(row).to_contain_text("Just so that you know.")
    expect(page.locator("#map .station[data-device=fmi-100742]")).to_have_attribute("data-state", "alert")
    city.alert("a9", "resolved", 2, severity="info", device_id="fmi-100742", texts={"en": "Just so that you know."})
    expect(row).to_contain_text("Resolved")
    expect(page.locator("#map .station[data-device=fmi-100742]")).to_have_attribute("data-state", "ok")
    city.connection.execute("DELETE FROM alerts WHERE alert_id = 'a9'")
    expect(row).to_have_count(0)


def test_what_a_sensor_says_is_never_markup(open_page, city: City):
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    now = datetime.now(UTC)
    key = city.series("hostile", "no2", name=hostile, lat=60.21, lon=25.05, district="45")
    city.reading(key, 12.0, now)
    city.vehicle("0099/00001", hostile, 60.21, 25.06, headsign=hostile, delay_s=900)
    city.alert("a66", "firing", 1, device_id="hostile", series_id=key, name=hostile, texts={"en": hostile})
    page = open_page()
    expect(page.locator("[data-alert=a66] .alert-text")).to_have_text(hostile)
    page.locator("[data-alert=a66]").click()
    expect(page.locator("#detail h2")).to_have_text(hostile)
    page.keyboard.press("Escape")
    page.locator("#tab-vehicles").click()
    expect(page.locator(".vehicles .row", has_text=hostile)).to_be_visible()
    assert page.locator("img").count() == 0
    assert "owned" not in page.title()
    city.connection.execute("DELETE FROM alerts WHERE alert_id = 'a66'")
    city.connection.execute("DELETE FROM latest WHERE series_id = %s", (key,))
    city.connection.execute("DELETE FROM vehicles_latest WHERE vehicle = '0099/00001'")


def test_everything_can_be_reached_by_keyboard(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator("#tab-alerts").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-stations")).to_be_focused()
    expect(page.locator("#tab-stations")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    page.keyboard.type("paloh")
    expect(page.locator(".stations .row")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#detail h2")).to_have_text("Paloheinä")
    expect(page.locator("#detail h2")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator(".stations .row")).to_be_focused()
    page.locator(f"#map .station[data-device='{KALLIO}']").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#detail h2")).to_have_text("Kallio 2")


def test_everything_that_can_be_pressed_has_a_name(open_page):
    page = open_page()
    for tab in ("stations", "vehicles", "alerts"):
        page.locator(f"#tab-{tab}").click()
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, [role=button], input, summary')].filter((element) =>
                 !(element.getAttribute('aria-label') || element.textContent.trim())).map((one) => one.outerHTML)"""
        )
        assert nameless == []


def test_stations_can_be_left_out_by_their_state(open_page):
    page = open_page()
    page.get_by_role("button", name=re.compile("OK$")).click()
    expect(page.locator("#map .station")).to_have_count(4)
    page.get_by_role("button", name=re.compile("OK$")).click()
    expect(page.locator("#map .station")).to_have_count(82)


def test_old_data_is_not_called_live(open_page, city: City):
    page = open_page()
    at = datetime.now(UTC) - timedelta(minutes=4)
    for topic in (city.settings.kafka.topics.readings, city.settings.kafka.topics.vehicles):
        city.progress(topic, city.rows, at=at)
    expect(page.locator("#connection")).to_have_attribute("data-state", "stale")
    expect(page.locator("#connection")).to_contain_text("Stale data")
    expect(page.locator("#age")).to_have_text("4 min")
    city.tell_progress()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def test_a_database_that_is_away_is_said_and_its_return_too(open_page, city: City):
    page = open_page()
    name = city.settings.database.name
    close = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    city.connection.execute("ALTER ROLE pulssi_reader NOLOGIN")
    city.connection.execute(close, (name,))
    expect(page.locator("#connection")).to_have_attribute("data-state", "away", timeout=15_000)
    expect(page.locator("#connection")).to_contain_text(re.compile(r"Database away · as of \d\d:\d\d:\d\d"))
    expect(page.locator("#map .station")).to_have_count(82)
    city.connection.execute("ALTER ROLE pulssi_reader LOGIN")
    city.tell_progress()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=15_000)


def test_a_server_that_is_away_is_said_and_its_return_shows_what_is_now(browser: Browser, city: City):
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    city.tell_progress()
    with serve(city.settings, PULSSI_API__POLL_MS="250") as (client, _process):
        url, port = str(client.base_url), client.base_url.port
        page.goto(f"{url}/?lang=en")
        expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    expect(page.locator("#connection")).to_have_attribute("data-state", "reconnecting", timeout=15_000)
    expect(page.locator("#connection")).to_contain_text("as of")
    city.alert("a8", "firing", 1, texts={"en": "While you were away."})
    city.tell_progress()
    with serve(city.settings, PULSSI_API__POLL_MS="250", PULSSI_API__PORT=str(port)):
        expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=20_000)
        expect(page.locator("[data-alert=a8]")).to_be_visible()
        context.close()
    city.connection.execute("DELETE FROM alerts WHERE alert_id = 'a8'")


def test_times_are_those_of_the_city_wherever_one_looks_from(open_page, city: City):
    onset = datetime.now(UTC) - timedelta(minutes=3)
    city.alert("a5", "firing", 1, onset=onset, device_id="fmi-100742")
    page = open_page()
    there = onset.astimezone(ZoneInfo("Europe/Helsinki")).strftime("%H:%M")
    expect(page.locator("[data-alert=a5] .meta")).to_contain_text(there)
    city.connection.execute("DELETE FROM alerts WHERE alert_id = 'a5'")


def test_who_asked_for_little_motion_gets_it(open_page, city: City):
    page = open_page(reduced_motion="reduce")
    city.vehicle("0012/00005", "20", 60.1900, 24.9000)
    track = "shown.vehicles.tracks.get('0012/00005')"
    page.wait_for_function(f"() => {track}.to.lat === 60.19")
    assert page.evaluate(f"{track}.from === {track}.to")


@pytest.mark.parametrize(
    ("name", "viewport", "theme", "path"),
    [
        ("light", DESK, "light", "/?lang=en"),
        ("dark", DESK, "dark", "/?lang=fi"),
        ("phone", PHONE, "light", "/?lang=sv"),
        ("station", DESK, "light", f"/?lang=en#station={KALLIO}"),
        ("phone-station", PHONE, "dark", f"/?lang=fi#station={KALLIO}"),
    ],
)
def test_it_fits_and_is_photographed(open_page, screenshots: Path, name, viewport, theme, path):
    page = open_page(path, viewport, color_scheme=theme, reduced_motion="reduce")
    if "station" in path:
        expect(page.locator("#detail .chart canvas")).to_be_visible()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"], "nothing hangs over the edge"
    outside = page.evaluate(
        """() => [...document.querySelectorAll('header *, aside *')].filter((element) => {
             const box = element.getBoundingClientRect();
             return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
           }).map((element) => element.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    picture = page.screenshot(path=screenshots / f"{name}.png")
    assert picture.startswith(b"\x89PNG")


def test_on_a_phone_the_map_comes_into_view_when_it_flies(open_page):
    page = open_page("/?lang=fi", PHONE)
    page.locator("#tab-stations").click()
    row = page.locator(".stations .row").nth(40)
    row.scroll_into_view_if_needed()
    assert page.evaluate("scrollY") > 300
    row.click()
    page.wait_for_function("() => scrollY === 0")


def test_fingers_find_the_buttons_of_a_phone(open_page):
    page = open_page("/?lang=fi", PHONE, has_touch=True)
    for button in page.locator(".map-buttons button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 40
    for marker in page.locator("#map .station").all()[:3]:
        assert marker.bounding_box()["width"] >= 44
