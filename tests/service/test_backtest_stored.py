"""A backtest over the database tells what one over the recording tells that was stored there, on every tier."""

import gzip
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import structlog

from pulssi.commands.backtest import recorded
from pulssi.commands.backtest.run import Options, run
from pulssi.errors import ConfigurationError
from pulssi.messages import to_json
from pulssi.settings import Settings
from pulssi.times import iso, parse_iso_us
from pulssi.topics import Content
from streams.catalogue import Catalogue
from tests.service.test_storage_writer import Feed

pytestmark = pytest.mark.service

BEIJING = Path(__file__).parents[1] / "data/beijing_aotizhongxin/2016-11_2016-12.csv.gz"
HOURS = 150
INDEX = """
scope = { quantity = ["air_index_eu"] }
threshold = { on = "air_index", window_s = 3600, above = 4, clear = 3 }
"""
LATE = """
scope = { device = ["route:*"] }
threshold = { on = "delay", window_s = 900, above = 120, clear = 60 }
"""


@pytest.fixture(scope="module")
def air(tmp_path_factory):
    """The first days of a recorded station."""
    file = tmp_path_factory.mktemp("backtest") / "station.csv"
    with gzip.open(BEIJING, "rt") as lines:
        file.write_text("".join(islice(lines, HOURS + 1)))
    return str(file)


@pytest.fixture(scope="module")
def settings(tier_database, air):
    """Settings of a database that holds these days and all recorded buses."""
    settings = Settings(database=tier_database)
    feed = Feed(tier_database)
    for name in (air, "hfp"):
        catalogue = Catalogue()
        records = recorded.load([name], None, "value")
        made = recorded.frames(records, settings, catalogue, Counter(), structlog.get_logger())
        stored = [(frame.content, frame.value) for frame in made]
        described = [(Content.SERIES, to_json(info)) for info in catalogue.infos()]
        for some in (described, stored):
            if some:
                feed(*some)
    feed.writer.close()
    return settings


def told(settings, rule, data, **more):
    report = run(Options(rule, [data], **more), settings).as_dict()
    del report["data"]
    return report


@pytest.mark.parametrize("rule", ["pm2_5-now", "pm10-very-poor", "anomaly = { score = 0.9 }", INDEX])
def test_stored_readings_tell_what_the_recording_tells(settings, air, rule):
    stored, recorded_ = told(settings, rule, "db:"), told(settings, rule, air)
    for report in (stored, recorded_):
        for count in ("start", "end", "days", "readings", "firing_per_day", "refused", "series"):
            del report[count]  # of a single series, only that one is read from the database
    assert stored == recorded_
    assert stored["firing"] > 0


def test_stored_vehicles_tell_what_the_recording_tells(settings):
    stored, recorded_ = told(settings, LATE, "db:"), told(settings, LATE, "hfp")
    assert stored["vehicle_events"] + sum(recorded_.pop("refused").values()) == 1990
    assert stored.pop("refused") == {}
    assert stored == recorded_
    assert stored["firing"] > 0


def test_series_and_times_cut_what_is_read(settings):
    start, end = "2016-11-03T00:00:00Z", "2016-11-05T00:00:00Z"
    whole, cut = told(settings, "pm10-now", "db:"), told(settings, "pm10-now", "db:", start=start, end=end)
    assert (whole["readings"], cut["readings"]) == (HOURS, 2 * 24)
    assert cut["end"] == iso(parse_iso_us(end))
    assert 0 < cut["firing"] < whole["firing"]
    assert {one["alert_id"] for one in cut["alerts"][1:]} <= {one["alert_id"] for one in whole["alerts"]}
    assert told(settings, "pm10-now", "db:", series=("*/no2",))["readings"] == 0


def test_a_database_without_tables_is_a_wrong_setting(each_tier, settings):
    lacking = settings.database.model_copy(update={"name": "postgres"})
    with pytest.raises(ConfigurationError, match='relation "series" does not exist'):
        run(Options("no2-alert", ["db:"]), Settings(database=lacking))
    with pytest.raises(ConfigurationError, match="stands alone"):
        run(Options("no2-alert", ["db:", "epa"]), settings)
