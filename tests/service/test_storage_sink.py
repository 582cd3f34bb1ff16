"""The sink as a process between a real Kafka and a real database: nothing lost and nothing twice, whatever ends it."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from pulssi.frames import IndicatorKind, Readings
from pulssi.messages import to_json
from pulssi.topics import Content
from storage import queries
from storage.database import connect
from tests.fixtures.local_services import new_database
from tests.fixtures.storage import database_settings
from tests.service.shell_harness import make_again
from tests.service.storage_harness import PARTITIONS, Bench, wait_until
from tests.storage_samples import T0, indicators, series, transition, vehicles

pytestmark = pytest.mark.service


@pytest.fixture
def bench(kafka, database, tmp_path):
    """A bench on TimescaleDB."""
    with new_database(database) as fresh:
        bench = Bench(kafka, database_settings(fresh), tmp_path)
        yield bench
        bench.close()


class Load:
    """Frames of readings with repetitions in them, sent from a thread, and the sums that must be stored."""

    def __init__(self, bench: Bench, seed: int, frames: int, pause_s: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.bench = bench
        self.frames = frames
        self.pause_s = pause_s
        self.rows = 0
        self.sent: dict[tuple[int, int], float] = {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for number in range(self.frames):
            partition = int(self.rng.integers(PARTITIONS))
            columns = Readings.empty(int(self.rng.integers(1, 200)))
            columns.series_id[:] = partition * 100 + self.rng.integers(0, 20, len(columns))
            columns.event_time[:] = T0 + (number // 3 * 50 + self.rng.integers(0, 60, len(columns))) * 1_000_000
            columns.receive_time[:] = T0
            columns.value[:] = self.rng.normal(size=len(columns))
            for key in zip(columns.series_id.tolist(), columns.event_time.tolist(), columns.value, strict=True):
                self.sent.setdefault(key[:2], float(key[2]))
            self.bench.send(self.bench.topics.readings, columns.encode(), Content.READINGS, partition)
            self.rows += len(columns)
            time.sleep(self.pause_s)
        self.bench.flush()

    def check(self) -> None:
        """Wait until everything is taken, and compare with what was sent."""
        self.thread.join()
        wait_until(lambda: self.bench.taken() >= self.frames, lambda: f"{self.bench.taken()} of {self.frames}")
        assert self.bench.rows("SELECT sum(records)::int, sum(rows)::int FROM offsets") == [(self.frames, self.rows)]
        stored = self.bench.rows(
            "SELECT series_id, (extract(epoch FROM event_time) * 1000000)::bigint, value FROM readings"
        )
        assert {row[:2]: row[2] for row in stored} == self.sent
        assert len(stored) == len(self.sent)
        newest: dict[int, tuple[int, float]] = {}
        for (series_id, event_time), value in self.sent.items():
            newest[series_id] = max(newest.get(series_id, (0, 0.0)), (event_time, value))
        latest = self.bench.rows(
            "SELECT series_id, (extract(epoch FROM event_time) * 1000000)::bigint, value FROM latest"
        )
        assert {row[0]: row[1:] for row in latest} == newest


def test_everything_arrives_where_it_belongs(bench):
    topics = bench.topics
    sink = bench.start()
    load = Load(bench, seed=1, frames=20, pause_s=0.0)
    bench.send(topics.series, series(100), Content.SERIES)
    bench.send(topics.vehicles, vehicles([{"vehicle": "0012/1", "lat": 60.2, "lon": 24.9}]), Content.VEHICLES, 1)
    window = indicators([{"series_id": 100, "value": 3.0}])
    bench.send(topics.indicators, window.encode(), Content.INDICATORS, 2, kinds="window")
    flagged = indicators([{"series_id": 100, "kind": IndicatorKind.READING, "flags": 2}])
    bench.send(topics.indicators, flagged.encode(), Content.INDICATORS, 2, kinds="reading", flagged=1)
    bench.send(topics.indicators, b"not decoded", Content.INDICATORS, 3, kinds="reading", flagged=0)
    bench.send(topics.alerts, to_json(transition(state="firing")), Content.ALERT, 3)
    bench.send(topics.deadletters, b"\xff", Content.DEADLETTER, reason="bad_json", detail="x", source="mqtt")
    load.thread.join()
    bench.flush()
    wait_until(lambda: bench.taken() == 27, lambda: str(bench.taken()))
    tables = ("series", "vehicle_events", "vehicles_latest", "indicators", "indicators_latest", "reading_flags")
    for table in (*tables, "alerts", "alert_transitions", "dead_letters"):
        assert bench.stored(table) == 1, table
    assert bench.rows("SELECT payload FROM dead_letters") == [(b"\xff",)]
    assert sink.stop() == 0
    assert sink.events("stopped")


@pytest.mark.parametrize("seed", [3, 5])
def test_killed_at_random_moments_it_stores_each_row_once(bench, seed):
    rng = random.Random(seed)
    load = Load(bench, seed, frames=400, pause_s=0.01)
    for _ in range(4):
        sink = bench.start()
        if rng.random() < 0.7:
            sink.wait_for("assigned")
        time.sleep(rng.uniform(0.0, 0.6))
        sink.kill()
    bench.start()
    load.check()


def test_two_share_the_partitions_and_one_leaves(bench):
    load = Load(bench, seed=7, frames=600, pause_s=0.01)
    first = bench.start("a")
    first.wait_for("assigned")
    second = bench.start("b")
    second.wait_for("assigned")
    first.wait_for("assigned", 2)
    shared = second.events("assigned")[-1]["partitions"]
    assert 0 < sum(name.startswith(bench.topics.readings) for name in shared) < PARTITIONS
    second.stop()
    load.check()
    assert first.process.poll() is None, first.log_file.read_text()


def test_a_sink_that_was_stopped_too_long_is_fenced(bench):
    load = Load(bench, seed=11, frames=900, pause_s=0.01)
    first = bench.start("a")
    first.wait_for("assigned")
    wait_until(lambda: bench.taken() > 0, "the first rows")
    first.signal(signal.SIGSTOP)
    second = bench.start("b")
    wait_until(  # once the session of the first has ended, and what it had begun in the database
        lambda: len((second.events("assigned") or [{"partitions": ()}])[-1]["partitions"]) == 18,
        "all partitions",
        timeout_s=90.0,
    )
    first.signal(signal.SIGCONT)
    load.check()
    assert first.process.poll() in {None, 3}, first.log_file.read_text()
    assert second.process.poll() is None, second.log_file.read_text()


def test_a_database_that_goes_away_is_waited_for(bench, local_services):
    load = Load(bench, seed=13, frames=300, pause_s=0.01)
    sink = bench.start()
    sink.wait_for("assigned")
    wait_until(lambda: bench.taken() > 0, "the first rows")
    local_services.kill("database")
    local_services.wait_ready("database")
    load.check()
    wait_until(lambda: len(sink.events("away")) == len(sink.events("back")), sink.log_file.read_text)
    assert len(sink.events("away")) <= 2, sink.log_file.read_text()


def test_kafka_that_goes_away_is_waited_for(bench, local_services):
    load = Load(bench, seed=19, frames=1000, pause_s=0.0)
    load.thread.join()
    bench.producer.close()
    bench.environment["PULSSI_SINK__BATCH_ROWS_MAX"] = "500"
    sink = bench.start()
    wait_until(lambda: bench.taken() > 0, sink.log_file.read_text)
    local_services.kill("kafka")
    local_services.wait_ready("kafka")
    load.check()
    assert sink.process.poll() is None, sink.log_file.read_text()
    wait_until(lambda: len(sink.events("away")) == len(sink.events("back")), sink.log_file.read_text)
    assert len(sink.events("away")) <= 1, sink.log_file.read_text()
    assert not sink.events("records are gone before they were stored")


def test_poison_goes_to_the_dead_letters_and_the_rest_is_stored(bench):
    topics = bench.topics
    good = Readings.empty(3)
    good.series_id[:], good.event_time[:], good.receive_time[:] = [1, 2, 3], T0, T0
    bad = good.take(np.array([0, 1, 2]))
    bad.series_id[:], bad.value[:] = [4, 5, 6], [1.0, np.nan, 2.0]
    for value in (b"", b"junk", good.encode()[:-40], good.encode(), bad.encode()):
        bench.send(topics.readings, value, Content.READINGS, 1)
    bench.send(topics.series, b'{"series_id": "x"}', Content.SERIES)
    bench.send(topics.series, series(8, name="a\0b"), Content.SERIES)
    bench.send(topics.series, series(9), Content.SERIES)
    bench.send(topics.alerts, b"\xff\xfe", Content.ALERT)
    bench.flush()
    sink = bench.start()
    wait_until(lambda: bench.taken() == 9, sink.log_file.read_text)
    assert [row[0] for row in bench.rows("SELECT series_id FROM readings ORDER BY 1")] == [1, 2, 3, 4, 6]
    assert bench.rows("SELECT series_id FROM series") == [(9,)]
    letters = dict(bench.rows("SELECT dead_letter_id, reason FROM dead_letters"))
    assert letters == {
        f"{topics.readings}/1/0": "bad_frame",
        f"{topics.readings}/1/1": "bad_frame",
        f"{topics.readings}/1/2": "bad_frame",
        f"{topics.readings}/1/4": "bad_record",
        f"{topics.series}/0/0": "bad_schema",
        f"{topics.series}/0/1": "bad_record",
        f"{topics.alerts}/0/0": "bad_json",
    }


def test_health_is_told_from_the_database(bench):
    load = Load(bench, seed=17, frames=10, pause_s=0.0)
    bench.start()
    load.check()
    with connect(bench.settings.database) as connection:
        found = [one for one in queries.progress(connection) if one.topic == bench.topics.readings]
        since = min(one.updated_time for one in found)
        assert sum(one.next_offset for one in found) == 10
        assert all(one.log_end == one.next_offset for one in found if one.records)
        assert {one.newest_receive_time.timestamp() for one in found if one.records} == {T0 / 1e6}
        bench.send(bench.topics.series, series(1), Content.SERIES)
        bench.flush()
        wait_until(lambda: bench.taken() == 11, "the batch that carries the latencies of the one before")
        [latency] = queries.latencies(connection, since)
        assert (latency.what, latency.n) == ("readings", load.rows)


def reading(number: int) -> bytes:
    columns = Readings.empty(1)
    columns.series_id[:] = 1
    columns.event_time[:] = T0 + number
    columns.receive_time[:] = T0
    return columns.encode()


def test_topics_that_were_deleted_and_made_again_are_refused_until_somebody_accepts_them(bench):
    topics = bench.topics
    accept = [sys.executable, "-m", "pulssi", "db", "accept-topics", "--json"]
    environment = {**os.environ, **bench.environment}

    def accepted() -> list[str]:
        return json.loads(subprocess.run(accept, env=environment, check=True, stdout=subprocess.PIPE).stdout)[
            "accepted"
        ]

    def send(reason: str, numbers: range) -> None:
        bench.send(topics.deadletters, reason.encode(), Content.DEADLETTER, reason=reason, detail="x", source="mqtt")
        for number in numbers:
            bench.send(topics.readings, reading(number), Content.READINGS)
        bench.flush()

    sink = bench.start()
    send("bad_json", range(20))
    wait_until(lambda: bench.taken() == 21, lambda: str(bench.taken()))
    assert accepted() == []
    assert sink.stop() == 0
    gone = {topics.deadletters, topics.readings}
    make_again(bench.settings.kafka.bootstrap, [one for one in topics.specs() if one.name in gone])
    send("bad_topic", range(20, 50))
    refused = bench.start()
    assert refused.process.wait(40) == 2
    said = refused.log_file.read_text()
    assert "pulssi db accept-topics" in said
    assert topics.readings in said
    assert topics.deadletters in said
    assert bench.taken() == 21
    assert accepted() == sorted([topics.deadletters, topics.readings])
    sink = bench.start()
    wait_until(lambda: bench.taken() == 52, lambda: str(bench.taken()))
    assert bench.stored("readings") == 50
    letters = bench.rows("SELECT reason, dead_letter_id LIKE '%%:%%' FROM dead_letters ORDER BY reason")
    assert letters == [("bad_json", True), ("bad_topic", False)]
    assert sink.stop() == 0


def test_a_topic_that_is_made_again_under_a_running_sink_ends_it(bench):
    topics = bench.topics
    sink = bench.start()
    bench.send(topics.readings, reading(1), Content.READINGS)
    bench.flush()
    wait_until(lambda: bench.taken() == 1, lambda: str(bench.taken()))
    make_again(bench.settings.kafka.bootstrap, [one for one in topics.specs() if one.name == topics.readings])
    assert sink.process.wait(60) == 2
    assert "pulssi db accept-topics" in sink.log_file.read_text()
