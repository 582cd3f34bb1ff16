"""`pulssi bench snapshots`: a large state into Kafka and back; how long, how much memory, and what else has to wait

A core of readings is warmed up until its windows are full, saved as a worker saves it, and loaded by another process;
what that got is compared with what was saved. Memory is the highest of the process while it does so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import xxhash
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.local import LocalServices
from pulssi.frames import Readings
from pulssi.logs import setup
from pulssi.metrics import Metrics
from pulssi.partitions import Record
from pulssi.settings import KafkaSettings, StreamsSettings
from pulssi.shell.outbox import Outbox
from pulssi.shell.partition import Partition
from pulssi.shell.saver import Saver
from pulssi.shell.snapshots import Slot
from pulssi.shell.store import Store
from pulssi.shell.transport import Batch
from pulssi.topics import Topics
from streams.readings_processor import ReadingsProcessor
from tests.bench._streams_core import BATCH, FRAME, ROOT, Case, Source, checked
from tests.bench.measure import Result, rss_mib

TOPICS = Topics("pulssi", 1)
SLOT = Slot("bench", TOPICS.readings, 0)
_MIB = 1 << 20


def main(argv: list[str]) -> int:
    """Save and load; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="pulssi bench snapshots")
    parser.add_argument("--json", action="store_true", help="the result is JSON in any case")
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--cadence-s", type=int, default=1)
    parser.add_argument("--minutes", type=int, default=62, help="of readings before it is saved")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.load:
        sys.stdout.write(f"{json.dumps(asyncio.run(_load(asked.load)))}\n")
        return 0
    core = _warm(Case(asked.series, asked.cadence_s, asked.minutes, 0))
    dist = os.environ.get("PULSSI_LOCAL_DIST")
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServices(Path(folder), services=("kafka",), dist=Path(dist) if dist else None, durable=False) as services,
    ):
        _make_topic(services.kafka)
        saved = asyncio.run(_save(services.kafka, core))
        del core
        command = [sys.executable, "-m", "tests.bench.snapshots", "--load", services.kafka]
        loaded = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    if loaded.pop("digest") != saved.pop("digest"):
        raise RuntimeError("another state was loaded than was saved")
    cost_us = 1e6 * saved["cpu_s"] / saved["mib"]
    result = Result("snapshots", "MiB", saved["mib"] / saved["took_s"], cost_us, saved["peak_mib"])
    result.more = {"saved": saved, "loaded": loaded, "case": vars(asked)}
    sys.stdout.write(f"{result.to_json()}\n")
    return 0


def _warm(case: Case) -> ReadingsProcessor:
    core, source = ReadingsProcessor(0, StreamsSettings(), TOPICS, checked), Source(case)
    waiting = []
    for readings in source.rounds(case.warm_min):
        waiting += source.records(readings, FRAME)
        if len(waiting) >= BATCH:
            core.process(waiting)
            waiting.clear()
    core.process(waiting)
    return core


def _make_topic(bootstrap: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics(
        [
            NewTopic(one.name, one.partitions, 1, topic_configs=one.config)
            for one in TOPICS.specs()
            if "state" in one.name
        ]
    )
    admin.close()


async def _save(bootstrap: str, core: ReadingsProcessor) -> dict[str, Any]:
    outbox = Outbox(bootstrap, TOPICS, KafkaSettings().in_flight_bytes_max, Metrics("bench"), setup("bench"))
    await outbox.start()
    partition = Partition(Saver(SLOT, TOPICS), core, 0, KafkaSettings().state_bytes_max)
    nothing = Record(0, None, Readings.empty().encode(), {})
    await partition.feed(Batch([nothing], 0, 0), outbox)
    before_mib, cpu_s = rss_mib(os.getpid()), time.process_time()
    saved, peak_mib, waited_s = await _watched(partition.save(1, outbox))
    await outbox.stop()
    state = core.snapshot()
    return {
        "mib": len(state) / _MIB,
        "written_mib": saved.written / _MIB,
        "pause_s": saved.pause_s,
        "took_s": saved.took_s,
        "cpu_s": time.process_time() - cpu_s,
        "longest_wait_s": waited_s,
        "before_mib": before_mib,
        "peak_mib": peak_mib,
        "digest": xxhash.xxh3_64_hexdigest(state),
    }


async def _load(bootstrap: str) -> dict[str, Any]:
    before_mib, began = rss_mib(os.getpid()), time.monotonic()

    async def read() -> tuple[ReadingsProcessor, float]:
        async with Store(bootstrap, TOPICS) as store:
            loaded = await store.load(SLOT, (await store.find([SLOT]))[SLOT])
        assert loaded is not None
        read_s = time.monotonic() - began
        return ReadingsProcessor(0, StreamsSettings(), TOPICS, checked, loaded.state), read_s

    (core, read_s), peak_mib, _waited_s = await _watched(read())
    took_s = time.monotonic() - began
    after_mib = rss_mib(os.getpid())
    return {
        "read_s": read_s,
        "took_s": took_s,
        "before_mib": before_mib,
        "after_mib": after_mib,
        "peak_mib": peak_mib,
        "digest": xxhash.xxh3_64_hexdigest(core.snapshot()),
    }


async def _watched(work: Coroutine[Any, Any, Any]) -> tuple[Any, float, float]:
    """What `work` gives, the highest memory of the process meanwhile, and the longest that the loop stood still."""
    _forget_peak()
    task = asyncio.create_task(work)
    longest_s = 0.0
    while not task.done():
        began = time.monotonic()
        await asyncio.wait({task}, timeout=0.005)
        longest_s = max(longest_s, time.monotonic() - began - 0.005)
    return task.result(), _peak_mib(), longest_s


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
