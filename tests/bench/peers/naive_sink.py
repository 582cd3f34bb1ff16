"""The sink of a tutorial: one JSON record per reading, executemany into the same hypertable, offsets after the commit.

Runs as `python -m tests.bench.peers.naive_sink BOOTSTRAP TOPIC CONNINFO`.
"""

import json
import sys

import psycopg
from kafka import KafkaConsumer

INSERT = """
    INSERT INTO readings (series_id, event_time, receive_time, value, quality, seq)
    VALUES (%s, to_timestamp(%s), to_timestamp(%s), %s, 0, -1) ON CONFLICT DO NOTHING"""


def main(bootstrap: str, topic: str, conninfo: str) -> None:
    """Run until killed."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=topic, auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer.partitions_for_topic(topic)  # kafka-python assigns nothing to a member that does not know the topic yet
    with psycopg.connect(conninfo) as connection:
        while True:
            rows = []
            for records in consumer.poll(timeout_ms=200, max_records=5000).values():
                for record in records:
                    reading = json.loads(record.value)
                    rows.append((reading["series_id"], reading["t"], reading["received"], reading["value"]))
            if rows:
                with connection.cursor() as cursor:
                    cursor.executemany(INSERT, rows)
                connection.commit()
                consumer.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
