"""Which migrations are applied, and which histories are refused."""

import pytest

from pulssi.errors import ConfigurationError
from storage.migrate import Migration, pending, read, shipped
from storage.tiers import Tier

FILES = [
    Migration("0001_tables.sql", None, "a"),
    Migration("0002_chunks.plain.sql", "plain", "b"),
    Migration("0002_chunks.timescaledb.sql", "timescaledb", "c"),
    Migration("0003_hours.community.sql", "community", "d"),
    Migration("0004_more.sql", None, "e"),
]


def names(migrations: list[Migration]) -> list[str]:
    return [one.name for one in migrations]


def applied(*wanted: str) -> dict[str, str]:
    return {one.name: one.sha256 for one in FILES if one.name in wanted}


@pytest.mark.parametrize(
    ("tier", "chunks"),
    [
        (Tier.PLAIN, ["0002_chunks.plain.sql"]),
        (Tier.APACHE, ["0002_chunks.timescaledb.sql"]),
        (Tier.COMMUNITY, ["0002_chunks.timescaledb.sql", "0003_hours.community.sql"]),
    ],
)
def test_each_tier_gets_its_files_in_order(tier, chunks):
    assert names(pending(FILES, {}, tier)) == ["0001_tables.sql", *chunks, "0004_more.sql"]


def test_nothing_is_applied_twice():
    done = applied("0001_tables.sql", "0002_chunks.plain.sql")
    assert names(pending(FILES, done, Tier.PLAIN)) == ["0004_more.sql"]


def test_a_raised_licence_brings_its_files_late():
    done = applied("0001_tables.sql", "0002_chunks.timescaledb.sql", "0004_more.sql")
    assert pending(FILES, done, Tier.APACHE) == []
    assert names(pending(FILES, done, Tier.COMMUNITY)) == ["0003_hours.community.sql"]


def test_every_difference_of_the_history_is_told_at_once():
    done = {"0001_tables.sql": "another", "0000_gone.sql": "x", "0004_more.sql": FILES[-1].sha256}
    with pytest.raises(ConfigurationError) as refused:
        pending(FILES, done, Tier.PLAIN)
    assert refused.value.problems == [
        "migration 0000_gone.sql was applied to this database but is not part of this version",
        "migration 0001_tables.sql was changed after it had been applied",
        "migration 0002_chunks.plain.sql is older than 0004_more.sql, which was applied without it",
    ]


def test_a_file_without_a_number_is_refused(tmp_path):
    (tmp_path / "0001_fine.sql").write_text("SELECT 1")
    (tmp_path / "notes.txt").write_text("not a migration")
    assert names(read(tmp_path)) == ["0001_fine.sql"]
    (tmp_path / "tables.sql").write_text("SELECT 1")
    with pytest.raises(ConfigurationError, match=r"^tables\.sql"):
        read(tmp_path)


def test_every_mark_of_a_shipped_file_is_that_of_a_tier():
    marks = {one.mark for one in shipped() if one.mark}
    assert marks <= frozenset().union(*(tier.marks for tier in Tier))
    assert [one.name for one in shipped()] == sorted(one.name for one in shipped())
