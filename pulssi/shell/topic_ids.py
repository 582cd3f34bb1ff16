"""the ids that Kafka gives its topics: one that was deleted and made again has the same name, and another id"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from kafka.admin import KafkaAdminClient

_REQUEST_MS = 5_000


def topic_ids(bootstrap: str, names: Iterable[str]) -> dict[str, UUID]:
    """The id of each topic; topics that are not there, or whose Kafka knows no ids (before 2.8), are left out.

    Raises:
        kafka.errors.KafkaError: Kafka is away.
    """
    admin = KafkaAdminClient(
        bootstrap_servers=bootstrap.split(","), request_timeout_ms=_REQUEST_MS, bootstrap_timeout_ms=_REQUEST_MS
    )
    try:
        described = admin.describe_topics(sorted(names))
    finally:
        admin.close()
    found = {one["name"]: UUID(str(one["topic_id"])) for one in described if one.get("topic_id")}
    return {name: one for name, one in found.items() if one.int}
