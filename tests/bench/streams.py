"""bench of the stream processor: frames of 100 readings over 10,000 series on a real Kafka, against naive peers

The worker is `pulssi streams` as it is deployed. What is counted is the CPU of its whole process: fetching,
decoding, checks, windows, snapshots and sending.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.local import LocalServices
from pulssi.frames import Indicators, Readings
from pulssi.messages import SeriesInfo, to_json
from pulssi.series import partition_of, series_id
from pulssi.topics import Content, Topics, headers
from tests.bench import _streams_core
from tests.bench.measure import Peer, Result, cpu_s, rss_mib

ROOT = Path(__file__).parents[2]
START_US = 1_790_000_000_000_000
FRAME = 100
LIVE_PER_S = 2000
GATHER_S = 0.02


def main(argv: list[str]) -> int:
    """Run the bench; the last line is one JSON object. With `--core` it is that of the pure core alone."""
    if "--core" in argv:
        return _streams_core.main([one for one in argv if one != "--core"])
    parser = argparse.ArgumentParser(prog="pulssi bench streams")
    parser.add_argument("--json", action="store_true", help="the result is JSON in any case")
    parser.add_argument("--readings", type=int, default=3_000_000, help="readings of ours")
    parser.add_argument("--peer-readings", type=int, default=10_000, help="readings of each peer")
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--interval-s", type=float, default=1.0, help="event time between readings of one series")
    parser.add_argument("--latency-s", type=float, default=10.0, help="how long the live part runs")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, _kafka(Path(folder)) as bootstrap:
        topics = Topics(f"bench{secrets.token_hex(3)}", 4)
        load = Load(bootstrap, topics, options.series, options.interval_s)
        peers = {
            name: _peer(name, bootstrap, load.json_topic(options.peer_readings), options.peer_readings)
            for name in ("faust", "loop")
        }
        result = _ours(load, options.readings, options.latency_s)
        result.peers = peers
    sys.stdout.write(f"{result.to_json()}\n")
    return 0


@contextmanager
def _kafka(folder: Path) -> Iterator[str]:
    dist = os.environ.get("PULSSI_LOCAL_DIST")
    with LocalServices(folder, services=("kafka",), dist=Path(dist) if dist else None, durable=False) as services:
        yield services.kafka


class Load:
    """Topics and what is in them."""

    def __init__(self, bootstrap: str, topics: Topics, series: int, interval_s: float) -> None:
        self.bootstrap = bootstrap
        self.topics = topics
        self.series = series
        self.interval_us = int(interval_s * 1e6)
        config = {"compression.type": "lz4", "linger.ms": 1, "queue.buffering.max.messages": 10**6, "log_level": 0}
        self.producer = Producer({"bootstrap.servers": bootstrap, **config})
        self._create([NewTopic(one.name, one.partitions, 1, topic_configs=one.config) for one in topics.specs()])
        devices = [f"bench-{number}" for number in range(series)]
        ids = np.array([series_id(device, "pm2_5") for device in devices], np.int64)
        places = np.array([partition_of(device, topics.partitions) for device in devices])
        self.ids = [ids[places == partition] for partition in range(topics.partitions)]
        for device, one in zip(devices, ids.tolist(), strict=True):
            info = SeriesInfo(series_id=one, device_id=device, quantity="pm2_5", unit="ug/m3", kind="air")
            self.producer.produce(topics.series, key=str(one).encode(), value=to_json(info))
        self.producer.flush()
        self.random = np.random.default_rng(1)
        self.rounds = 0

    def _create(self, topics: list[NewTopic]) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.create_topics(topics)
        admin.close()

    def frames(self, readings: int) -> int:
        """Produce about so many readings, every series once a round; the exact number."""
        done = 0
        while done < readings:
            done += self.one_round()
        self.producer.flush()
        return done

    def one_round(self, *, live: bool = False) -> int:
        """One reading of every series, in frames."""
        done = 0
        for partition, ids in enumerate(self.ids):
            for start in range(0, len(ids), FRAME):
                done += self.frame(partition, ids[start : start + FRAME], live=live)
        self.rounds += 1
        self.producer.poll(0)
        return done

    def frame(self, partition: int, ids: np.ndarray, *, live: bool = False) -> int:
        """One record."""
        n = len(ids)
        event = START_US + self.rounds * self.interval_us + self.random.integers(0, self.interval_us, n)
        receive = np.full(n, time.time_ns() // 1000) if live else event + 50_000
        value = np.round(self.random.normal(12, 3, n), 1).clip(0)
        frame = Readings(ids, event, receive, value, np.zeros(n, np.uint16), np.full(n, self.rounds))
        self.producer.produce(
            self.topics.readings, value=frame.encode(), partition=partition, headers=headers(Content.READINGS)
        )
        return n

    def json_topic(self, readings: int) -> str:
        """A topic with one JSON record per reading."""
        name = f"{self.topics.prefix}-json-{secrets.token_hex(2)}"
        self._create([NewTopic(name, 4, 1)])
        for number in range(readings):
            series = number % self.series
            t = (START_US + number // self.series * self.interval_us) / 1e6
            value = {"series": f"bench-{series}", "t": t, "value": round(12 + number % 7 / 10, 1), "unit": "ug/m3"}
            self.producer.produce(name, json.dumps(value).encode(), key=f"bench-{series}".encode())
            if number % 10_000 == 0:
                self.producer.poll(0)
        self.producer.flush()
        return name


def _ours(load: Load, readings: int, latency_s: float) -> Result:
    total = load.frames(readings)
    frames = load.rounds * sum(-(-len(ids) // FRAME) for ids in load.ids)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PULSSI_KAFKA__BOOTSTRAP": load.bootstrap,
        "PULSSI_KAFKA__PREFIX": load.topics.prefix,
        "PULSSI_METRICS__STREAMS": str(port),
        "PULSSI_LOG__FORMAT": "json",
    }
    worker = subprocess.Popen([Path(sys.executable).with_name("pulssi"), "streams"], env=environment)
    try:
        rate, cpu_us = _measure(worker.pid, lambda: _received(port, load.topics.readings), frames, total / frames)
        rss = rss_mib(worker.pid)
        more = {"readings": total, "frame": FRAME, "series": load.series}
        before = cpu_s(worker.pid)
        more |= _latency(load, latency_s)
        more["live_cpu_share"] = (cpu_s(worker.pid) - before) / latency_s
    finally:
        worker.terminate()
        worker.wait(30)
    return Result("streams", "reading", rate, cpu_us, rss, more=more)


def _peer(name: str, bootstrap: str, topic: str, readings: int) -> Peer:
    command = [sys.executable, "-m", "tests.bench._streams_peers", name, bootstrap, topic]
    peer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    seen = 0

    def read() -> None:
        nonlocal seen
        for line in peer.stdout or ():
            seen = int(line) if line.strip().isdigit() else seen  # Faust prints a banner first

    threading.Thread(target=read, daemon=True).start()
    try:
        rate, cpu_us = _measure(peer.pid, lambda: seen, readings // 1000 * 1000, 1.0)
    finally:
        peer.kill()
        peer.wait(10)
    return Peer(rate, cpu_us)


def _measure(pid: int, progress: Callable[[], int], end: int, per_step: float) -> tuple[float, float]:
    """Readings per second and CPU us per reading between the first progress and the end."""
    deadline = time.monotonic() + 120
    while not (first := progress()):
        _alive(deadline)
        time.sleep(0.02)
    start, cpu = time.perf_counter(), cpu_s(pid)
    while (last := progress()) < end:
        _alive(deadline)
        time.sleep(0.05)
    units = (last - first) * per_step
    return units / (time.perf_counter() - start), (cpu_s(pid) - cpu) * 1e6 / units


def _alive(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError("no progress")


def _received(port: int, topic: str) -> int:
    """Records of `topic` that the worker has processed, from its metrics."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return 0
    match = re.search(rf'^pulssi_received_total{{[^}}]*source="{re.escape(topic)}"[^}}]*}} (\S+)', text, re.MULTILINE)
    return int(float(match[1])) if match else 0


def _latency(load: Load, seconds: float) -> dict[str, float]:
    """Milliseconds from handing a frame to Kafka until its rows are there, at 2000 readings a second.

    Frames are those of a gateway that gathers for 20 ms: one for each partition.
    """
    places = [TopicPartition(load.topics.indicators, partition) for partition in range(load.topics.partitions)]
    consumer = KafkaConsumer(bootstrap_servers=load.bootstrap, group_id=None, fetch_max_wait_ms=100)
    consumer.assign(places)
    consumer.seek_to_end(*places)
    for place in places:
        consumer.position(place)
    latencies: list[np.ndarray] = []
    frames = FrameClock(load)
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds + 2:
        if now < seconds:
            frames.until(now)
        for records in consumer.poll(1).values():
            for record in records:
                if dict(record.headers).get("kinds") == b"reading":
                    rows = Indicators.decode(record.value)
                    latencies.append(record.timestamp - rows.receive_time / 1000)
    consumer.close()
    waited = np.concatenate(latencies)
    p50, p99 = np.percentile(waited, [50, 99])
    return {"live_per_s": LIVE_PER_S, "live_rows": len(waited), "latency_ms_p50": p50, "latency_ms_p99": p99}


class FrameClock:
    """Sends frames at their time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._sent = 0
        self._next = [0] * load.topics.partitions
        self._readings = int(LIVE_PER_S * GATHER_S / load.topics.partitions)

    def until(self, now: float) -> None:
        """Send what is due by `now`, seconds since the start."""
        while self._sent * GATHER_S < now:
            for partition, ids in enumerate(self._load.ids):
                start = self._next[partition]
                self._load.frame(partition, ids[start : start + self._readings], live=True)
                self._next[partition] = start + self._readings if start + self._readings < len(ids) else 0
            self._load.producer.poll(0)
            self._sent += 1
