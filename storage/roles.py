"""roles: the owner migrates, the writer writes rows, the reader reads what operators and the public may see"""

from __future__ import annotations

from psycopg import sql

from pulssi.settings import DatabaseSettings
from storage.database import Connection

# The reader sees neither subscribers with their addresses and secrets nor the bytes that somebody sent us.
_READER_TABLES = (
    "series",
    "readings",
    "reading_flags",
    "readings_hourly",
    "latest",
    "vehicle_events",
    "vehicles_latest",
    "indicators",
    "indicators_latest",
    "alert_transitions",
    "alerts",
    "offsets",
    "latency_counts",
)
_DEAD_LETTER_COLUMNS = (
    'dead_letter_id, reason, detail, device, source, mqtt_topic, topic, partition, "offset", time, redriven_time'
)


def grant(connection: Connection, settings: DatabaseSettings) -> list[str]:
    """Give writer and reader their rights, and make the roles when we may; the same every time.

    Returns:
        Sentences for the operator: roles that are missing and that we may not make.
    """
    notices = []
    wanted = {"writer": settings.writer, "reader": settings.reader}
    for role, name in wanted.items():
        if name is None or name == settings.user:
            continue
        if not _make(connection, name, settings.secret()):
            notices.append(f"the {role} role {name} does not exist and {settings.user} may not create it")
            continue
        {"writer": _grant_writer, "reader": _grant_reader}[role](connection, name)
    return notices


def _make(connection: Connection, name: str, password: str | None) -> bool:
    """Whether the role is there, made now if need be."""
    row = connection.execute(
        """SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s),
                  (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user)""",
        (name,),
    ).fetchone()
    exists, may = row or (False, False)
    if exists or not may:
        return bool(exists)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    if password is not None:
        # Hashed here, so that the password is in no statement and no log of the server.
        hashed = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(hashed)))
    return True


def _grant_writer(connection: Connection, name: str) -> None:
    role = sql.Identifier(name)
    connection.execute(
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(role)
    )
    connection.execute(sql.SQL("REVOKE INSERT, UPDATE, DELETE ON migrations FROM {}").format(role))
    connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION ensure_days, drop_days TO {}").format(role))


def _grant_reader(connection: Connection, name: str) -> None:
    role = sql.Identifier(name)
    tables = sql.SQL(", ").join(map(sql.Identifier, _READER_TABLES))
    connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(tables, role))
    connection.execute(sql.SQL("GRANT SELECT ({}) ON dead_letters TO {}").format(sql.SQL(_DEAD_LETTER_COLUMNS), role))
    for setting in ("statement_timeout = '10s'", "default_transaction_read_only = on"):
        connection.execute(
            sql.SQL("ALTER ROLE {} IN DATABASE {} SET {}").format(
                role, sql.Identifier(connection.info.dbname), sql.SQL(setting)
            )
        )
