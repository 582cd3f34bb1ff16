"""outbox: subscriptions, the notifications that are due to them, and the log of their delivery

A notification is claimed for a time (`lease_s`): whoever claimed it and died is followed by the next one after that
time. So delivery is at least once, always under the same `notification_id`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row, dict_row

from storage.database import Connection
from storage.queries import Transition, columns


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    """What somebody wants to be told, and where; None in a filter means all.

    Attributes:
        target: address of the webhook.
        secret: key of the signature.
        districts: codes of districts.
        quantities: words of the vocabulary.
        kinds: air, traffic ...
        devices: device ids.
        severity_min: 0 info, 1 warning, 2 critical.
        language: fi, sv or en.
        channel: webhook.
    """

    target: str
    secret: str
    districts: list[str] | None = None
    quantities: list[str] | None = None
    kinds: list[str] | None = None
    devices: list[str] | None = None
    severity_min: int = 0
    language: str = "fi"
    channel: str = "webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription(NewSubscription):
    """A subscription as it is stored."""

    subscription_id: UUID
    created_time: datetime
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One alert transition that is due to one subscriber.

    Attributes:
        notification_id: the same in every attempt.
        subscription_id: whose it is.
        attempt: number of this attempt, from 1.
        created_time: when the transition was stored.
        transition: what happened.
        channel: webhook.
        target: address.
        secret: key of the signature.
        language: of the text.
    """

    notification_id: str
    subscription_id: UUID
    attempt: int
    created_time: datetime
    transition: Transition
    channel: str
    target: str
    secret: str
    language: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt: an HTTP status, or the error before there was one."""

    notification_id: str
    attempt: int
    time: datetime
    status: int | None
    error: str | None
    duration_ms: int


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """How many notifications are in each state."""

    pending: int
    delivered: int
    dead: int


_NOTIFICATION = tuple(field.name for field in fields(Notification))
_TRANSITION = tuple(field.name for field in fields(Transition))
_WANTED = tuple(field.name for field in fields(NewSubscription))
_SUBSCRIPTION = ", ".join(field.name for field in fields(Subscription))
_SUBSCRIBE = (
    f"INSERT INTO subscriptions ({', '.join(_WANTED)}) "  # noqa: S608  names of ours
    f"VALUES ({', '.join(f'%({name})s' for name in _WANTED)}) RETURNING {_SUBSCRIPTION}"
)
_CLAIM = f"""
    WITH claimed AS (
        UPDATE outbox SET attempts = attempts + 1, due_time = now() + make_interval(secs => %(lease_s)s)
        WHERE notification_id IN (
            SELECT notification_id FROM outbox
            WHERE state = 'pending' AND due_time <= now() AND NOT subscription_id = ANY(%(busy)s)
            ORDER BY due_time, alert_id, sequence LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        RETURNING *)
    SELECT claimed.notification_id, claimed.subscription_id, claimed.attempts AS attempt, claimed.created_time,
           target, secret, channel, language, {columns(Transition, "alert_transitions")}
    FROM claimed JOIN subscriptions USING (subscription_id)
    JOIN alert_transitions USING (alert_id, sequence)
    ORDER BY claimed.created_time, alert_id, sequence"""  # noqa: S608  names of ours
_SETTLE = """
    UPDATE outbox SET state = %(state)s, last_error = %(error)s, due_time = coalesce(%(due_time)s, due_time)
    WHERE notification_id = %(notification_id)s AND state = 'pending'"""
_RELEASE = """
    UPDATE outbox SET attempts = attempts - 1, due_time = coalesce(%(due_time)s, now())
    WHERE notification_id = ANY(%(notification_ids)s) AND state = 'pending'"""
_END = """
    UPDATE outbox SET state = 'dead', last_error = %(reason)s
    WHERE subscription_id = %(subscription_id)s AND state = 'pending'"""
_LOG = """
    INSERT INTO deliveries (notification_id, attempt, status, error, duration_ms)
    SELECT notification_id, %(attempt)s, %(status)s, %(error)s, %(duration_ms)s
    FROM outbox WHERE notification_id = %(notification_id)s FOR KEY SHARE
    ON CONFLICT DO NOTHING"""
_COUNTS = """
    SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
           count(*) FILTER (WHERE state = 'delivered') AS delivered,
           count(*) FILTER (WHERE state = 'dead') AS dead
    FROM outbox"""


def subscribe(connection: Connection, new: NewSubscription) -> Subscription:
    """Store a subscription; it hears of what is decided from now on."""
    values = {name: getattr(new, name) for name in _WANTED}
    with connection.cursor(row_factory=class_row(Subscription)) as cursor:
        return cursor.execute(_SUBSCRIBE, values).fetchall()[0]


def subscriptions(connection: Connection, *, active: bool | None = None) -> list[Subscription]:
    """Subscriptions, oldest first."""
    statement = (
        f"SELECT {_SUBSCRIPTION} FROM subscriptions "  # noqa: S608  names of ours
        "WHERE %(active)s::boolean IS NULL OR active = %(active)s ORDER BY created_time, subscription_id"
    )
    with connection.cursor(row_factory=class_row(Subscription)) as cursor:
        return cursor.execute(statement, {"active": active}).fetchall()


def set_active(connection: Connection, subscription_id: UUID, *, active: bool) -> bool:
    """Pause or resume a subscription; False when there is none of that id."""
    statement = "UPDATE subscriptions SET active = %s WHERE subscription_id = %s"
    return connection.execute(statement, (active, subscription_id)).rowcount == 1


def unsubscribe(connection: Connection, subscription_id: UUID) -> bool:
    """Delete a subscription and everything about its notifications; False when there is none of that id."""
    return connection.execute("DELETE FROM subscriptions WHERE subscription_id = %s", (subscription_id,)).rowcount == 1


def claim(connection: Connection, limit: int, lease_s: float, *, busy: Collection[UUID] = ()) -> list[Notification]:
    """Take due notifications, in the order in which they are due; nobody else gets them for `lease_s` seconds.

    Commit before delivering them. Subscriptions in `busy` are left alone: one that is slow must not fill the claim.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_CLAIM, {"limit": limit, "lease_s": lease_s, "busy": list(busy)}).fetchall()
    own = [name for name in _NOTIFICATION if name != "transition"]
    return [
        Notification(
            **{name: row[name] for name in own}, transition=Transition(**{name: row[name] for name in _TRANSITION})
        )
        for row in rows
    ]


def release(connection: Connection, notifications: Sequence[Notification], due_time: datetime | None = None) -> None:
    """Give back what was claimed and not tried; it is due at `due_time`, at once when that is None."""
    ids = [notification.notification_id for notification in notifications]
    connection.execute(_RELEASE, {"notification_ids": ids, "due_time": due_time})


def end(connection: Connection, subscription_id: UUID, reason: str) -> None:
    """The subscriber is gone: no new notifications, and those that wait are given up."""
    set_active(connection, subscription_id, active=False)
    connection.execute(_END, {"subscription_id": subscription_id, "reason": reason})


def delivered(connection: Connection, notification: Notification, status: int, duration_ms: int) -> None:
    """The subscriber took it."""
    _settle(connection, notification, "delivered", None, status, None, duration_ms)


def failed(
    connection: Connection,
    notification: Notification,
    error: str,
    duration_ms: int,
    *,
    status: int | None = None,
    retry_time: datetime | None,
) -> None:
    """An attempt failed; tried again at `retry_time`, given up when that is None."""
    state = "dead" if retry_time is None else "pending"
    _settle(connection, notification, state, error, status, retry_time, duration_ms)


def deliveries(connection: Connection, limit: int = 100) -> list[Delivery]:
    """The newest attempts, newest first."""
    statement = (
        "SELECT notification_id, attempt, time, status, error, duration_ms FROM deliveries "
        "ORDER BY time DESC, notification_id, attempt DESC LIMIT %s"
    )
    with connection.cursor(row_factory=class_row(Delivery)) as cursor:
        return cursor.execute(statement, (limit,)).fetchall()


def counts(connection: Connection) -> OutboxCounts:
    """How many notifications are in each state."""
    with connection.cursor(row_factory=class_row(OutboxCounts)) as cursor:
        return cursor.execute(_COUNTS).fetchall()[0]


def _settle(
    connection: Connection,
    notification: Notification,
    state: str,
    error: str | None,
    status: int | None,
    due_time: datetime | None,
    duration_ms: int,
) -> None:
    values = {
        "notification_id": notification.notification_id,
        "attempt": notification.attempt,
        "state": state,
        "error": error,
        "status": status,
        "due_time": due_time,
        "duration_ms": duration_ms,
    }
    connection.execute(_SETTLE, values)
    connection.execute(_LOG, values)
