"""`pulssi alerts` on a real Kafka: killed at random moments, it says what a run without a fault says."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from alerts.board import Board
from pulssi.commands.topics import apply_topics
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import AlertTransition, to_json
from pulssi.partitions import Record
from pulssi.series import partition_of
from pulssi.settings import KafkaSettings
from pulssi.topics import Content, headers
from tests.fixtures.alert_rows import INFOS, RULES, RULES_TOML, facts, random_rows
from tests.fixtures.processes import wait_for

pytestmark = pytest.mark.service
PARTITIONS = 2


class City:
    """Topics of one test, what was sent and what came."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.settings = KafkaSettings(bootstrap=bootstrap, prefix=f"t{secrets.token_hex(4)}", partitions=PARTITIONS)
        self.topics = self.settings.topics
        apply_topics(self.settings)
        (folder / "rules.toml").write_text(RULES_TOML, encoding="utf-8")
        self.environment = os.environ | {
            "PULSSI_KAFKA__BOOTSTRAP": bootstrap,
            "PULSSI_KAFKA__PREFIX": self.topics.prefix,
            "PULSSI_KAFKA__PARTITIONS": str(PARTITIONS),
            "PULSSI_ALERTS__GROUP": f"{self.topics.prefix}-alerts",
            "PULSSI_ALERTS__RULES_FILE": str(folder / "rules.toml"),
            "PULSSI_ALERTS__SNAPSHOT_INTERVAL_S": "0.2",
            "PULSSI_ALERTS__QUIET_S": "3600",
            "PULSSI_METRICS__ALERTS": "-1",
            "PULSSI_INSTANCE": self.topics.prefix,
        }
        self.log = (folder / "log").open("w")
        self.processes: list[subprocess.Popen[str]] = []
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x", "enable.auto.commit": False})
        self.consumer.assign([TopicPartition(self.topics.alerts, p, 0) for p in range(PARTITIONS)])
        self.sent: dict[int, list[Record]] = {p: [] for p in range(PARTITIONS)}
        self.came: list[AlertTransition] = []
        self.places: dict[str, set[int]] = {}

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "pulssi", "alerts"], env=self.environment, stderr=self.log, text=True
        )
        self.processes.append(process)
        return process

    def describe(self) -> None:
        for info in INFOS.values():
            self.producer.produce(
                self.topics.series, to_json(info), str(info.series_id), headers=headers(Content.SERIES)
            )
        assert self.producer.flush(20) == 0

    def send(self, rows: Indicators, rng: random.Random) -> None:
        """Rows as the streams send them: frames of readings and frames of windows, by partition."""
        owner = np.array([partition_of(INFOS[int(one)].device_id, PARTITIONS) for one in rows.series_id])
        reading = rows.kind == IndicatorKind.READING
        at = 0
        while at < len(rows):
            end = min(len(rows), at + rng.randint(1, 8))
            inside = np.arange(len(rows))
            inside = (inside >= at) & (inside < end)
            for partition in range(PARTITIONS):
                for kinds, mask in (("reading", reading), ("window", ~reading)):
                    part = rows.take(inside & mask & (owner == partition))
                    if len(part):
                        self._send(part.encode(), partition, kinds)
            at = end

    def _send(self, value: bytes, partition: int, kinds: str) -> None:
        about = headers(Content.INDICATORS, kinds=kinds)
        self.producer.produce(self.topics.indicators, value, partition=partition, headers=about)
        self.sent[partition].append(Record(len(self.sent[partition]), None, value, dict(about)))

    def expected(self) -> list[tuple]:
        """What a run without a fault says."""
        said = []
        for records in self.sent.values():
            board = Board(RULES, INFOS.get)
            for record in records:
                said += board.see(Indicators.decode(record.value), 0)
        return facts(said)

    def read(self) -> None:
        for message in self.consumer.consume(1000, 0.1):
            assert message.error() is None
            one = msgspec.json.decode(message.value(), type=AlertTransition)
            assert message.key() == one.alert_id.encode()
            self.came.append(one)
            self.places.setdefault(one.device_id, set()).add(message.partition())

    def has_read(self, n: int) -> bool:
        self.read()
        return len({(one.alert_id, one.sequence) for one in self.came}) >= n


@pytest.fixture
def city(kafka: str, tmp_path: Path) -> Iterator[City]:
    made = City(kafka, tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
            process.wait()
    made.consumer.close()
    made.log.close()


def test_killed_at_random_moments_the_alerts_are_those_of_a_run_without_a_fault(city):
    rng = random.Random(11)
    rows = random_rows(rng, 1200)
    city.describe()
    process = city.start()
    for i in range(4):
        city.send(rows.take(np.arange(300 * i, 300 * (i + 1))), rng)
        city.producer.flush(20)
        enough = len({(one.alert_id, one.sequence) for one in city.came}) + rng.randint(1, 20)  # the random moment
        wait_for(lambda: city.has_read(enough), f"alerts of part {i}", 120)  # noqa: B023  called at once
        if i < 3:
            process.kill()
            process.wait()
            process = city.start()
    wanted = city.expected()
    wait_for(lambda: city.has_read(len(wanted)), f"{len(wanted)} transitions", 120)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    city.read()
    assert facts(city.came) == wanted
    assert all(places == {partition_of(device, PARTITIONS)} for device, places in city.places.items())


def test_wrong_rules_end_the_start_with_every_problem(city, tmp_path):
    (tmp_path / "rules.toml").write_text("[[rule]]\nid = 'A'\nseverity = 'x'\n", encoding="utf-8")
    process = city.start()
    assert process.wait(60) == 2
    city.log.flush()
    told = (tmp_path / "log").read_text()
    assert "id:" in told
    assert "severity:" in told
