"""the ledger against the database: lost, duplicate, phantom, corrupt, unseen, each with examples

lost: accepted and not stored. duplicate: stored more often than sent. phantom: stored and never sent. corrupt: stored
with another value or delay. unseen: planted bad input that left no dead letter. What was sent and never answered may be
stored or not. A message that was accepted and then dead-lettered is refused, not lost: its bytes are kept. Dead letters
are written at least once (a killed gateway writes some again), so repeated ones are told and not blamed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg

from pulssi.errors import ConfigurationError
from pulssi.times import US_PER_S, iso
from simulators.ledger import NO_DELAY, Book, State
from simulators.messages import content_hash

EXAMPLES_MAX: Final = 5
_SERIES_PER_QUERY: Final = 500
_POSTGRES_EPOCH_US: Final = 946_684_800 * US_PER_S
_DELAY_TOLERANCE_S: Final = 1
_PAUSE_S: Final = 0.5
_COPY_HEADER_BYTES: Final = 19
_COPY_TRAILER_BYTES: Final = 2


@dataclass(slots=True)
class Verdict:
    """What the comparison found.

    Attributes:
        readings: counts of distinct readings: sent, accepted, stored, refused, lost, phantom, corrupt.
        vehicle_events: the same of vehicle events, and duplicate.
        dead_letters: planted, stored, unseen, repeated, other_reason; `unplanned` ones by reason.
        examples: some of each kind of trouble.
    """

    readings: Counter[str] = field(default_factory=Counter)
    vehicle_events: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    unplanned: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def troubles(self) -> dict[str, int]:
        """Counts that must be 0."""
        names = ("lost", "duplicate", "phantom", "corrupt")
        found = {name: self.readings[name] + self.vehicle_events[name] for name in names}
        return {**found, "unseen": self.dead_letters["unseen"], "other_reason": self.dead_letters["other_reason"]}

    @property
    def waiting(self) -> int:
        """What may still be on its way."""
        return self.troubles["lost"] + self.troubles["unseen"]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.troubles.values())

    def example(self, trouble: str, **what: Any) -> None:
        """Keep an example, up to `EXAMPLES_MAX` of each kind."""
        kept = self.examples.setdefault(trouble, [])
        if len(kept) < EXAMPLES_MAX:
            kept.append(what)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ok": self.ok,
            **self.troubles,
            "readings": dict(self.readings),
            "vehicle_events": dict(self.vehicle_events),
            "dead_letters": {**self.dead_letters, "unplanned": dict(self.unplanned)},
            "examples": self.examples,
        }


def check(folder: Path, conninfo: dict[str, Any] | str, *, wait_s: float = 0, broker_killed: bool = False) -> Verdict:
    """Compare all ledgers of a folder with the database.

    Args:
        folder: of the ledgers.
        conninfo: for psycopg.
        wait_s: how long to wait for accepted things that are still on their way.
        broker_killed: take messages of formats without receipts as sent only, since a killed broker forgets its queue.

    Raises:
        ConfigurationError: no ledger in the folder, or no database until the end of the wait.
    """
    deadline = time.monotonic() + wait_s
    kwargs = {"conninfo": conninfo} if isinstance(conninfo, str) else conninfo
    book = Book(folder)
    while True:
        try:
            with psycopg.connect(**kwargs) as connection:
                verdict = compare(book, connection, broker_killed=broker_killed)
            if not verdict.waiting or time.monotonic() >= deadline:
                return verdict
        except psycopg.OperationalError as error:  # it may be on its way back
            if time.monotonic() >= deadline:
                raise ConfigurationError(f"the database does not answer: {error}") from error
        time.sleep(_PAUSE_S)


def compare(book: Book, connection: psycopg.Connection[Any], *, broker_killed: bool = False) -> Verdict:
    """One comparison, as things stand."""
    verdict = Verdict()
    letters = _dead_letters(connection)
    _compare_readings(book, connection, letters, verdict, broker_killed=broker_killed)
    _compare_events(book, connection, letters, verdict, broker_killed=broker_killed)
    _compare_malformed(book, letters, verdict)
    return verdict


def _copy(
    connection: psycopg.Connection[Any], query: str, arguments: Sequence[Any], row: list[tuple[str, str]]
) -> np.ndarray:
    """Rows of fixed width, without nulls, straight into a structured array; one column is `event_time`.

    Args:
        connection: to the database.
        query: a SELECT with placeholders.
        arguments: for the placeholders.
        row: name and big-endian dtype of each column, in the order of the query.
    """
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, dtype in row:
        fields += [(f"{name}_bytes", ">i4"), (name, dtype)]
    with connection.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", arguments) as copy:
        data = b"".join(copy)
    rows = np.frombuffer(data[_COPY_HEADER_BYTES:-_COPY_TRAILER_BYTES], np.dtype(fields))
    out = np.empty(len(rows), [(name, dtype[1:]) for name, dtype in row])
    for name, _ in row:
        out[name] = rows[name]
    out["event_time"] += _POSTGRES_EPOCH_US
    return out


@dataclass(slots=True)
class _Letter:
    reason: str
    count: int


def _dead_letters(connection: psycopg.Connection[Any]) -> dict[int, _Letter]:
    """Dead letters that came by MQTT, by content."""
    found: dict[int, _Letter] = {}
    with connection.cursor("dead_letters") as cursor:
        cursor.execute("SELECT mqtt_topic, payload, reason FROM dead_letters WHERE mqtt_topic IS NOT NULL")
        for topic, payload, reason in cursor:
            content = content_hash(topic.encode(), bytes(payload))
            found.setdefault(content, _Letter(reason, 0)).count += 1
    return found


def _keys(series: np.ndarray, sent: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One integer for (series, event time) of both tables; `series` is sorted and few, so that it fits in 63 bits."""
    start, span = sent["event_time"].min(), np.ptp(sent["event_time"]) + 1
    of_sent = np.searchsorted(series, sent["series_id"]) * span + (sent["event_time"] - start)
    return of_sent, np.searchsorted(series, rows["series_id"]) * span + (rows["event_time"] - start)


def _compare_readings(
    book: Book,
    connection: psycopg.Connection[Any],
    letters: dict[int, _Letter],
    verdict: Verdict,
    *,
    broker_killed: bool,
) -> None:
    sent = book.readings()
    if not len(sent):
        return
    if broker_killed:
        sent["state"][sent["foreign"] & (sent["state"] == State.ACCEPTED)] = State.SENT
    sent = sent[np.lexsort((sent["event_time"], sent["series_id"]))]
    series = np.unique(sent["series_id"])
    refused = np.isin(sent["content"], np.fromiter(letters, np.int64, len(letters)))
    bounds = np.searchsorted(sent["series_id"], series[::_SERIES_PER_QUERY])
    for first, last in zip(bounds, [*bounds[1:], len(sent)], strict=True):
        part = slice(first, last)
        _compare_part(connection, sent[part], refused[part], verdict, book)


def _compare_part(
    connection: psycopg.Connection[Any], sent: np.ndarray, refused: np.ndarray, verdict: Verdict, book: Book
) -> None:
    """Readings of some series; `sent` is sorted by series and time."""
    series = np.unique(sent["series_id"])
    times = [_timestamp(sent["event_time"].min()), _timestamp(sent["event_time"].max())]
    stored = _copy(
        connection,
        """SELECT series_id, event_time, value FROM readings
           WHERE series_id = ANY(%s) AND event_time BETWEEN %s AND %s""",
        [series.tolist(), *times],
        [("series_id", ">i8"), ("event_time", ">i8"), ("value", ">f8")],
    )
    key, stored_key = _keys(series, sent, stored)
    first = np.searchsorted(key, stored_key, "left")
    last = np.searchsorted(key, stored_key, "right")
    phantom = first == last
    same = ~phantom
    same[same] = sent["value"][first[same]] == stored["value"][same]
    for i in np.flatnonzero(~same & (last - first > 1)):  # sent several times with several values: any of them will do
        same[i] = stored["value"][i] in sent["value"][first[i] : last[i]]
    start = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    accepted = np.maximum.reduceat(sent["state"] == State.ACCEPTED, start)
    missing = ~np.isin(key[start], stored_key)
    dead = np.maximum.reduceat(refused | (sent["state"] == State.REFUSED), start)
    lost = accepted & missing & ~dead
    verdict.readings.update(
        sent=len(start),
        accepted=int(accepted.sum()),
        stored=len(stored),
        refused=int((missing & dead).sum()),
        lost=int(lost.sum()),
        phantom=int(phantom.sum()),
        corrupt=int((~same & ~phantom).sum()),
    )
    names = book.names(sent["content"][start[lost]][:EXAMPLES_MAX].tolist())
    for row in sent[start[lost]][:EXAMPLES_MAX]:
        device, seq = names[int(row["content"])]
        verdict.example("lost", device=device, seq=seq, **_named(row))
    for i in np.flatnonzero(phantom)[:EXAMPLES_MAX]:
        verdict.example("phantom", **_named(stored[i]))
    for i in np.flatnonzero(~same & ~phantom)[:EXAMPLES_MAX]:
        verdict.example("corrupt", sent=float(sent["value"][first[i]]), **_named(stored[i]))


def _named(row: Any) -> dict[str, Any]:
    return {"series_id": int(row["series_id"]), "event_time": iso(int(row["event_time"])), "value": float(row["value"])}


def _timestamp(us: int) -> str:
    return iso(int(us))


def _compare_events(
    book: Book,
    connection: psycopg.Connection[Any],
    letters: dict[int, _Letter],
    verdict: Verdict,
    *,
    broker_killed: bool,
) -> None:
    sent = book.events()
    if not len(sent):
        return
    sent = sent[np.lexsort((-sent["state"], sent["event_id"]))]
    sent = sent[np.unique(sent["event_id"], return_index=True)[1]]
    stored = _copy(
        connection,
        f"""SELECT event_id, event_time, coalesce(delay_s, {NO_DELAY}) FROM vehicle_events
            WHERE vehicle = ANY(%s) AND event_time BETWEEN %s AND %s ORDER BY event_id""",  # noqa: S608  a number
        [book.vehicles(), _timestamp(sent["event_time"].min()), _timestamp(sent["event_time"].max())],
        [("event_id", ">i8"), ("event_time", ">i8"), ("delay_s", ">i4")],
    )
    at = np.minimum(np.searchsorted(sent["event_id"], stored["event_id"]), len(sent) - 1)
    phantom = sent["event_id"][at] != stored["event_id"]
    duplicate = np.zeros(len(stored), bool)
    duplicate[1:] = stored["event_id"][1:] == stored["event_id"][:-1]
    known = sent["delay_s"][at]
    gap = np.abs(known.astype(np.int64) - stored["delay_s"])
    wrong_delay = (known != NO_DELAY) & (gap > _DELAY_TOLERANCE_S)
    corrupt = ~phantom & ~duplicate & (wrong_delay | (sent["event_time"][at] != stored["event_time"]))
    dead = np.isin(sent["event_id"], np.fromiter(letters, np.int64, len(letters)))
    accepted = sent["state"] == State.ACCEPTED
    lost = accepted & ~dead & ~np.isin(sent["event_id"], stored["event_id"])
    if broker_killed:
        lost[:] = False
    verdict.vehicle_events.update(
        sent=len(sent),
        accepted=int(accepted.sum()),
        stored=len(stored),
        refused=int(dead.sum()),
        lost=int(lost.sum()),
        phantom=int(phantom.sum()),
        duplicate=int(duplicate.sum()),
        corrupt=int(corrupt.sum()),
    )
    for trouble, rows in (
        ("lost", sent[lost]),
        ("phantom", stored[phantom]),
        ("duplicate", stored[duplicate]),
        ("corrupt", stored[corrupt]),
    ):
        for row in rows[:EXAMPLES_MAX]:
            verdict.example(
                trouble,
                event_id=int(row["event_id"]),
                event_time=iso(int(row["event_time"])),
                delay_s=int(row["delay_s"]) if row["delay_s"] != NO_DELAY else None,
            )


def _compare_malformed(book: Book, letters: dict[int, _Letter], verdict: Verdict) -> None:
    """Planted bad input: one dead letter each, with a reason that fits."""
    planted = book.malformed()
    sends: Counter[int] = Counter()
    for one in planted:
        letter = letters.get(one.content)
        sends[one.content] += one.sends
        what = {"topic": one.topic[:200], "payload": one.payload[:200].decode(errors="replace")}
        verdict.dead_letters["planted"] += 1
        if letter is None:
            if one.state == State.ACCEPTED:
                verdict.dead_letters["unseen"] += 1
                verdict.example("unseen", expected=one.reasons, **what)
        elif letter.reason not in one.reasons:
            verdict.dead_letters["other_reason"] += 1
            verdict.example("other_reason", expected=one.reasons, found=letter.reason, **what)
    for content, letter in letters.items():
        if content not in sends:
            verdict.unplanned[letter.reason] += letter.count
        elif letter.count > sends[content]:
            verdict.dead_letters["repeated"] += letter.count - sends[content]
    verdict.dead_letters["stored"] = sum(letter.count for letter in letters.values())
