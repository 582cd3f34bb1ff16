"""`pulssi bench sink`: rows per second from a filled Kafka into the hypertable, beside a sink that uses executemany

Readings of 10,000 series in frames of 500, as the gateway makes them. The process of the sink is measured by itself;
what the database spends on the same rows stands apart. `lost` counts readings that are not in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from kafka import KafkaProducer

from deploy.local import Database, LocalServices
from pulssi.commands.topics import apply_topics
from pulssi.frames import Readings
from pulssi.settings import DatabaseSettings, KafkaSettings
from pulssi.times import now_us
from pulssi.topics import Content, headers
from storage.migrate import migrate
from tests.bench.measure import Meter, Peer, Result, rss_mib

ROOT = Path(__file__).resolve().parents[2]
SERIES = 10_000
FRAME = 500
PARTITIONS = 4
WAIT_S = 120.0


@dataclass(slots=True)
class Run:
    """One measured run.

    Attributes:
        rate_per_s: rows a second from the first commit to the last.
        client_us: CPU us a row of the sink's process.
        database_us: CPU us a row of the database server, all its processes.
        rss_mib: memory of the sink at the end.
        lost: rows that are not in the table.
    """

    rate_per_s: float
    client_us: float
    database_us: float
    rss_mib: float
    lost: int


def main(argv: list[str]) -> int:
    """Run the bench; exit 1 when a row was lost."""
    options = _options(argv)
    dist = Path(os.environ.get("PULSSI_LOCAL_DIST") or ROOT / ".pulssi" / "dist")
    with (
        tempfile.TemporaryDirectory(prefix="pulssi-bench-") as folder,
        LocalServices(Path(folder), services={"kafka", "database"}, dist=dist, tier=options.tier) as services,
    ):
        ours = _ours(services, options.rows)
        naive = _naive(services, options.rows // 20)
        tier = services.database.tier
    result = Result(
        "sink",
        "row",
        ours.rate_per_s,
        ours.client_us,
        ours.rss_mib,
        {"kafka-python, JSON, executemany": Peer(naive.rate_per_s, naive.client_us)},
        {
            "tier": tier,
            "rows": options.rows,
            "lost": ours.lost,
            "database_us_per_unit": ours.database_us,
            "peer_database_us_per_unit": naive.database_us,
        },
    )
    sys.stdout.write(result.to_json() + "\n")
    return 1 if ours.lost or naive.lost else 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pulssi bench sink", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="of our run; the peer gets a twentieth")
    parser.add_argument("--tier", choices=["auto", "timescaledb", "postgres"], default="auto")
    parser.add_argument("--json", action="store_true", help="the last line is JSON in any case")
    return parser.parse_args(argv)


def _ours(services: LocalServices, rows: int) -> Run:
    kafka = KafkaSettings(bootstrap=services.kafka, prefix="bench")
    apply_topics(kafka)
    database = _database(services.database, "ours")
    producer = KafkaProducer(bootstrap_servers=services.kafka, acks="all", compression_type="lz4", linger_ms=5)
    for number in range(rows // FRAME):
        frame = _frame(number).encode()
        partition = number % PARTITIONS
        producer.send(kafka.topics.readings, frame, partition=partition, headers=headers(Content.READINGS))
    producer.close()
    environment = {
        "PULSSI_KAFKA__BOOTSTRAP": services.kafka,
        "PULSSI_KAFKA__PREFIX": kafka.prefix,
        "PULSSI_DATABASE__HOST": database.host,
        "PULSSI_DATABASE__PORT": str(database.port),
        "PULSSI_DATABASE__NAME": database.name,
        "PULSSI_DATABASE__USER": database.user,
        "PULSSI_DATABASE__PASSWORD": database.secret() or "",
        "PULSSI_METRICS__SINK": "-1",
    }
    return _measure([sys.executable, "-m", "pulssi", "sink"], environment, database, rows // FRAME * FRAME)


def _naive(services: LocalServices, rows: int) -> Run:
    apply_topics(KafkaSettings(bootstrap=services.kafka, prefix="naive"))
    database = _database(services.database, "naive")
    producer = KafkaProducer(bootstrap_servers=services.kafka, acks="all", compression_type="lz4", linger_ms=5)
    for number in range(rows // FRAME):
        columns = _frame(number)
        for series_id, event_time, value in zip(columns.series_id, columns.event_time, columns.value, strict=True):
            received = int(columns.receive_time[0]) / 1e6
            reading = {"series_id": int(series_id), "t": event_time / 1e6, "received": received, "value": float(value)}
            producer.send("naive.readings", json.dumps(reading).encode(), partition=number % PARTITIONS)
    producer.close()
    conninfo = psycopg.conninfo.make_conninfo(**database.conninfo())
    command = [sys.executable, "-m", "tests.bench.peers.naive_sink", services.kafka, "naive.readings", conninfo]
    return _measure(command, {}, database, rows // FRAME * FRAME)


def _frame(number: int) -> Readings:
    """One frame: 500 of the series, one reading each, a second after the last time it was their turn."""
    columns = Readings.empty(FRAME)
    turn, part = divmod(number, SERIES // FRAME)
    rng = np.random.default_rng(number)
    columns.series_id[:] = (part * FRAME + np.arange(FRAME)) * 0x9E3779B97F4A7C % 2**62
    columns.event_time[:] = now_us() // 3_600_000_000 * 3_600_000_000 + turn * 1_000_000
    columns.receive_time[:] = now_us()
    columns.value[:] = np.round(rng.normal(20, 5, FRAME), 1)
    columns.seq[:] = turn
    return columns


def _database(server: Database, name: str) -> DatabaseSettings:
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    settings = DatabaseSettings(
        host=server.host, port=server.port, name=name, user=server.user, password=server.password
    )
    migrate(settings)
    return settings


def _measure(command: list[str], environment: dict[str, str], database: DatabaseSettings, rows: int) -> Run:
    """Start a sink and measure from its first commit to its last."""
    with psycopg.connect(**database.conninfo(), autocommit=True) as connection:

        def ask(statement: str) -> Any:
            return connection.execute(statement).fetchall()[0][0]

        newest = "SELECT count(*) FROM (SELECT FROM readings LIMIT 1) AS one"
        sink = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})
        try:
            _until(lambda: ask(newest) > 0, "the first row")
            meter = Meter({"sink": sink.pid})
            server = Meter({"database": _parent(ask("SELECT pg_backend_pid()"))}, descendants=True)
            before = ask("SELECT count(*) FROM readings")
            found = _Progress(lambda: ask("SELECT count(*) FROM readings"), rows, before)
            seconds, cpu = meter.read()
            _, server_cpu = server.read()
            done = found.rows - before
            return Run(
                done / seconds,
                cpu["sink"] / done * 1e6,
                server_cpu["database"] / done * 1e6,
                rss_mib(sink.pid),
                rows - found.rows,
            )
        finally:
            sink.terminate()
            sink.wait(20)


class _Progress:
    """Waits until every row is there, looking so seldom that it costs little."""

    def __init__(self, count: Callable[[], int], rows: int, before: int) -> None:
        self.rows = before
        deadline = time.monotonic() + WAIT_S
        while self.rows < rows and time.monotonic() < deadline:
            time.sleep(0.1)
            self.rows = count()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
