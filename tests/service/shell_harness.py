"""topics, workers and an oracle for the tests of the Faust shell on a real Kafka"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import TopicAlreadyExistsError

from pulssi.errors import PoisonError
from pulssi.partitions import Record
from pulssi.shell.snapshots import UNKNOWN_TOPIC, Slot, decode
from pulssi.shell.store import Loaded, Store
from pulssi.topics import Topics, TopicSpec
from tests.service.shell_worker import Chain

PARTITIONS = 4


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 40.0) -> None:
    """Look again and again until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(0.02)


async def load(
    bootstrap: str, topics: Topics, slots: Sequence[Slot], source: bytes = UNKNOWN_TOPIC
) -> dict[Slot, Loaded]:
    """What a restart would load."""
    async with Store(bootstrap, topics) as store:
        found = await store.find(slots)
        loaded = {slot: await store.load(slot, found[slot], source) for slot in slots}
    return {slot: one for slot, one in loaded.items() if one is not None}


def make_again(bootstrap: str, specs: Sequence[TopicSpec]) -> None:
    """Delete topics with all their records, and make them again."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_topics([one.name for one in specs])
    wanted = [NewTopic(one.name, one.partitions, 1, topic_configs=one.config) for one in specs]

    def made() -> bool:
        try:
            admin.create_topics(wanted)
        except TopicAlreadyExistsError:  # not gone yet
            return False
        return True

    wait_until(made, "the topics are gone")
    admin.close()


class Worker:
    """One worker process and its log."""

    def __init__(self, bench: Bench, instance: str | None, **more: str) -> None:
        self.log_file = bench.folder / f"worker-{secrets.token_hex(3)}.log"
        environment = {
            **os.environ,
            "BOOTSTRAP": bench.bootstrap,
            "PREFIX": bench.topics.prefix,
            "GROUP": bench.group,
            "SOURCES": " ".join(bench.sources),
            **more,
        }
        environment.pop("PULSSI_INSTANCE", None)
        if instance:
            environment["PULSSI_INSTANCE"] = instance
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.service.shell_worker"],
                env=environment,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )

    def events(self, name: str) -> list[dict[str, object]]:
        """Lines of the log with this event."""
        lines = self.log_file.read_text().splitlines()
        parsed = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in parsed if line["event"] == name]

    def wait_for(self, event: str, count: int = 1, timeout_s: float = 30.0) -> None:
        """Wait until the log has an event so often."""
        wait_until(lambda: len(self.events(event)) >= count, f"{event} in {self.log_file.read_text()}", timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL and reap."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM and the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_s)


class Bench:
    """Fresh topics of one test, what was produced into them, and what must come out."""

    def __init__(self, bootstrap: str, folder: Path, seed: int, sources: int = 1, *, create: bool = True) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self.topics = Topics(f"t{secrets.token_hex(4)}", PARTITIONS)
        self.group = f"{self.topics.prefix}-group"
        self.sources = [self.topics.readings, self.topics.vehicles][:sources]
        self.random = random.Random(seed)
        self.values: dict[tuple[str, int], list[bytes]] = {
            (topic, partition): [] for topic in self.sources for partition in range(PARTITIONS)
        }
        self.workers: list[Worker] = []
        # Not kafka-python: it leaves sockets to the garbage collector while Kafka is away.
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "enable.idempotence": True})
        if create:
            self.create_topics()

    def create_topics(self) -> None:
        """As `pulssi topics apply` does."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.create_topics(
            [NewTopic(one.name, one.partitions, 1, topic_configs=one.config) for one in self.topics.specs()]
        )
        admin.close()

    def make_again(self, topic: str) -> None:
        """Delete a topic with all its records, and make it again."""
        make_again(self.bootstrap, [one for one in self.topics.specs() if one.name == topic])
        for place in self.values:
            if place[0] == topic:
                self.values[place] = []

    def close(self) -> None:
        """End what still runs."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.signal(signal.SIGCONT)
                worker.kill()
        self._producer.flush(10)

    def worker(self, instance: str | None = None, **more: str) -> Worker:
        """Start a worker."""
        self.workers.append(Worker(self, instance, **more))
        return self.workers[-1]

    def produce(self, count: int) -> None:
        """Send `count` records of random length and place, and wait until Kafka has them."""
        for _ in range(count):
            topic, partition = self.random.choice(list(self.values))
            value = self.random.randbytes(self.random.randint(1, 400))
            self.values[topic, partition].append(value)
            self._producer.produce(topic, value=value, partition=partition)
        assert self._producer.flush(30) == 0

    def produce_in_background(self, bursts: int, pause_s: float) -> threading.Thread:
        """Send bursts from a thread while the test does harm."""

        def run() -> None:
            for _ in range(bursts):
                self.produce(self.random.randint(1, 60))
                time.sleep(pause_s)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def records(self, topic: str) -> Iterator[ConsumerRecord]:
        """All records of a topic, until the ends that it has now."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="earliest")
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        consumer.seek_to_beginning(*places)
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(200).values():
                yield from records
        consumer.close()

    def unfinished(self) -> int:
        """Split states of which there are parts and no head."""
        parts, heads = set(), set()
        for record in self.records(self.topics.state):
            if record.value is None:
                continue
            try:
                heads.add(decode(record.value).identity)
            except PoisonError:
                parts.add(record.value[4:12])
        return len(parts - heads)

    def expected(self) -> dict[tuple[str, int], list[bytes]]:
        """The state after each record, by the obvious loop."""
        states = {}
        for (topic, partition), values in self.values.items():
            chain = Chain(topic, partition, None)
            states[topic, partition] = [
                output.value
                for offset, value in enumerate(values)
                for output in chain.process([Record(offset, None, value, {})])
            ]
        return states

    def outputs(self) -> dict[str, set[bytes]]:
        """Every distinct output by its key."""
        found: dict[str, set[bytes]] = {}
        for record in self.records(self.topics.indicators):
            found.setdefault(record.key.decode(), set()).add(record.value)
        return found

    def snapshots(self) -> dict[tuple[str, int], Loaded]:
        """What a restart would load."""
        slots = [Slot(self.group, topic, partition) for topic, partition in self.values]
        found = asyncio.run(load(self.bootstrap, self.topics, slots))
        return {(slot.topic, slot.partition): loaded for slot, loaded in found.items()}

    def wait_done(self, timeout_s: float = 40.0) -> None:
        """Wait until every produced record has been processed and saved."""
        wanted = {place: len(values) for place, values in self.values.items() if values}

        def done() -> bool:
            return {place: one.snapshot.next_offset for place, one in self.snapshots().items()} == wanted

        wait_until(done, f"snapshots at {wanted}; they stand at {self.snapshots()}", timeout_s)

    def assert_exact(self) -> None:
        """Outputs (without repetitions) and final states are those of a run without faults."""
        expected = self.expected()
        loaded = self.snapshots()
        assert {place: one.state[: len(expected[place][-1])] for place, one in loaded.items()} == {
            place: states[-1] for place, states in expected.items() if states
        }
        assert self.outputs() == {
            f"{topic}/{partition}/{offset}": {state}
            for (topic, partition), states in expected.items()
            for offset, state in enumerate(states)
        }
