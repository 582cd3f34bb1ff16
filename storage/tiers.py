"""tiers: what the database offers, found by trying, and shown"""

from __future__ import annotations

from enum import StrEnum

import psycopg

from storage.database import Connection


class Tier(StrEnum):
    """What stands under the tables, from the most to the least."""

    COMMUNITY = "timescaledb-community"
    APACHE = "timescaledb-apache"
    PLAIN = "postgresql"

    @property
    def marks(self) -> frozenset[str]:
        """Marks of the migration files that belong to this tier; files without a mark belong to all."""
        return {
            Tier.COMMUNITY: frozenset({"timescaledb", "community"}),
            Tier.APACHE: frozenset({"timescaledb"}),
            Tier.PLAIN: frozenset({"plain"}),
        }[self]

    @property
    def sentence(self) -> str:
        """What an operator should know about it."""
        return {
            Tier.COMMUNITY: "TimescaleDB with its community features: hypertables, columnstore, continuous aggregates",
            Tier.APACHE: "TimescaleDB, Apache edition: hypertables; no compression, hours are computed when asked for",
            Tier.PLAIN: "PostgreSQL without TimescaleDB: one partition a day; no compression, hours are computed when "
            "asked for",
        }[self]


def tier_of(connection: Connection) -> Tier:
    """The tier that a database is on: that of its tables once it has been migrated, else what is installed in it."""
    row = connection.execute(
        """SELECT (SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('readings')),
                  EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb'),
                  current_setting('timescaledb.license', true)"""
    ).fetchone()
    partitioned, installed, licence = row or (None, False, None)
    if partitioned or not installed:
        return Tier.PLAIN
    return Tier.COMMUNITY if licence == "timescale" else Tier.APACHE


def install_extension(connection: Connection) -> str | None:
    """Install TimescaleDB into an empty database where it can be had.

    The attempt needs a connection of its own: a server that has not preloaded the library closes it.

    Args:
        connection: in autocommit mode; may be closed afterwards.

    Returns:
        Why it cannot be had, None when it is installed.
    """
    offered = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone()
    if offered is None:
        return "the server does not have the extension timescaledb"
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.Error as error:
        return f"the extension timescaledb cannot be installed: {error.diag.message_primary or error}"
    return None
