"""Migrations, tiers and roles on real databases of every tier."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from deploy.local import Database
from pulssi.errors import ConfigurationError
from pulssi.settings import DatabaseSettings
from storage.database import connect
from storage.migrate import Migration, history, migrate, shipped
from storage.tiers import Tier, tier_of
from tests.fixtures.local_services import new_database
from tests.fixtures.storage import database_settings

pytestmark = pytest.mark.service

SHAPE = """
    SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'migrations' ORDER BY 1, 2"""
KEYS = """
    SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1, 2"""


@pytest.fixture
def empty(each_tier: Database) -> DatabaseSettings:
    """A database without anything in it."""
    with new_database(each_tier) as fresh:
        yield database_settings(fresh)


def shape(settings: DatabaseSettings) -> list:
    with connect(settings) as connection:
        return connection.execute(SHAPE).fetchall() + connection.execute(KEYS).fetchall()


def test_from_empty_once(empty, each_tier):
    first, second = migrate(empty), migrate(empty)
    assert first.tier == {"timescaledb": Tier.APACHE, "postgres": Tier.PLAIN}[each_tier.tier]
    assert first.applied
    assert second.applied == ()
    assert (first.notices == ()) == (each_tier.tier == "timescaledb")
    with connect(empty) as connection:
        assert tuple(history(connection)) == first.applied
        assert tier_of(connection) == first.tier


def test_from_the_version_before_with_rows_in_it(empty):
    """Whichever file is the newest: the tables are the same as from empty, and the rows are still there."""
    whole = shipped()
    names = migrate(empty, whole[:-2]).applied
    with connect(empty) as connection:
        connection.execute("SELECT ensure_days('readings', ARRAY['2026-11-24']::date[])")
        connection.execute("INSERT INTO readings VALUES (1, '2026-11-24T12:00Z', now(), 1.5, 0, -1)")
    rest = migrate(empty, whole).applied
    with connect(empty) as connection:
        assert connection.execute("SELECT value FROM readings").fetchall() == [(1.5,)]
        assert connection.execute("SELECT n, mean FROM readings_hourly").fetchall() == [(1, 1.5)]
        assert tuple(history(connection)) == names + rest


def test_both_tiers_have_the_same_tables(database, plain_database):
    shapes = []
    for server in (database, plain_database):
        with new_database(server) as fresh:
            settings = database_settings(fresh)
            migrate(settings)
            shapes.append([row for row in shape(settings) if not str(row[0]).startswith("_")])
    assert shapes[0] == shapes[1]


def test_a_changed_file_is_refused_and_nothing_is_done(empty):
    first, *others = shipped()
    migrate(empty, [first])
    changed = Migration(first.name, first.mark, first.text + "-- better\n")
    with pytest.raises(ConfigurationError, match=r"0001_tables.sql was changed"):
        migrate(empty, [changed, *others])
    with connect(empty) as connection:
        assert list(history(connection)) == [first.name]


def test_a_file_that_fails_leaves_nothing_behind(empty):
    broken = Migration("0009_broken.sql", None, "CREATE TABLE half (x int); SELECT no_such_function();")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        migrate(empty, [*shipped(), broken])
    with connect(empty) as connection:
        assert connection.execute("SELECT to_regclass('half') IS NULL").fetchone() == (True,)
        assert "0009_broken.sql" not in history(connection)
    assert migrate(empty).applied == ()


def test_two_at_once_apply_each_file_once(empty):
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: migrate(empty), range(4)))
    assert sorted(len(outcome.applied) for outcome in outcomes)[:3] == [0, 0, 0]


def test_days_are_kept_apart_and_old_ones_dropped_whole(empty):
    migrate(empty)
    with connect(empty) as connection:
        for table in ("readings", "reading_flags", "vehicle_events", "indicators"):
            connection.execute("SELECT ensure_days(%s::regclass, %s::date[])", (table, ["2026-11-20", "2026-11-24"]))
            connection.execute("SELECT ensure_days(%s::regclass, %s::date[])", (table, ["2026-11-24"]))
        for day in (20, 24):
            connection.execute(
                "INSERT INTO readings VALUES (1, make_timestamptz(2026, 11, %s, 23, 59, 59.9, 'UTC'), now(), 1, 0, -1)",
                (day,),
            )
        dropped = "SELECT drop_days('readings', %s)"
        assert connection.execute(dropped, ("2026-11-20T23:00Z",)).fetchone() == (0,)
        assert connection.execute(dropped, ("2026-11-21T00:00Z",)).fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM readings").fetchone() == (1,)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_reading_is_a_number(tier_database, value):
    with connect(tier_database) as connection:
        connection.execute("SELECT ensure_days('readings', ARRAY['2026-11-24']::date[])")
        statement = "INSERT INTO readings VALUES (1, '2026-11-24', now(), %s::float8, 0, -1)"
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(statement, (value,))


def test_the_reader_reads_and_does_no_more(tier_database):
    with connect(tier_database, "reader", autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM readings").fetchone() is not None
        assert connection.execute("SHOW statement_timeout").fetchone() == ("10s",)
        assert connection.execute("SELECT reason FROM dead_letters").fetchall() == []
        for statement in ("SELECT payload FROM dead_letters", "SELECT * FROM subscriptions", "SELECT * FROM outbox"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        connection.execute("SET default_transaction_read_only = off")
        for statement in (
            "INSERT INTO latest VALUES (1, now(), now(), 1, 0)",
            "DELETE FROM series",
            "SELECT drop_days('readings', now())",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_writer_writes_and_does_not_change_tables(tier_database):
    with connect(tier_database, "writer", autocommit=True) as connection:
        connection.execute("SELECT drop_days('readings', '2001-01-01Z')")
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("10s",)
        for statement in ("DROP TABLE series", "CREATE TABLE mine (x int)", "DELETE FROM migrations"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_role_that_may_not_make_roles_says_so(empty, each_tier):
    name = f"{empty.name}_plain_owner"
    with psycopg.connect(each_tier.conninfo, autocommit=True) as server:
        server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
        server.execute(f"ALTER DATABASE {empty.name} OWNER TO {name}")
        try:
            own = empty.model_copy(update={"user": name, "password": "x", "reader": f"{name}_r"})
            own = DatabaseSettings(**{**own.model_dump(), "password": "x"})
            notices = migrate(own).notices
        finally:
            server.execute(f"DROP DATABASE {empty.name} WITH (FORCE)")
            server.execute(f"DROP ROLE {name}")
            server.execute(f"CREATE DATABASE {empty.name}")
    assert f"the reader role {name}_r does not exist and {name} may not create it" in notices
