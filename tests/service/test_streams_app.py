"""`pulssi streams` on a real Kafka, killed at random moments: every row and state is that of an undisturbed run."""

from __future__ import annotations

import asyncio
import os
import random
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.local.ports import free_port
from pulssi.frames import VEHICLES, IndicatorKind, Indicators, Readings, encode
from pulssi.messages import SeriesInfo, to_json
from pulssi.partitions import Record
from pulssi.series import partition_of, series_id
from pulssi.settings import Settings, load_settings
from pulssi.shell.snapshots import Slot
from pulssi.topics import Content, headers
from streams.catalogue import Catalogue
from streams.readings_processor import ReadingsProcessor
from streams.transit.processor import TransitProcessor
from tests.service.shell_harness import load, wait_until

pytestmark = pytest.mark.service

PARTITIONS = 2
START_US = 1_790_000_000_000_000
DEVICES = [f"kallio-{number}" for number in range(40)]
ROUTES = ["1001", "2550", "4400"]


class City:
    """Topics with readings and vehicle events, and the processors' own answer to them."""

    def __init__(self, bootstrap: str, seed: int, **more: int) -> None:
        self.random = np.random.default_rng(seed)
        kafka = {"bootstrap": bootstrap, "prefix": f"t{secrets.token_hex(4)}", "partitions": PARTITIONS}
        streams = {"windows_s": (60, 180), "idle_s": 10**8, "snapshot_interval_s": 0.4, "group": kafka["prefix"]}
        self.metrics = free_port()
        self.settings: Settings = load_settings(None, kafka=kafka, streams={**streams, **more})
        self.topics = self.settings.kafka.topics
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        specs = self.topics.specs()
        admin.create_topics([NewTopic(one.name, one.partitions, 1, topic_configs=one.config) for one in specs])
        admin.close()
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "lz4"}
        )
        self.frames: dict[tuple[str, int], list[bytes]] = {
            (topic, partition): []
            for topic in (self.topics.readings, self.topics.vehicles)
            for partition in range(PARTITIONS)
        }
        self.catalogue = Catalogue()
        for device in DEVICES:
            info = SeriesInfo(
                series_id=series_id(device, "pm2_5"), device_id=device, quantity="pm2_5", unit="ug/m3", kind="air"
            )
            self.catalogue.add(info)
            self._producer.produce(self.topics.series, to_json(info), key=str(info.series_id).encode())
        self._producer.flush()
        self.second = 0

    def environment(self) -> dict[str, str]:
        """Settings of the worker."""
        kafka, streams = self.settings.kafka, self.settings.streams
        return {
            **os.environ,
            "PULSSI_INSTANCE": "steady",
            "PULSSI_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "PULSSI_KAFKA__PREFIX": kafka.prefix,
            "PULSSI_KAFKA__PARTITIONS": str(kafka.partitions),
            "PULSSI_STREAMS__WINDOWS_S": "[60,180]",
            "PULSSI_STREAMS__IDLE_S": str(streams.idle_s),
            "PULSSI_STREAMS__SNAPSHOT_INTERVAL_S": str(streams.snapshot_interval_s),
            "PULSSI_STREAMS__GROUP": streams.group,
            "PULSSI_STREAMS__HORIZON_S": str(streams.horizon_s),
            "PULSSI_STREAMS__SERIES_MAX": str(streams.series_max),
            "PULSSI_METRICS__STREAMS": str(self.metrics),
            "PULSSI_LOG__FORMAT": "json",
        }

    def live(self, seconds: int) -> None:
        """So many seconds of event time: every device and a few buses, some of it late, a broken frame now and then."""
        for _ in range(seconds):
            self.second += 1
            for partition in range(PARTITIONS):
                mine = [device for device in DEVICES if partition_of(device, PARTITIONS) == partition]
                self._send(self.topics.readings, partition, self._readings(mine))
                self._send(self.topics.vehicles, partition, self._vehicles(partition))
                if self.random.random() < 0.02:
                    self._send(self.topics.readings, partition, b"broken")
        assert self._producer.flush(30) == 0

    def _send(self, topic: str, partition: int, frame: bytes) -> None:
        self.frames[topic, partition].append(frame)
        self._producer.produce(topic, frame, partition=partition, headers=headers(Content.READINGS))

    def _times(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        receive = START_US + self.second * 1_000_000 + self.random.integers(0, 10**6, count)
        lateness = self.random.choice([0, 0, 0, 0, 5, 50, 200], count) * 1_000_000
        return receive - lateness, receive

    def _readings(self, devices: list[str]) -> bytes:
        n = len(devices)
        event, receive = self._times(n)
        ids = np.array([series_id(device, "pm2_5") for device in devices])
        values = np.round(self.random.normal(12, 4, n), 1)
        return Readings(ids, event, receive, values, np.zeros(n, np.uint16), np.full(n, self.second)).encode()

    def _vehicles(self, partition: int) -> bytes:
        event, receive = self._times(3)
        rows = [
            dict.fromkeys(VEHICLES.names)
            | {
                "event_id": int(self.random.integers(-(2**62), 2**62)),
                "vehicle": f"0012/{partition}{number:04d}",
                "journey_type": "journey",
                "event": str(self.random.choice(["vp", "dep"])),
                "route": str(self.random.choice(ROUTES)),
                "direction": 1,
                "delay_s": int(self.random.integers(-90, 400)),
                "scheduled_time": START_US,
                "event_time": int(event[number]),
                "receive_time": int(receive[number]),
            }
            for number in range(3)
        ]
        return encode(pa.RecordBatch.from_pylist(rows, schema=VEHICLES))

    def again(self) -> None:
        """The last frame of every partition once more."""
        for (topic, partition), frames in self.frames.items():
            self._send(topic, partition, frames[-1])
        assert self._producer.flush(30) == 0

    def undisturbed(self) -> tuple[list[tuple[object, ...]], dict[tuple[str, int], bytes], int]:
        """Rows, states and dead letters of the processors, fed in this process."""
        rows: list[tuple[object, ...]] = []
        states, dead = {}, 0
        for (topic, partition), frames in self.frames.items():
            processor = self._processor(topic, partition)
            for offset, frame in enumerate(frames):
                for output in processor.process([Record(offset, None, frame, {})]):
                    dead += output.topic == self.topics.deadletters
                    if output.topic == self.topics.indicators:
                        rows += rows_of(output.value)
            states[topic, partition] = processor.snapshot()
        return rows, states, dead

    def _processor(self, topic: str, partition: int) -> ReadingsProcessor | TransitProcessor:
        if topic == self.topics.readings:
            return ReadingsProcessor(partition, self.settings.streams, self.topics, self.catalogue.limits)
        return TransitProcessor(partition, self.settings.streams, self.topics)

    def noted(self) -> Counter[tuple[str, str]]:
        """What the processors, fed in this process, made of it all, by topic and kind."""
        found: Counter[tuple[str, str]] = Counter()
        for (topic, partition), frames in self.frames.items():
            processor = self._processor(topic, partition)
            processor.process([Record(offset, None, frame, {}) for offset, frame in enumerate(frames)])
            processor.snapshot()  # vehicles are counted when their events are looked at
            found.update({(topic, what): n for what, n in processor.noted().items()})
        return found

    def shown(self) -> Counter[tuple[str, str]]:
        """The same as the worker's `/metrics` tell it, of the topics that it is fed."""
        with urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        pattern = re.compile(r'pulssi_noted_total{component="streams",source="(.*)",what="(.*)"} (.*)')
        matches = filter(None, map(pattern.fullmatch, lines))
        fed = {topic for topic, _ in self.frames}
        return Counter({(one[1], one[2]): int(float(one[3])) for one in matches if one[1] in fed})

    def saved(self) -> dict[tuple[str, int], tuple[int, bytes]]:
        """Next offset and state of each partition, as a restart would load it."""
        slots = [Slot(self.settings.streams.group, *place) for place in self.frames]
        found = asyncio.run(load(self.settings.kafka.bootstrap, self.topics, slots))
        return {(slot.topic, slot.partition): (one.snapshot.next_offset, one.state) for slot, one in found.items()}

    def values(self, topic: str) -> list[bytes]:
        """All records of a topic."""
        consumer = KafkaConsumer(bootstrap_servers=self.settings.kafka.bootstrap, group_id=None)
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        consumer.seek_to_beginning(*places)
        found: list[bytes] = []
        while any(consumer.position(place) < ends[place] for place in places):
            found += [record.value for records in consumer.poll(200).values() for record in records]
        consumer.close()
        return found


def rows_of(frame: bytes) -> list[tuple[object, ...]]:
    columns = Indicators.decode(frame)
    # NaN is not equal to itself; its text is.
    return list(
        zip(*([repr(one) for one in getattr(columns, name).tolist()] for name in Indicators.SCHEMA.names), strict=True)
    )


def newest(rows: list[tuple[object, ...]]) -> set[tuple[object, ...]]:
    """The last revision of each window."""
    place = Indicators.SCHEMA.get_field_index("revision")
    by_key = {row[:4]: row for row in sorted(rows, key=lambda row: int(str(row[place])))}
    return set(by_key.values())


def readings(rows: list[tuple[object, ...]]) -> set[tuple[object, ...]]:
    """Rows of single readings."""
    return {row for row in rows if row[1] == repr(int(IndicatorKind.READING))}


def start(city: City, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        pulssi = Path(sys.executable).with_name("pulssi")
        return subprocess.Popen([pulssi, "streams"], env=city.environment(), stderr=file)


def test_readings_and_vehicles_survive_sigkill_bit_for_bit(kafka, tmp_path):
    city = City(kafka, seed=11)
    moments = random.Random(11)
    log = tmp_path / "log"
    city.live(100)
    for _ in range(3):
        worker = start(city, log)
        assigned = log.read_text().count('"assigned"') if log.exists() else 0
        wait_until(lambda before=assigned: log.read_text().count('"assigned"') > before, "assigned")
        city.live(40)
        time.sleep(moments.uniform(0.1, 1.5))
        worker.kill()
        worker.wait(10)
    worker = start(city, log)
    city.live(40)
    ends = {place: len(frames) for place, frames in city.frames.items()}
    wait_until(lambda: {place: one[0] for place, one in city.saved().items()} == ends, "everything is saved")
    worker.terminate()
    assert worker.wait(20) == 0, log.read_text()
    rows, states, dead = city.undisturbed()
    assert {place: state for place, (_, state) in city.saved().items()} == states
    found = [row for frame in city.values(city.topics.indicators) for row in rows_of(frame)]
    assert len(set(rows)) == len(rows)
    # A revision that a later record of the same batch replaces is not given out.
    assert set(found) <= set(rows)
    assert newest(found) == newest(rows)
    assert readings(found) == readings(rows)
    assert len(set(city.values(city.topics.deadletters))) == min(dead, 1)
    assert len(city.values(city.topics.deadletters)) >= dead


def test_whatever_is_passed_over_is_counted_in_the_metrics_of_the_worker(kafka, tmp_path):
    city = City(kafka, seed=12, horizon_s=120, series_max=2)
    city.live(150)
    city.again()
    expected = city.noted()
    readings, vehicles = city.topics.readings, city.topics.vehicles
    for kind in ("readings", "late", "duplicates", "flagged", "without_state"):
        assert expected[readings, kind] > 0
    for kind in ("events", "late", "duplicates", "vehicles_without_state"):
        assert expected[vehicles, kind] > 0
    worker = start(city, tmp_path / "log")
    try:
        wait_until(lambda: "assigned" in (tmp_path / "log").read_text(), "assigned")
        batchwise = [(readings, "windows"), (readings, "revisions")]  # the fewer, the larger the batches
        for place in (*batchwise, (readings, "slid")):
            del expected[place]

        def told() -> bool:
            shown = city.shown()
            del shown[readings, "slid"]  # depends on batches, too
            there = all(shown.pop(place, 0) > 0 for place in batchwise)
            return there and dict(shown) == dict(expected)

        wait_until(told, f"{expected} is shown")
    finally:
        worker.terminate()
        worker.wait(20)
