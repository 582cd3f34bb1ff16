"""`pulssi bench gateway`: CPU per message of our gateway and of paho callbacks with one Kafka record per reading

The same messages of one reading (PUBLISH packets of 200 bytes, short form) at QoS 1 from 1,000 devices, through a real
Mosquitto into a real Kafka; each with a `seq`, and so with receipts, unless said otherwise. The last line is one JSON
object; `lost` counts readings that are not in Kafka.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from deploy.local import LocalServices
from deploy.local.ports import free_port
from deploy.processes import HOST, answers
from pulssi.commands.topics import apply_topics
from pulssi.frames import Readings
from pulssi.settings import KafkaSettings
from pulssi.times import now_us
from tests.bench.measure import Meter, Peer, Result, rss_mib
from tests.bench.peers import trains

ROOT = Path(__file__).resolve().parents[2]
DEVICES = 1_000
PACE_PER_S = 10_000
WAIT_S = 120.0


def main(argv: list[str]) -> int:
    """Run the bench; exit 1 when a reading was lost."""
    options = _options(argv)
    dist = Path(os.environ.get("PULSSI_LOCAL_DIST") or ROOT / ".pulssi" / "dist")
    with (
        tempfile.TemporaryDirectory(prefix="pulssi-bench-") as folder,
        LocalServices(Path(folder), services={"mosquitto", "kafka"}, dist=dist, durable=False) as services,
    ):
        bench = _Bench(services, options.messages)
        ours, cpu, memory, lost = bench.ours("short", "kafka-python", 0)
        senml, senml_cpu, _, senml_lost = bench.ours("senml", "kafka-python", 0)
        silent, silent_cpu, _, silent_lost = bench.ours("short", "kafka-python", 0, numbered=False)
        paced, paced_cpu, _, paced_lost = bench.ours("short", "kafka-python", PACE_PER_S)
        peers = {"paho callbacks + kafka-python, one record per reading": bench.naive("short")}
        more = {
            "lost": lost + senml_lost + silent_lost + paced_lost,
            "bytes_per_message": trains.BYTES,
            "without_receipts": {"rate_per_s": silent, "cpu_us_per_unit": silent_cpu},
            "senml": {"rate_per_s": senml, "cpu_us_per_unit": senml_cpu},
            f"paced_{PACE_PER_S}_per_s": {"rate_per_s": paced, "cpu_us_per_unit": paced_cpu},
        }
        if options.confluent:
            rate, other_cpu, _, other_lost = bench.ours("short", "confluent-kafka", 0)
            more["confluent_kafka"] = {"rate_per_s": rate, "cpu_us_per_unit": other_cpu}
            more["lost"] += other_lost
    sys.stdout.write(Result("gateway", "message of one reading", ours, cpu, memory, peers, more).to_json() + "\n")
    return 1 if more["lost"] else 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pulssi bench gateway", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000, help="of each run")
    parser.add_argument("--confluent", action="store_true", help="also with confluent-kafka")
    parser.add_argument("--json", action="store_true", help="the last line is JSON in any case")
    return parser.parse_args(argv)


class _Bench:
    def __init__(self, services: LocalServices, messages: int) -> None:
        self._mqtt_port = services.mqtt[1]
        self._socket = services.broker_socket
        self._bootstrap = services.kafka
        self._messages = messages
        self._runs = 0

    def ours(
        self, form: str, producer: str, rate_per_s: int, *, numbered: bool = True
    ) -> tuple[float, float, float, int]:
        """Messages per second, CPU us per message, MiB and lost readings of our gateway."""
        self._runs += 1
        kafka = KafkaSettings(bootstrap=self._bootstrap, prefix=f"bench{self._runs}")
        apply_topics(kafka)
        port = free_port(HOST)
        gateway = subprocess.Popen(
            [sys.executable, "-m", "pulssi", "gateway"],
            cwd=ROOT,
            env={
                **os.environ,
                "PULSSI_MQTT__PORT": str(self._mqtt_port),
                "PULSSI_KAFKA__BOOTSTRAP": self._bootstrap,
                "PULSSI_KAFKA__PREFIX": kafka.prefix,
                "PULSSI_GATEWAY__CLIENT_ID": kafka.prefix,
                "PULSSI_GATEWAY__PRODUCER": producer,
                "PULSSI_GATEWAY__SESSION_EXPIRY_S": "1",  # or the broker queues the next run for this one too
                **({} if self._socket is None else {"PULSSI_GATEWAY__BROKER_SOCKET": str(self._socket)}),
                "PULSSI_METRICS__GATEWAY": str(port),
            },
        )
        try:
            _until(lambda: answers(f"http://{HOST}:{port}/ready"), "the gateway did not connect")
            counter = _Counter(self._bootstrap, kafka.topics.readings, kafka.partitions)
            start_ms = now_us() // 1000 - 3_600_000
            self._send(trains.Load(form, DEVICES, DEVICES, start_ms - DEVICES))  # announces the series
            _until(lambda: counter.rows() >= DEVICES, "warm-up did not arrive")
            total = self._messages if not rate_per_s else min(self._messages, 5 * rate_per_s)
            load = trains.Load(form, total, DEVICES, start_ms, rate_per_s=rate_per_s, numbered=numbered)
            seconds, cpu = self._measure(gateway.pid, load, lambda: counter.rows() >= DEVICES + total)
            return total / seconds, cpu / total * 1e6, rss_mib(gateway.pid), DEVICES + total - counter.distinct()
        finally:
            gateway.terminate()
            gateway.wait(20)

    def naive(self, form: str) -> Peer:
        """The same for the naive peer, whose records are readings."""
        topic = f"naive{self._runs}"
        apply_topics(KafkaSettings(bootstrap=self._bootstrap, prefix=topic))
        peer = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.bench.peers.naive_gateway",
                str(self._mqtt_port),
                self._bootstrap,
                f"{topic}.readings",
            ],
            cwd=ROOT,
        )
        try:
            time.sleep(3.0)
            total = self._messages // 10
            consumer = KafkaConsumer(bootstrap_servers=self._bootstrap)
            partitions = [TopicPartition(f"{topic}.readings", n) for n in range(4)]
            load = trains.Load(form, total, DEVICES, now_us() // 1000 - 3_600_000)
            arrived = lambda: sum(consumer.end_offsets(partitions).values()) >= total  # noqa: E731
            seconds, cpu = self._measure(peer.pid, load, arrived)
            consumer.close()
            return Peer(total / seconds, cpu / total * 1e6)
        finally:
            peer.terminate()
            peer.wait(20)

    def _send(self, load: trains.Load) -> None:
        process = trains.send(self._mqtt_port, load)
        process.go.set()
        process.join()

    def _measure(self, pid: int, load: trains.Load, arrived) -> tuple[float, float]:
        process = trains.send(self._mqtt_port, load)
        meter = Meter({"gateway": pid})
        process.go.set()
        _until(arrived, "not everything arrived")
        seconds, cpu = meter.read()
        process.join()
        return seconds, cpu["gateway"]


class _Counter:
    """Reads the frames of a topic."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        self._consumer.assign([TopicPartition(topic, n) for n in range(partitions)])
        self._frames: list[bytes] = []
        self._rows = 0

    def rows(self) -> int:
        """Rows so far."""
        for records in self._consumer.poll(timeout_ms=100, max_records=10_000).values():
            for record in records:
                self._frames.append(record.value)
                self._rows += len(Readings.decode(record.value))
        return self._rows

    def distinct(self) -> int:
        """Distinct readings."""
        found = set()
        for frame in self._frames:
            columns = Readings.decode(frame)
            found.update(zip(columns.series_id.tolist(), columns.event_time.tolist(), strict=True))
        return len(found)


def _until(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)
