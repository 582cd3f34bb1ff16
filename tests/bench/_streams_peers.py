"""naive peers of the stream processor: one JSON record per reading, as the guides teach

`python -m tests.bench._streams_peers faust|loop BOOTSTRAP TOPIC`; each prints a line for every 1000 readings.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict, deque


def faust_table(bootstrap: str, topic_name: str) -> None:
    """Faust with a model and a table of tumbling minutes; a hopping one costs as much again for each step."""
    import faust

    class Reading(faust.Record):
        series: str
        t: float
        value: float

    app = faust.App(
        f"{topic_name}-faust",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        topic_disable_leader=True,
        topic_replication_factor=1,
        topic_partitions=4,
        datadir=f"/tmp/{topic_name}-faust",  # noqa: S108  a throw-away
    )
    topic = app.topic(topic_name, value_type=Reading)
    table = app.Table("minutes", default=lambda: [0, 0.0]).tumbling(60, expires=3600).relative_to_field(Reading.t)
    seen = 0

    @app.agent(topic)
    async def rolling(readings):
        nonlocal seen
        async for reading in readings:
            n, total = table[reading.series].current()
            table[reading.series] = [n + 1, total + reading.value]
            seen += 1
            if seen % 1000 == 0:
                sys.__stdout__.write(f"{seen}\n")
                sys.__stdout__.flush()

    sys.argv = ["bench", "worker", "--without-web", "--loglevel", "error"]
    app.main()


def plain_loop(bootstrap: str, topic_name: str) -> None:
    """A loop over kafka-python with a deque for each series: mean of the last 5 minutes."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic_name, bootstrap_servers=bootstrap, group_id=f"{topic_name}-loop", auto_offset_reset="earliest"
    )
    windows: dict[str, deque[tuple[float, float]]] = defaultdict(deque)
    for seen, record in enumerate(consumer, 1):
        reading = json.loads(record.value)
        window = windows[reading["series"]]
        window.append((reading["t"], reading["value"]))
        while window[0][0] < reading["t"] - 300:
            window.popleft()
        _mean = sum(value for _, value in window) / len(window)
        if seen % 1000 == 0:
            sys.stdout.write(f"{seen}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    {"faust": faust_table, "loop": plain_loop}[sys.argv[1]](*sys.argv[2:])
