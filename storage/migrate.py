"""migrations: SQL files applied once, in order, under a lock; applied files may never change

A file is called `NNNN_name.sql`, or `NNNN_name.<mark>.sql` when it belongs to some tiers only (`timescaledb`,
`community`, `plain`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from psycopg import sql

from pulssi.errors import ConfigurationError
from pulssi.settings import DatabaseSettings
from storage.database import Connection, connect
from storage.roles import grant
from storage.tiers import Tier, install_extension, tier_of

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+(?:\.([a-z]+))?\.sql")
_LOCK = 0x70756C737369  # "pulssi": one migration at a time in a database
_HISTORY = """CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY, sha256 text NOT NULL, applied_time timestamptz NOT NULL DEFAULT now())"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file.

    Attributes:
        name: of the file; its number gives the order.
        mark: tiers that it belongs to, None for all.
        text: the statements.
    """

    name: str
    mark: str | None
    text: str

    @property
    def sha256(self) -> str:
        """Checksum by which a changed file is noticed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the migrations did.

    Attributes:
        tier: the tier of the database now.
        applied: names of the files applied by this run.
        notices: sentences for the operator.
    """

    tier: Tier
    applied: tuple[str, ...]
    notices: tuple[str, ...]


def shipped() -> list[Migration]:
    """The files of this version, in order."""
    return read(files("storage") / "migrations")


def read(folder: Traversable) -> list[Migration]:
    """The files of a folder, in order.

    Raises:
        ConfigurationError: a file whose name says no order.
    """
    found = []
    for file in folder.iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise ConfigurationError(f"{file.name}: a migration is called NNNN_name.sql or NNNN_name.<mark>.sql")
        found.append(Migration(file.name, match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.name)


def pending(wanted: Sequence[Migration], applied: dict[str, str], tier: Tier) -> list[Migration]:
    """Files still to apply.

    Args:
        wanted: every file of this version.
        applied: name and checksum of those that the database has.
        tier: of the database.

    Raises:
        ConfigurationError: the history of the database is not the beginning of ours; every difference.
    """
    known = {migration.name: migration for migration in wanted}
    problems = [
        f"migration {name} was applied to this database but is not part of this version"
        for name in applied.keys() - known
    ]
    problems += [
        f"migration {name} was changed after it had been applied"
        for name, sha256 in applied.items()
        if name in known and known[name].sha256 != sha256
    ]
    missing = [one for one in wanted if one.name not in applied and (one.mark is None or one.mark in tier.marks)]
    newest = max(applied, default="")
    # A database whose licence was raised gets the files of its new tier late.
    problems += [
        f"migration {one.name} is older than {newest}, which was applied without it"
        for one in missing
        if one.name < newest and one.mark != "community"
    ]
    if problems:
        raise ConfigurationError(sorted(problems))
    return missing


def migrate(settings: DatabaseSettings, migrations: Iterable[Migration] | None = None) -> Outcome:
    """Bring a database to this version: extension, tables, roles and rights.

    Raises:
        ConfigurationError: the history differs, or a role may not do what it must.
        psycopg.OperationalError: the database is away.
    """
    wanted = list(shipped() if migrations is None else migrations)
    with connect(settings, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        notices = _prepare(connection, settings)
        applied = history(connection)
        tier = tier_of(connection)
        todo = pending(wanted, applied, tier)
        for migration in todo:
            _apply(connection, migration)
        notices += grant(connection, settings)
    return Outcome(tier, tuple(one.name for one in todo), tuple(notices))


def history(connection: Connection) -> dict[str, str]:
    """Name and checksum of the applied files; empty for a new database."""
    if connection.execute("SELECT to_regclass('migrations') IS NULL").fetchone() == (True,):
        return {}
    return dict(connection.execute("SELECT name, sha256 FROM migrations ORDER BY name").fetchall())


def _prepare(connection: Connection, settings: DatabaseSettings) -> list[str]:
    """The table of the history, and the extension when the database is new."""
    notices = []
    if not history(connection):
        with connect(settings, autocommit=True) as own:
            reason = install_extension(own)
        notices = [] if reason is None else [reason]
    connection.execute(_HISTORY)
    return notices


def _apply(connection: Connection, migration: Migration) -> None:
    """Run one file and write it into the history, both or neither."""
    with connection.transaction():
        connection.execute(sql.SQL(migration.text))
        connection.execute("INSERT INTO migrations (name, sha256) VALUES (%s, %s)", (migration.name, migration.sha256))
