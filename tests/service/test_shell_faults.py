"""The Faust shell on a real Kafka: whatever happens to workers, results are those of a run without faults."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from pulssi.shell.snapshots import Slot, Snapshot, pack
from pulssi.shell.topic_ids import topic_ids
from tests.service.shell_harness import PARTITIONS, Bench, load, wait_until

pytestmark = pytest.mark.service


@pytest.fixture
def bench(kafka: str, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(seed: int, sources: int = 1) -> Bench:
        made.append(Bench(kafka, tmp_path, seed, sources))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_worker_computes_every_record_of_two_sources_in_order_and_stops_with_exit_0(bench):
    run = bench(seed=1, sources=2)
    run.produce(500)
    worker = run.worker()
    worker.wait_for("assigned")
    run.produce(500)
    run.wait_done()
    assert worker.stop() == 0
    run.assert_exact()


def test_sigkill_at_random_moments_changes_nothing(bench):
    run = bench(seed=2, sources=2)
    moments = random.Random(2)
    producing = run.produce_in_background(bursts=250, pause_s=0.05)
    for _ in range(5):
        worker = run.worker("steady")
        worker.wait_for("assigned")
        time.sleep(moments.uniform(0.1, 1.5))
        worker.kill()
    worker = run.worker("steady")
    worker.wait_for("assigned")
    producing.join()
    run.wait_done()
    assert worker.stop() == 0
    run.assert_exact()


def test_sigkill_in_the_middle_of_writing_a_large_state_changes_nothing(bench):
    run = bench(seed=10)
    moments = random.Random(10)
    large = {"STATE_BYTES": str(1 << 20), "PART_BYTES": str(1 << 14), "INTERVAL_S": "0.1"}
    for _ in range(4):
        worker = run.worker("steady", **large)
        worker.wait_for("assigned")
        run.produce(200)
        time.sleep(moments.uniform(0.15, 0.6))
        worker.kill()
    assert run.unfinished() > 0, "it takes a second to write the states of all partitions"
    worker = run.worker("steady", **large)
    run.wait_done()
    assert worker.stop() == 0
    run.assert_exact()
    assert all(len(one.state) > 1 << 20 and one.snapshot.parts for one in run.snapshots().values())


def test_a_killed_worker_goes_on_under_its_old_name_before_its_session_ends(bench):
    run = bench(seed=3)
    session = {"SESSION_MS": "30000"}
    worker = run.worker("steady", **session)
    worker.wait_for("assigned")
    run.produce(100)
    run.wait_done()
    worker.kill()
    run.produce(100)
    again = run.worker("steady", **session)
    run.wait_done(timeout_s=20.0)  # a worker of another name would wait for the end of the session
    assert again.stop() == 0
    run.assert_exact()


def test_workers_that_join_and_leave_share_the_partitions_without_loss(bench):
    run = bench(seed=4, sources=2)
    producing = run.produce_in_background(bursts=250, pause_s=0.05)
    first = run.worker()
    first.wait_for("assigned")
    second = run.worker()
    second.wait_for("assigned")
    wait_until(lambda: _assigned(first) + _assigned(second) == 2 * 4, "the two share the partitions")
    assert first.stop() == 0
    wait_until(lambda: _assigned(second) == 2 * 4, "the second has all partitions", timeout_s=5.0)
    third = run.worker()
    third.wait_for("assigned")
    second.kill()
    producing.join()
    run.wait_done()
    assert third.stop() == 0
    run.assert_exact()


def test_a_stopped_worker_that_wakes_up_after_its_partitions_moved_does_no_harm(bench):
    run = bench(seed=5)
    producing = run.produce_in_background(bursts=300, pause_s=0.05)
    sleeper = run.worker("sleeper", INTERVAL_S="0.3")
    sleeper.wait_for("assigned")
    time.sleep(1.0)
    sleeper.signal(signal.SIGSTOP)
    other = run.worker("other", INTERVAL_S="0.3")
    other.wait_for("assigned", timeout_s=40.0)
    wait_until(lambda: _assigned(other) == 4, "the other has all partitions", timeout_s=20.0)
    time.sleep(1.0)
    sleeper.signal(signal.SIGCONT)
    producing.join()
    run.wait_done()
    assert {sleeper.stop(), other.stop()} == {0}
    run.assert_exact()


def _assigned(worker) -> int:
    return len(worker.events("assigned")[-1]["offsets"])


def test_kafka_killed_and_back_is_waited_for(bench, local_services):
    run = bench(seed=6, sources=2)
    worker = run.worker()
    worker.wait_for("assigned")
    run.produce(200)
    run.wait_done()
    local_services.kill("kafka")
    local_services.wait_ready("kafka")
    run.produce(200)
    run.wait_done()
    assert worker.process.poll() is None
    assert worker.stop() == 0
    run.assert_exact()


def test_a_worker_started_before_kafka_has_its_topics_waits_for_them(kafka, tmp_path):
    run = Bench(kafka, tmp_path, seed=7, create=False)
    try:
        worker = run.worker()
        worker.wait_for("away")
        run.create_topics()
        worker.wait_for("assigned")
        run.produce(50)
        run.wait_done()
        assert worker.stop() == 0
        run.assert_exact()
    finally:
        run.close()


def test_the_snapshot_that_has_come_furthest_is_loaded_wherever_it_stands(bench):
    run = bench(seed=8)
    slot = Slot(run.group, run.topics.readings, 1)
    other = Slot("another-application", run.topics.readings, 1)
    place = slot.place(run.topics)
    producer = KafkaProducer(bootstrap_servers=run.bootstrap, acks="all")

    def write(one: Slot, next_offset: int, generation: int) -> None:
        state = b"%d" % next_offset
        value = Snapshot(next_offset, generation, len(state), pack(state)).encode()
        producer.send(run.topics.state, key=one.key, value=value, partition=place).get(10)

    write(slot, 90, 1)
    write(slot, 100, 2)
    write(slot, 50, 9)  # of a worker that woke up late
    for offset in range(600):
        producer.send(
            run.topics.state, key=other.key, value=Snapshot(offset, 1, 1, pack(b"x")).encode(), partition=place
        )
    producer.close()
    found = asyncio.run(load(run.bootstrap, run.topics, [slot, other, Slot(run.group, run.topics.readings, 2)]))
    assert {one: (loaded.snapshot.next_offset, loaded.state) for one, loaded in found.items()} == {
        slot: (100, b"100"),
        other: (599, b"x"),
    }


def test_a_worker_is_stopped_while_kafka_is_away_and_goes_on_when_it_is_back(bench, local_services):
    run = bench(seed=9)
    worker = run.worker()
    worker.wait_for("assigned")
    run.produce(200)
    run.wait_done()
    run.produce(100)
    kafka = local_services.supervisor.pid("kafka")
    os.kill(kafka, signal.SIGSTOP)
    try:
        assert worker.stop(timeout_s=40) == 0
    finally:
        os.kill(kafka, signal.SIGCONT)
    again = run.worker()
    run.wait_done()
    assert again.stop() == 0
    run.assert_exact()


def test_a_topic_that_was_deleted_and_made_again_is_read_from_its_beginning(bench):
    run = bench(seed=11)
    source = run.topics.readings
    worker = run.worker()
    worker.wait_for("assigned")
    run.produce(400)
    run.wait_done()
    run.make_again(source)
    assert worker.process.wait(40) == 1  # it was processing the old one
    run.produce(40)
    again = run.worker()
    again.wait_for("topic_made_anew", count=PARTITIONS)
    place = topic_ids(run.bootstrap, [source])[source].bytes
    slots = [Slot(run.group, source, partition) for partition in range(PARTITIONS)]

    def states() -> list[bytes]:
        return [one.state for one in asyncio.run(load(run.bootstrap, run.topics, slots, place)).values()]

    expected = [values[-1] for values in run.expected().values()]
    wait_until(lambda: states() == expected, "the states are those of the new topic")
    assert again.stop() == 0
    third = run.worker()
    third.wait_for("assigned")
    assert not third.events("topic_made_anew")
    assert sum(third.events("assigned")[-1]["offsets"].values()) == 40
    assert third.stop() == 0
