"""An incident between stations of different partitions becomes an alert of that pair, whoever is killed."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from alerts.rules import load_rules
from pulssi.commands.backtest.core import Frame, backtest
from pulssi.commands.topics import apply_topics
from pulssi.messages import AlertState, AlertTransition, to_json
from pulssi.series import partition_of
from pulssi.settings import Settings, load_settings
from pulssi.topics import Content, headers
from streams.catalogue import Catalogue
from tests.fixtures.corridor import INCIDENT, INFOS, MINUTE_US, STATIONS, frames
from tests.fixtures.processes import wait_for

pytestmark = pytest.mark.service
PARTITIONS = 4
WEEK_S = 7 * 86_400  # so few readings that a partition may read days in one go
UPSTREAM, DOWNSTREAM = STATIONS[1:3]
RULES = [rule for rule in load_rules() if rule.id == "traffic-incident"]


def facts(transitions: list[AlertTransition]) -> set[tuple[object, ...]]:
    """What is the same in every run."""
    return {
        (one.alert_id, one.sequence, one.state, one.device_id, one.onset_time, one.event_time, one.receive_time)
        for one in transitions
    }


class City:
    """Topics, `pulssi streams` and `pulssi alerts`."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        prefix = f"t{secrets.token_hex(4)}"
        self.settings: Settings = load_settings(
            None,
            kafka={"bootstrap": bootstrap, "prefix": prefix, "partitions": PARTITIONS},
            streams={"group_lateness_s_max": WEEK_S},
        )
        self.topics = self.settings.kafka.topics
        apply_topics(self.settings.kafka)
        self.environment = os.environ | {
            "PULSSI_KAFKA__BOOTSTRAP": bootstrap,
            "PULSSI_KAFKA__PREFIX": prefix,
            "PULSSI_KAFKA__PARTITIONS": str(PARTITIONS),
            "PULSSI_STREAMS__GROUP": f"{prefix}-streams",
            "PULSSI_STREAMS__GROUP_LATENESS_S_MAX": str(WEEK_S),
            "PULSSI_STREAMS__SNAPSHOT_INTERVAL_S": "0.2",
            "PULSSI_ALERTS__GROUP": f"{prefix}-alerts",
            "PULSSI_METRICS__STREAMS": "-1",
            "PULSSI_METRICS__ALERTS": "-1",
            "PULSSI_INSTANCE": prefix,
        }
        self.file = folder / "log"
        self.log = self.file.open("w")
        self.processes: list[subprocess.Popen[str]] = []
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x", "enable.auto.commit": False})
        self.consumer.assign([TopicPartition(self.topics.alerts, p, 0) for p in range(PARTITIONS)])
        self.came: list[AlertTransition] = []

    def start(self, name: str) -> subprocess.Popen[str]:
        """Start one of our processes."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pulssi", name], env=self.environment, stderr=self.log, text=True
        )
        self.processes.append(process)
        return process

    def assigned(self) -> int:
        """How often the streams have begun to work."""
        lines = self.file.read_text().splitlines()
        return sum('"assigned"' in line and '"streams"' in line for line in lines)

    def describe(self) -> None:
        """All series, as a gateway does."""
        for one in INFOS.values():
            self.producer.produce(self.topics.series, to_json(one), str(one.series_id))
        assert self.producer.flush(20) == 0

    def send(self, some: list[Frame]) -> None:
        """Readings, as a gateway does."""
        for one in some:
            self.producer.produce(
                self.topics.readings, one.value, partition=one.partition, headers=headers(Content.READINGS)
            )
        assert self.producer.flush(20) == 0

    def incidents(self) -> list[AlertTransition]:
        """Steps of alerts of incidents that have come."""
        for message in self.consumer.consume(1000, 0.1):
            assert message.error() is None
            self.came.append(msgspec.json.decode(message.value(), type=AlertTransition))
        return [one for one in self.came if one.rule == "traffic-incident"]


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


def test_an_incident_between_two_partitions_is_an_alert_of_its_pair_whoever_is_killed(city):
    assert partition_of(UPSTREAM, PARTITIONS) != partition_of(DOWNSTREAM, PARTITIONS)
    sent = frames(0, PARTITIONS)
    catalogue = Catalogue()
    for one in INFOS.values():
        catalogue.add(one)
    wanted = facts(backtest(sent, RULES, city.settings, catalogue).transitions)
    assert {one[2] for one in wanted} == {AlertState.FIRING, AlertState.RESOLVED}

    city.describe()
    moments, place = random.Random(7), len(sent) * 2 // 5
    city.send(sent[:place])  # a backlog: one partition is read long before another
    city.start("alerts")
    streams = city.start("streams")
    for kill, part in enumerate(np.array_split(np.arange(place, len(sent)), 3)):
        wait_for(lambda before=kill: city.assigned() > before, "assigned", 60)
        city.send([sent[one] for one in part.tolist()])
        time.sleep(moments.uniform(0.0, 1.0))
        streams.send_signal(signal.SIGKILL)
        streams.wait()
        streams = city.start("streams")
    wait_for(lambda: facts(city.incidents()) >= wanted, f"{len(wanted)} steps", 90)
    found = city.incidents()
    assert facts(found) == wanted

    fired = next(one for one in found if one.state == AlertState.FIRING)
    assert (fired.device_id, fired.quantity) == (UPSTREAM, "incident")
    assert fired.name == f"Station {UPSTREAM} \u2192 Station {DOWNSTREAM}"
    assert INCIDENT[1] <= fired.onset_time // MINUTE_US <= INCIDENT[8]
    assert "trafikstörning" in fired.texts["sv"]
    assert all(fired.name in text for text in fired.texts.values())
