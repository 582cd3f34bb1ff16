"""dead letters: look at them, correct them, and note that they were sent again"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from storage.database import Connection
from storage.queries import columns


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused message.

    Attributes:
        dead_letter_id: where the refused record lies in Kafka, or its letter when it never was there.
        reason: a word of `pulssi.errors.Reason`.
        detail: a sentence.
        device: who sent it, when that is known.
        source: mqtt or kafka: where it goes when it is sent again.
        mqtt_topic: of a message from MQTT.
        topic: of a record from Kafka.
        partition: of a record from Kafka.
        offset: of a record from Kafka.
        time: when it was refused.
        payload: what came, byte for byte.
        corrected: what is sent again in its place, when somebody mended it.
        corrected_time: when that was.
        redriven_time: when it was sent again last.
    """

    dead_letter_id: str
    reason: str
    detail: str
    device: str | None
    source: str
    mqtt_topic: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    time: datetime
    payload: bytes
    corrected: bytes | None
    corrected_time: datetime | None
    redriven_time: datetime | None

    @property
    def again(self) -> bytes:
        """What is sent when it is sent again."""
        return self.payload if self.corrected is None else self.corrected

    @property
    def target(self) -> str:
        """Where it is sent when it is sent again; empty when nobody knows."""
        if self.source == "mqtt":
            return f"mqtt {self.mqtt_topic}" if self.mqtt_topic else ""
        return f"kafka {self.topic}/{self.partition}" if self.topic and self.partition is not None else ""


_COLUMNS = columns(DeadLetter, "dead_letters").replace(".offset", '."offset"')
_LIST = f"""
    SELECT {_COLUMNS} FROM dead_letters
    WHERE (%(reason)s::text IS NULL OR reason = %(reason)s) AND (%(device)s::text IS NULL OR device = %(device)s)
      AND (%(all)s OR redriven_time IS NULL)
    ORDER BY time DESC, dead_letter_id LIMIT %(limit)s"""  # noqa: S608  names of ours
_GET = f"SELECT {_COLUMNS} FROM dead_letters WHERE dead_letter_id = %s"  # noqa: S608  names of ours


def find(
    connection: Connection,
    *,
    reason: str | None = None,
    device: str | None = None,
    redriven: bool = False,
    limit: int = 100,
) -> list[DeadLetter]:
    """Letters, newest first; those that were sent again only on request."""
    values = {"reason": reason, "device": device, "all": redriven, "limit": limit}
    with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(_LIST, values).fetchall()


def get(connection: Connection, dead_letter_id: str) -> DeadLetter | None:
    """One letter."""
    with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(_GET, (dead_letter_id,)).fetchone()


def correct(connection: Connection, dead_letter_id: str, payload: bytes) -> bool:
    """Keep what is to be sent in place of the original, which stays; False when there is no such letter."""
    statement = "UPDATE dead_letters SET corrected = %s, corrected_time = now() WHERE dead_letter_id = %s"
    return connection.execute(statement, (payload, dead_letter_id)).rowcount == 1


def mark_redriven(connection: Connection, dead_letter_id: str) -> None:
    """Note that a letter was sent again now."""
    connection.execute("UPDATE dead_letters SET redriven_time = now() WHERE dead_letter_id = %s", (dead_letter_id,))
