"""Topics, sinks and what is in the database, for the tests of the sink on a real Kafka."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from pulssi.commands.topics import apply_topics
from pulssi.settings import DatabaseSettings, Settings, load_settings
from pulssi.topics import Content, headers
from storage.database import connect
from storage.migrate import migrate

PARTITIONS = 4


def wait_until(condition: Callable[[], bool], what: Callable[[], str] | str, timeout_s: float = 40.0) -> None:
    """Look again and again until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what if isinstance(what, str) else what()}"
        time.sleep(0.02)


class SinkProcess:
    """A `pulssi sink` and its log."""

    def __init__(self, bench: Bench, instance: str) -> None:
        self.log_file = bench.folder / f"sink-{instance}-{secrets.token_hex(3)}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PULSSI_")}
        environment |= bench.environment | {"PULSSI_INSTANCE": instance}
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "pulssi", "sink"], env=environment, stderr=log)

    def events(self, name: str) -> list[dict]:
        """Lines of the log with this event."""
        lines = self.log_file.read_text().splitlines()
        parsed = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in parsed if line["event"] == name]

    def partitions(self) -> int:
        """How many partitions it got last."""
        moves = self.events("assigned")
        return len(moves[-1]["partitions"]) if moves else 0

    def wait_for(self, event: str, count: int = 1) -> None:
        """Wait until the log has an event so often."""
        wait_until(lambda: len(self.events(event)) >= count, lambda: f"{event} in {self.log_file.read_text()}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL and reap."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(20)


class Bench:
    """Topics of a prefix of their own, a migrated database, and the sinks between them."""

    def __init__(self, bootstrap: str, database: DatabaseSettings, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PULSSI_KAFKA__BOOTSTRAP": bootstrap,
            "PULSSI_KAFKA__PREFIX": f"sink-{secrets.token_hex(4)}",
            "PULSSI_DATABASE__HOST": database.host,
            "PULSSI_DATABASE__PORT": str(database.port),
            "PULSSI_DATABASE__NAME": database.name,
            "PULSSI_DATABASE__USER": database.user,
            "PULSSI_DATABASE__PASSWORD": database.secret() or "",
            "PULSSI_SINK__GROUP": f"sink-{secrets.token_hex(4)}",
            "PULSSI_SINK__BATCH_ROWS_MAX": "2000",
            "PULSSI_METRICS__SINK": "0",
            "PULSSI_LOG__FORMAT": "json",
        }
        self.settings: Settings = load_settings(**self._sections())
        self.topics = self.settings.kafka.topics
        migrate(self.settings.database)
        apply_topics(self.settings.kafka)
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=2)
        self._sent: list[Any] = []
        self.sinks: list[SinkProcess] = []

    def _sections(self) -> dict[str, dict[str, str]]:
        sections: dict[str, dict[str, str]] = {}
        for name, value in self.environment.items():
            section, _, key = name.removeprefix("PULSSI_").lower().partition("__")
            sections.setdefault(section, {})[key] = value
        return sections

    def start(self, instance: str = "a") -> SinkProcess:
        """A sink; the same instance again is its successor."""
        self.sinks.append(SinkProcess(self, instance))
        return self.sinks[-1]

    def send(self, topic: str, value: bytes, content: Content, partition: int = 0, **heads: str | int) -> None:
        """One record, not waited for until `flush`."""
        key = secrets.token_bytes(4)  # the compacted topic asks for one
        sent = self.producer.send(topic, value, key=key, partition=partition, headers=headers(content, **heads))
        self._sent.append(sent)

    def flush(self) -> None:
        """Wait until Kafka has everything."""
        while self._sent:
            self._sent.pop().get(20)

    def rows(self, statement: str, *values: object) -> list[tuple]:
        """The answer of the database."""
        with connect(self.settings.database) as connection:
            return connection.execute(statement, values).fetchall()

    def stored(self, table: str) -> int:
        """Rows of a table."""
        return self.rows(f"SELECT count(*) FROM {table}")[0][0]

    def taken(self) -> int:
        """Records taken in by all sinks together, counted in the database and so exactly."""
        counted = self.rows("SELECT sum(records)::int FROM offsets WHERE consumer = %s", self.settings.sink.group)
        return counted[0][0] or 0

    def close(self) -> None:
        """End whatever still runs."""
        self.producer.close()
        for sink in self.sinks:
            if sink.process.poll() is None:
                sink.signal(signal.SIGCONT)
                sink.kill()
