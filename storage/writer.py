"""writer: a batch into the database in one transaction, exactly once, or not at all

The row in `offsets` moves from the offset that we expect to the one after the batch, and only while we own it: so a
batch that was committed before, or that another sink has taken over, is noticed before anything is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.adapt import Dumper
from psycopg.pq import Format

from pulssi.errors import ConfigurationError, FencedError, Reason
from pulssi.times import US_PER_S, datetime_us, us_datetime
from storage import topics_anew
from storage.arrays import BinaryArray, binary_array, binary_rows
from storage.batch import Batch, Place, Span
from storage.database import Connection, is_transient
from storage.latency import bucket_of
from storage.newest import NOTHING, Newest
from storage.rows import Pile, Row, follow, letter_of, order
from storage.tables import ALERT_TRANSITIONS, DEAD_LETTERS, PARTITIONED, READINGS, Table
from storage.tiers import Tier, tier_of

Latencies = Counter[tuple[str, int, int]]
"""Rows by sort (table), minute (us UTC) and bucket (storage.latency)."""

_TAKE = """
    INSERT INTO offsets (consumer, topic, partition, next_offset, owner, topic_id) VALUES (%s, %s, %s, 0, 1, %s)
    ON CONFLICT (consumer, topic, partition) DO UPDATE SET
        owner = offsets.owner + 1, topic_id = coalesce(offsets.topic_id, excluded.topic_id), updated_time = now()
    RETURNING owner, next_offset"""
_STUCK_S = 10
# A writer that was stopped in the middle of a COPY: the server waits for its rows, and no time-out ends that.
_END_STUCK = """
    SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE relation = 'offsets'::regclass AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
      AND xact_start < clock_timestamp() - make_interval(secs => %s)"""
_ADVANCE = """
    UPDATE offsets SET next_offset = new.next_offset, records = offsets.records + new.records,
        rows = offsets.rows + new.rows, log_end = coalesce(new.log_end, offsets.log_end),
        newest_receive_time = greatest(offsets.newest_receive_time, new.newest), updated_time = now()
    FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
                %s::bigint[], %s::timestamptz[])
        AS new (topic, partition, owner, expected, next_offset, records, rows, log_end, newest)
    WHERE offsets.consumer = %s AND offsets.topic = new.topic AND offsets.partition = new.partition
      AND offsets.owner = new.owner AND offsets.next_offset = new.expected"""
_STANDS = "SELECT topic, partition, owner, next_offset FROM offsets WHERE consumer = %s"
_TRANSITION = ", ".join(f'"{name}"' for name in ALERT_TRANSITIONS.schema.names)
# An alert is a function of its transitions, whatever part of them this batch brought.
_ALERTS = f"""
    INSERT INTO alerts AS old ({_TRANSITION}, fired_time, resolved_time)
    SELECT DISTINCT ON (alert_id) {_TRANSITION},
        (SELECT min(event_time) FROM alert_transitions AS fired
         WHERE fired.alert_id = newest.alert_id AND fired.state = 'firing'),
        CASE WHEN state = 'resolved' THEN event_time END
    FROM alert_transitions AS newest WHERE alert_id = ANY(%s) ORDER BY alert_id, sequence DESC
    ON CONFLICT (alert_id) DO UPDATE SET
        {", ".join(f'"{name}" = excluded."{name}"' for name in ALERT_TRANSITIONS.schema.names if name != "alert_id")},
        fired_time = excluded.fired_time, resolved_time = excluded.resolved_time
    WHERE excluded.sequence >= old.sequence"""  # noqa: S608  names of ours
# A subscriber hears of the end only of what it heard the beginning of; the minute is for clocks that disagree.
_OUTBOX = """
    INSERT INTO outbox (notification_id, subscription_id, alert_id, sequence)
    SELECT concat_ws(':', subscription_id, alert_id, sequence), subscription_id, alert_id, sequence
    FROM unnest(%(alert_ids)s::text[], %(sequences)s::int[]) AS new (alert_id, sequence)
    JOIN alert_transitions AS step USING (alert_id, sequence)
    JOIN subscriptions AS wish ON wish.active AND wish.created_time <= step.decided_time + interval '1 minute'
        AND (wish.districts IS NULL OR step.district = ANY(wish.districts))
        AND (wish.quantities IS NULL OR step.quantity = ANY(wish.quantities))
        AND (wish.kinds IS NULL OR step.kind = ANY(wish.kinds))
        AND (wish.devices IS NULL OR step.device_id = ANY(wish.devices))
        AND array_position(ARRAY['info', 'warning', 'critical'], step.severity) > wish.severity_min
    WHERE step.state = %(state)s AND (%(state)s = 'firing' OR EXISTS (
        SELECT FROM outbox AS told WHERE told.subscription_id = wish.subscription_id AND told.alert_id = step.alert_id))
    FOR KEY SHARE OF wish
    ON CONFLICT DO NOTHING"""
_WISHES = "SELECT FROM subscriptions WHERE active LIMIT 1"
_COUNT_LATENCY = """
    INSERT INTO latency_counts AS old (what, minute, bucket, n)
    SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::smallint[], %s::bigint[])
    ON CONFLICT (what, minute, bucket) DO UPDATE SET n = old.n + excluded.n"""
_NEWEST = "SELECT series_id, event_time FROM latest WHERE series_id = ANY(%s)"
_DAY_US = 86_400 * US_PER_S
_DAYS = range(10_957, 47_482)
"""Days since 1970 that the tables take: 2000-01-01 to 2099-12-31."""


class _BinaryArrayDumper(Dumper):
    """Hands a `BinaryArray` to the server as it is."""

    format = Format.BINARY

    def __init__(self, cls: type, context: Any = None, oid: int = 0) -> None:
        super().__init__(cls, context)
        self.oid = oid

    def get_key(self, obj: BinaryArray, format: Any) -> Any:  # noqa: A002, ARG002  named by psycopg
        return (self.cls, obj.oid)

    def upgrade(self, obj: BinaryArray, format: Any) -> Dumper:  # noqa: A002, ARG002  named by psycopg
        return _BinaryArrayDumper(self.cls, None, obj.oid)

    def dump(self, obj: BinaryArray) -> bytes:
        return obj.data


@dataclass(slots=True)
class Written:
    """What a committed batch did.

    Attributes:
        stored: rows that are new or replaced an older one, by table.
        refused: rows that the database refused, by reason; their records are dead letters now.
        receive_times: of the stored rows of each sort, us UTC (i64), for the latency.
        again: the batch was committed before; only its answer was lost.
    """

    stored: Counter[str] = field(default_factory=Counter)
    refused: Counter[Reason] = field(default_factory=Counter)
    receive_times: dict[str, np.ndarray] = field(default_factory=dict)
    again: bool = False


class Writer:
    """Writes the batches of one consumer over one connection.

    Args:
        connect: makes a connection in autocommit mode, so that each transaction here is one.
        consumer: name under which the offsets are kept.
    """

    def __init__(self, connect: Callable[[], Connection], consumer: str) -> None:
        self._connect = connect
        self._consumer = consumer
        self._connection: Connection | None = None
        self._tier: Tier | None = None
        self._days: dict[Table, set[int]] = {}
        self._newest = Newest()

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def take(self, places: Iterable[Place], ids: Mapping[str, UUID]) -> dict[Place, Span]:
        """Become the owner of some partitions; whoever was it before can no longer write.

        A transaction that has held them for 10 s, and that we have waited for as long, is ended with its session.

        Args:
            places: the partitions.
            ids: of their topics, as far as Kafka tells them.

        Raises:
            ConfigurationError: a topic is not the one that the offsets belong to.
            psycopg.Error: nothing has changed; transient errors are to be tried again.
        """
        self._newest.clear()
        in_order = sorted(places)  # everybody in the same order: nobody waits in a circle
        try:
            return self._own(in_order, ids)
        except psycopg.errors.LockNotAvailable:
            self._open().execute(_END_STUCK, [_STUCK_S])
            return self._own(in_order, ids)

    def _own(self, places: Iterable[Place], ids: Mapping[str, UUID]) -> dict[Place, Span]:
        found = {}
        connection = self._open()
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{_STUCK_S}s"])
            topics_anew.refuse(topics_anew.anew(connection, self._consumer, ids))
            for place in places:
                taken = (self._consumer, *place, ids.get(place.topic))
                owner, offset = connection.execute(_TAKE, taken).fetchall()[0]
                found[place] = Span(owner, offset, offset)
        return found

    def made_anew(self, ids: Mapping[str, UUID]) -> list[str]:
        """Topics that are not those any more that the offsets belong to."""
        return topics_anew.anew(self._open(), self._consumer, ids)

    def write(self, batch: Batch, latencies: Mapping[tuple[str, int, int], int], *, careful: bool = False) -> Written:
        """Commit a batch.

        Args:
            batch: rows and offsets.
            latencies: counts to add to the table of latencies.
            careful: find the rows that the database refuses and put their records into the dead letters; slower,
                for a batch that was refused as a whole.

        Raises:
            FencedError: another sink owns one of the partitions now.
            ConfigurationError: tables or rights are not what this version needs.
            psycopg.Error: nothing has changed; transient errors are to be tried again, others need `careful`.
        """
        connection = self._open()
        if careful:
            self._days.clear()
            self._newest.clear()
        try:
            self._ensure_days(connection, batch)
            with connection.transaction():
                if not self._advance(connection, batch.spans):
                    return Written(again=True)
                transaction = _Transaction(connection, self._newest, careful=careful)
                written = transaction.rows(batch)
                _count(connection, latencies)
            self._newest.follow(*transaction.readings)
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            raise ConfigurationError(f"the database refuses what this version does: {error}") from error
        except psycopg.Error:
            self._newest.clear()
            raise
        return written

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            self._connection.adapters.register_dumper(BinaryArray, _BinaryArrayDumper)
            self._tier = tier_of(self._connection)
            self._days.clear()
            self._newest.clear()
        return self._connection

    def _advance(self, connection: Connection, spans: Mapping[Place, Span]) -> bool:
        """Move the offsets; False when they have been moved by this very batch before."""
        rows = [
            (
                place.topic,
                place.partition,
                span.owner,
                span.expected,
                span.next_offset,
                span.records,
                span.rows,
                span.log_end,
                us_datetime(span.newest_receive_time) if span.newest_receive_time else None,
            )
            for place, span in sorted(spans.items())
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        if connection.execute(_ADVANCE, (*columns, self._consumer)).rowcount == len(spans):
            return True
        stands = {
            Place(topic, partition): (owner, offset)
            for topic, partition, owner, offset in connection.execute(_STANDS, (self._consumer,))
        }
        if all(stands.get(place) == (span.owner, span.next_offset) for place, span in spans.items()):
            return False
        lost = [
            f"{place.topic}/{place.partition}"
            for place, span in spans.items()
            if stands.get(place, (None,))[0] != span.owner
        ]
        raise FencedError(f"another sink has taken over {', '.join(lost) or 'the offsets'}")

    def _ensure_days(self, connection: Connection, batch: Batch) -> None:
        """Make the partitions that the batch needs, in a transaction of its own, where TimescaleDB does not."""
        if self._tier is not Tier.PLAIN:
            return
        for table, column in PARTITIONED.items():
            if table not in batch.piles:
                continue
            times = batch.piles[table].rows().column(column).to_numpy()
            days = {day for day in np.unique(times // _DAY_US).tolist() if day in _DAYS}
            missing = days - self._days.setdefault(table, set())
            if missing:
                dates = [us_datetime(day * _DAY_US).date() for day in sorted(missing)]
                with connection.transaction():
                    connection.execute("SELECT ensure_days(%s::regclass, %s)", (table.name, dates))
                self._days[table] |= missing


class _Transaction:
    """The rows of one batch inside the open transaction.

    Attributes:
        readings: series and event time of the readings that it holds.
    """

    def __init__(self, connection: Connection, newest: Newest, *, careful: bool) -> None:
        self.readings: tuple[np.ndarray, np.ndarray] = (np.empty(0, np.int64), np.empty(0, np.int64))
        self._connection = connection
        self._newest = newest
        self._careful = careful
        self._written = Written()
        self._letters: dict[object, Row] = {}

    def rows(self, batch: Batch) -> Written:
        """Write every pile, what follows from it, and the dead letters of what was refused."""
        for table, pile in batch.piles.items():
            rows = pile.rows()
            kept, refused = self._insert(table, rows)
            for row, why in refused:
                record, number = pile.origin(row)
                letter = letter_of(record, Reason.BAD_RECORD, f"row {number}: {why}")
                self._letters.setdefault(letter.values["dead_letter_id"], letter)
                self._written.refused[Reason.BAD_RECORD] += 1
            if len(kept) == 0:
                continue
            if "receive_time" in kept.schema.names:
                self._written.receive_times[table.name] = kept.column("receive_time").to_numpy()
            for part in follow(table, kept):
                self._insert(*part)
            if table is ALERT_TRANSITIONS:
                self._alerts(kept)
        if self._letters:
            self._execute(DEAD_LETTERS, Pile(DEAD_LETTERS, list(self._letters.values())).rows())
        return self._written

    def _insert(self, table: Table, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, list[tuple[int, str]]]:
        """Write rows; returns those that the database took, and the numbers of those it refused with its words."""
        chosen = order(table, rows)
        ordered = rows if chosen is None else rows.take(chosen)
        if not self._careful:
            if table is READINGS:
                self._readings(ordered)
            else:
                self._execute(table, ordered)
            return ordered, []
        refused = self._bisect(table, ordered, 0)
        kept = np.setdiff1d(np.arange(len(ordered)), [row for row, _why in refused])
        numbers = np.arange(len(rows)) if chosen is None else chosen
        return ordered.take(kept), [(int(numbers[row]), why) for row, why in refused]

    def _readings(self, ordered: pa.RecordBatch) -> None:
        """Copy the readings that are known to be new; the others may be there already."""
        columns = [column.to_numpy() for column in ordered.columns]
        series, times = self.readings = columns[0], columns[1]
        self._learn(self._newest.unknown(series))
        new = self._newest.are_new(series, times)
        old = np.flatnonzero(~new)
        new[1:] &= (series[1:] != series[:-1]) | (times[1:] != times[:-1])  # the first of several wins
        if new.any():
            with self._connection.cursor() as cursor:
                with cursor.copy(READINGS.copying) as copy:
                    copy.write(binary_rows([column[new] for column in columns], READINGS.sql_types))
                self._written.stored[READINGS.name] += cursor.rowcount
        if len(old):
            self._execute(READINGS, ordered.take(old))

    def _learn(self, series: np.ndarray) -> None:
        """How far series are stored that we have not met before."""
        if len(series) == 0:
            return
        times = np.full(len(series), NOTHING)
        for one, time in self._connection.execute(_NEWEST, (series.tolist(),)):
            times[np.searchsorted(series, one)] = datetime_us(time)
        self._newest.learn(series, times)

    def _bisect(self, table: Table, rows: pa.RecordBatch, first: int) -> list[tuple[int, str]]:
        """Numbers of the rows that the database refuses, with its words; all others are written."""
        try:
            with self._connection.transaction():
                self._execute(table, rows)
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.OperationalError) as error:
            if is_transient(error):
                raise
            if len(rows) == 1:
                return [(first, error.diag.message_primary or str(error))]
            half = len(rows) // 2
            return self._bisect(table, rows.slice(0, half), first) + self._bisect(table, rows.slice(half), first + half)
        return []

    def _execute(self, table: Table, rows: pa.RecordBatch) -> None:
        arrays = [
            binary_array(column, sql_type) for column, sql_type in zip(rows.columns, table.sql_types, strict=True)
        ]
        self._written.stored[table.name] += self._connection.execute(table.statement, arrays).rowcount

    def _alerts(self, steps: pa.RecordBatch) -> None:
        """Alerts as they stand now, and the notifications that are due."""
        values = {
            "alert_ids": steps.column("alert_id").to_pylist(),
            "sequences": steps.column("sequence").to_pylist(),
        }
        self._connection.execute(_ALERTS, (values["alert_ids"],))
        if self._connection.execute(_WISHES).fetchone() is None:
            return
        for state in ("firing", "resolved"):
            self._connection.execute(_OUTBOX, {**values, "state": state})


def latencies_of(written: Written, now: int) -> Latencies:
    """Counts of receive time to now (us UTC) of what a batch stored."""
    minute = now // (60 * US_PER_S) * 60 * US_PER_S
    counts: Latencies = Counter()
    for what, times in written.receive_times.items():
        buckets, n = np.unique(bucket_of((now - times) / US_PER_S), return_counts=True)
        counts.update({(what, minute, int(bucket)): int(count) for bucket, count in zip(buckets, n, strict=True)})
    return counts


def _count(connection: Connection, latencies: Mapping[tuple[str, int, int], int]) -> None:
    """Add to the table of latencies, in the order of its key: two sinks never wait in a circle."""
    if latencies:
        rows = [(what, us_datetime(minute), bucket, n) for (what, minute, bucket), n in sorted(latencies.items())]
        connection.execute(_COUNT_LATENCY, [list(column) for column in zip(*rows, strict=True)])
