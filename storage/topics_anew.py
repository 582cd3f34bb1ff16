"""topics that were deleted and made again: noticed by their id, and taken from their beginning when a person says so

Going on at the offset of the old topic would pass over the first records of the new one. Beginning by itself at 0 would
not be safe: a window that is computed anew from what the new topic holds may get a higher revision than the row that
older readings gave, and dead letters are named by their place in Kafka, so that a new one would pass for an old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from pulssi.errors import ConfigurationError
from storage.database import Connection

COMMAND = "pulssi db accept-topics"

_ANEW = """
    SELECT DISTINCT topic FROM offsets JOIN unnest(%s::text[], %s::uuid[]) AS now (topic, id) USING (topic)
    WHERE consumer = %s AND topic_id <> now.id ORDER BY topic"""
_RENAME = """
    UPDATE dead_letters SET dead_letter_id = old.topic_id || ':' || dead_letter_id
    FROM (SELECT DISTINCT topic, topic_id FROM offsets WHERE consumer = %s AND topic = ANY(%s)) AS old
    WHERE starts_with(dead_letter_id, old.topic || '/')"""
_BEGIN = """
    UPDATE offsets SET next_offset = 0, owner = owner + 1, log_end = NULL, topic_id = now.id, updated_time = now()
    FROM unnest(%s::text[], %s::uuid[]) AS now (topic, id)
    WHERE consumer = %s AND offsets.topic = now.topic AND topic_id <> now.id"""


def refuse(topics: list[str]) -> None:
    """Say what has happened to these topics, if there are any.

    Raises:
        ConfigurationError: there are.
    """
    if topics:
        raise ConfigurationError(
            [
                f"the topic {topic} was deleted and made again since the database took records from it, so its offsets "
                f"begin at 0 again. `{COMMAND}` lets the sink begin there; what is stored stays"
                for topic in topics
            ]
        )


def anew(connection: Connection, consumer: str, ids: Mapping[str, UUID]) -> list[str]:
    """Topics whose stored offsets belong to one that is gone.

    Args:
        connection: as anybody who may read.
        consumer: name under which the offsets are kept.
        ids: of the topics as they are now.
    """
    rows = connection.execute(_ANEW, (list(ids), list(ids.values()), consumer)).fetchall()
    return [topic for (topic,) in rows]


def accept(connection: Connection, consumer: str, ids: Mapping[str, UUID]) -> list[str]:
    """Let the consumer begin at offset 0 of topics that were made again; which these are.

    Dead letters of the old ones keep everything but their names, which get the id of the old topic in front. A sink
    that still runs is fenced.
    """
    with connection.transaction():
        topics = anew(connection, consumer, ids)
        if topics:
            connection.execute(_RENAME, (consumer, topics))
            connection.execute(_BEGIN, (list(ids), list(ids.values()), consumer))
    return topics
