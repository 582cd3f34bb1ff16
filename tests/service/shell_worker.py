"""a worker of the Faust shell with a small processor whose state shows every record, for the tests to kill

`python -m tests.service.shell_worker` with BOOTSTRAP, PREFIX, GROUP, SOURCES (space separated) in the environment.
STATE_BYTES makes the state so large, and PART_BYTES cuts it into parts of that size and saves all the time.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Sequence

import xxhash

from pulssi.logs import setup
from pulssi.metrics import Metrics
from pulssi.partitions import Factory, Output, Record
from pulssi.settings import KafkaSettings
from pulssi.shell import partition as partition_module
from pulssi.shell import run_faust, runner, saver, snapshots
from pulssi.topics import Content, headers

_STATE = struct.Struct("<qqd")


class Chain:
    """Count, a hash chain over all values in order, and a float sum: each record, order and repetition shows."""

    def __init__(self, source: str, partition: int, snapshot: bytes | None, target: str = "", size: int = 0) -> None:
        self.source = source
        self.target = target
        self.partition = partition
        self.size = size
        self.count, self.chain, self.total = _STATE.unpack_from(snapshot) if snapshot else (0, 0, 0.0)
        if snapshot and snapshot != self.snapshot():
            raise ValueError("this is not the state that was saved")

    def process(self, records: Sequence[Record]) -> list[Output]:
        """One output a record, with the state after it."""
        outputs = []
        for record in records:
            self.count += 1
            self.chain = xxhash.xxh3_64_intdigest(record.value, seed=self.chain & (2**64 - 1)) >> 1
            self.total += len(record.value) / 7
            key = f"{self.source}/{self.partition}/{record.offset}".encode()
            outputs.append(
                Output(self.target, self.partition, key, self.head(), headers(Content.INDICATORS)),
            )
        return outputs

    def tick(self, now: int) -> list[Output]:  # noqa: ARG002  the contract's
        """Nothing follows from the time."""
        return []

    def head(self) -> bytes:
        """What has come, in short."""
        return _STATE.pack(self.count, self.chain, self.total)

    def snapshot(self) -> bytes:
        """Exactly what `__init__` takes: the head, and noise that follows from it."""
        return self.head() + random.Random(self.chain).randbytes(self.size)


def _factory(source: str, target: str) -> Factory:
    size = int(os.environ.get("STATE_BYTES", "0"))
    return lambda partition, snapshot: Chain(source, partition, snapshot, target, size)


def main() -> None:
    """Run until SIGTERM."""
    if "PART_BYTES" in os.environ:
        saver.PART_BYTES = snapshots.PART_BYTES = int(os.environ["PART_BYTES"])
        partition_module._SAVED_BYTES_PER_S = 1 << 40
        partition_module._PAUSE_SHARE_MAX = 1.0
    runner._TOPICS_S = 2.0
    kafka = KafkaSettings(
        bootstrap=os.environ["BOOTSTRAP"],
        prefix=os.environ["PREFIX"],
        session_timeout_ms=int(os.environ.get("SESSION_MS", "6000")),
    )
    log = setup("worker", as_json=True)
    run_faust(
        os.environ["GROUP"],
        kafka,
        {topic: _factory(topic, kafka.topics.indicators) for topic in os.environ["SOURCES"].split()},
        snapshot_interval_s=float(os.environ.get("INTERVAL_S", "0.5")),
        batch_bytes_max=int(os.environ.get("BATCH_BYTES", "2000000")),
        metrics=Metrics("worker"),
        log=log,
    )


if __name__ == "__main__":
    main()
