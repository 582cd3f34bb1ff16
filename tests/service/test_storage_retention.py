"""Old days go whole, on every tier, and only when the setting says so."""

from datetime import timedelta

import pytest

from pulssi.errors import ConfigurationError
from pulssi.logs import setup
from pulssi.settings import load_settings
from pulssi.times import US_PER_S, now_us, us_datetime
from pulssi.topics import Content
from storage.retention import Retention
from tests.service.test_storage_writer import Feed
from tests.storage_samples import T0, readings


def settings(database, days: int):
    section = {**database.model_dump(exclude={"password"}), "password": database.secret()}
    return load_settings(database=section, sink={"retention_days": days})


@pytest.fixture
def week(tier_database, owner):
    """Readings of today, of 41 days ago and of 39 days ago."""
    feed = Feed(tier_database)
    today = (now_us() - T0) // US_PER_S
    feed((Content.READINGS, readings([1, 2, 3], [today, today - 41 * 86_400, today - 39 * 86_400]).encode()))
    feed.writer.close()
    return owner


@pytest.mark.service
def test_days_older_than_the_setting_go(week, tier_database):
    Retention(settings(tier_database, 40), setup("sink")).run()
    assert [row[0] for row in week.execute("SELECT series_id FROM readings ORDER BY 1")] == [1, 3]
    oldest = week.execute("SELECT min(event_time) FROM readings").fetchone()[0]
    assert oldest > us_datetime(now_us()) - timedelta(days=40)


@pytest.mark.service
def test_nothing_goes_without_a_setting(week, tier_database):
    Retention(settings(tier_database, 0), setup("sink")).run()
    assert week.execute("SELECT count(*) FROM readings").fetchone() == (3,)


@pytest.mark.parametrize(("days", "fine"), [(0, True), (37, True), (36, False), (1, False)])
def test_what_may_still_come_must_have_room(days, fine):
    if fine:
        assert load_settings(sink={"retention_days": days}).sink.retention_days == days
    else:
        with pytest.raises(ConfigurationError, match="retention_days"):
            load_settings(sink={"retention_days": days})
