"""`pulssi bench path`: the whole way from MQTT to the database and to an alert, on this machine, generator included

First as many messages as the system takes (QoS 1, one reading each, 200 bytes), until every reading is in the database
and the alert processor has seen it; then a quiet 2,000 messages a second, for the latency from a sensor's clock to its
alert. The last line is one JSON object; `lost` counts readings that were sent and are not stored as they were sent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from deploy.local import Child, LocalServices
from storage.queries import latencies
from tests.bench.measure import Meter, Peer, Result, rss_mib
from tests.system import System, wait_for

ROOT = Path(__file__).resolve().parents[2]
OURS = ("gateway", "streams", "alerts", "sink")
SERVERS = ("mosquitto", "kafka", "database")
DEVICES = 1_000
FLOOD_RATE_PER_S = 60_000
"""More than the path takes; what waits fits into the broker's queue of a million messages."""
QUIET_RATE_PER_S = 2_000
DRAIN_S_MAX = 300.0
NAIVE_RATE_PER_S = 4_000
NAIVE_S = 4.0
RULES = """
[[rule]]
id = "loud"
severity = "warning"
scope = { quantity = ["sound_level"] }
threshold = { above = 99, clear = 98 }
"""


def main(argv: list[str]) -> int:
    """Run the bench; exit 1 when a reading was lost."""
    parser = argparse.ArgumentParser(prog="pulssi bench path", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of the flood")
    parser.add_argument("--quiet-seconds", type=float, default=10.0, help="of the quiet run")
    parser.add_argument("--no-peers", action="store_true", help="only our own system")
    parser.add_argument("--json", action="store_true", help="the last line is JSON in any case")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="pulssi-bench-") as folder:
        root = Path(folder)
        with LocalServices(root / "services", report=_say) as services:
            result = _ours(services, root, options)
            if not options.no_peers:
                result.peers["paho + kafka-python + Faust + executemany, a reading at a time"] = _naive(services, root)
    sys.stdout.write(result.to_json() + "\n")
    return 1 if result.more["lost"] else 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _ours(services: LocalServices, root: Path, options: argparse.Namespace) -> Result:
    rules = root / "rules.toml"
    rules.write_text(RULES, encoding="utf-8")
    system = System(services, root / "ours", "path", ALERTS__RULES_FILE=str(rules))
    try:
        system.prepare()
        system.start(*OURS)
        _load(services, root / "warm.npy", rate=500, seconds=4)
        _await_rows(system, [root / "warm.npy"])
        meter = Meter(_pids(system), descendants=True)
        sent = _load(services, root / "flood.npy", rate=FLOOD_RATE_PER_S, seconds=options.seconds)
        _await_rows(system, [root / "warm.npy", root / "flood.npy"])
        seconds, cpu = meter.read()
        memory = sum(rss_mib(system.supervisor.pid(name) or 0) for name in OURS)
        quiet = _quiet(system, root, options.quiet_seconds)
        lost = _lost(system, [root / "warm.npy", root / "flood.npy", root / "quiet.npy"])
    finally:
        system.close()
    n = sent["sent"]
    by_process = {name: spent / n * 1e6 for name, spent in cpu.items()}
    by_process["generator"] = sent["cpu_us_per_message"]
    ours = sum(by_process[name] for name in OURS)
    more = {"lost": lost, "messages": n, **quiet, "cpu_us_by_process": by_process}
    return Result("path", "message", n / seconds, ours, memory, more=more)


def _pids(system: System) -> dict[str, int]:
    ours = {name: system.supervisor.pid(name) or 0 for name in OURS}
    return ours | {name: system.services.supervisor.pid(name) or 0 for name in SERVERS}


def _load(services: LocalServices, rows: Path, *, rate: float, seconds: float) -> dict[str, Any]:
    """Run the generator in a process of its own; what it did."""
    host, port = services.mqtt
    words = ["--host", host, "--port", str(port), "--seconds", str(seconds), "--devices", str(DEVICES)]
    words += ["--rows", str(rows), "--rate", str(rate)]
    done = subprocess.run(
        [sys.executable, "-m", "simulators.load", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _await_rows(system: System, files: list[Path]) -> None:
    """Wait until everything sent is stored and the alert processor has read all that follows from it."""
    expected = sum(len(np.load(file)) for file in files)
    query = "SELECT rows FROM (SELECT sum(rows) AS rows FROM offsets WHERE topic = %s) AS read"
    topic = system.settings.kafka.topics.readings
    with system.database() as connection:
        _until(lambda: _number(connection, query, topic) >= expected, f"{expected} readings stored")
    _until(lambda: _lag(system, "streams") == 0 == _lag(system, "alerts"), "streams and alerts caught up")


def _until(condition: Callable[[], bool], what: str) -> None:
    wait_for(condition, DRAIN_S_MAX, what)


def _number(connection: psycopg.Connection[Any], query: str, *arguments: object) -> int:
    row = connection.execute(query.encode(), arguments).fetchone()
    return int(row[0] or 0) if row else 0


def _lag(system: System, name: str) -> float:
    from pulssi.commands.demo.figures import scrape

    return scrape(system.installation.metrics_ports[name]).lag


def _quiet(system: System, root: Path, seconds: float) -> dict[str, float]:
    """Latencies at 2,000 messages a second, ms."""
    with system.database() as connection:
        connection.execute("TRUNCATE latency_counts, alert_transitions, alerts CASCADE")
        _load(system.services, root / "quiet.npy", rate=QUIET_RATE_PER_S, seconds=seconds)
        _await_rows(system, [root / "warm.npy", root / "flood.npy", root / "quiet.npy"])
        store = {one.what: one for one in latencies(connection, datetime.fromtimestamp(0, UTC))}["readings"]
        row = connection.execute(
            """SELECT percentile_disc(array[0.5, 0.99])
                      WITHIN GROUP (ORDER BY extract(epoch FROM decided_time - event_time) * 1000)::float8[], count(*)
               FROM alert_transitions WHERE sequence = 0"""
        ).fetchone()
    (p50, p99), alerts = row if row and row[0] else ((float("nan"), float("nan")), 0)
    return {
        "latency_ms_p50": float(p50),
        "latency_ms_p99": float(p99),
        "alerts": alerts,
        "store_ms_p50": 1000 * store.p50_s,
        "store_ms_p99": 1000 * store.p99_s,
    }


def _lost(system: System, files: list[Path]) -> int:
    """Readings that were sent and are not stored with their value."""
    sent = np.concatenate([np.load(file) for file in files])
    with system.database() as connection, connection.cursor(binary=True) as cursor:
        cursor.execute("SELECT series_id, (extract(epoch FROM event_time) * 1000000)::bigint, value FROM readings")
        stored = np.array(cursor.fetchall(), dtype=sent.dtype)
    return len(np.setdiff1d(sent, stored))


def _naive(services: LocalServices, root: Path) -> Peer:
    """The same messages through the naive path, until the database and the stream processor have them all."""
    system = System(services, root / "naive", "naive")
    system.run("db", "migrate")
    system.run("topics", "apply")
    topic = system.settings.kafka.topics.readings
    port, bootstrap = str(services.mqtt[1]), services.kafka
    words = {
        "gateway": ("tests.bench.peers.naive_path", port, bootstrap, topic),
        "streams": ("tests.bench._streams_peers", "faust", bootstrap, topic),
        "sink": ("tests.bench.peers.naive_sink", bootstrap, topic, system.installation.database),
    }
    logs = {name: root / f"naive-{name}.log" for name in words}
    children = [
        Child(name, [sys.executable, "-m", *parts], logs[name], cwd=ROOT, restart=False)
        for name, parts in words.items()
    ]
    with system.supervisor, system.database() as connection:
        system.supervisor.start(*children)
        _until(lambda: "subscribed" in logs["gateway"].read_text(), "the naive gateway subscribed")
        pids = {name: system.supervisor.pid(name) or 0 for name in words}
        meter = Meter(pids)
        sent = _load(services, root / "naive.npy", rate=NAIVE_RATE_PER_S, seconds=NAIVE_S)["sent"]
        whole = sent // 1000  # the stream processor says each thousand
        _until(lambda: logs["streams"].read_text().count("\n") >= whole, "the naive stream processor caught up")
        _until(lambda: _number(connection, "SELECT count(*) FROM readings") >= sent, "the naive sink caught up")
        seconds, cpu = meter.read()
    return Peer(sent / seconds, sum(cpu.values()) / sent * 1e6)
