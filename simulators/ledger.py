"""the ledger: what each simulated device sent, and what was accepted

One SQLite file per process in a common folder. A message is written and committed before it leaves (a killed simulator
never has sent what its ledger does not know); answers are written in batches soon after, so that a kill can only make
an accepted message look like an unanswered one. What is not accepted may be stored or not, and is never called lost.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

from pulssi.errors import ConfigurationError
from pulssi.times import iso
from simulators.messages import Message

SUFFIX = ".ledger"

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE devices (device INTEGER PRIMARY KEY, device_id TEXT UNIQUE NOT NULL);
CREATE TABLE messages (
    message INTEGER PRIMARY KEY, device INTEGER NOT NULL, seq INTEGER NOT NULL, content INTEGER NOT NULL,
    sent_time INTEGER NOT NULL, state INTEGER NOT NULL, fault TEXT, topic BLOB, reason TEXT
);
CREATE TABLE readings (
    series_id INTEGER NOT NULL, event_time INTEGER NOT NULL, value REAL NOT NULL, message INTEGER NOT NULL
);
CREATE TABLE events (
    event_id INTEGER NOT NULL, event_time INTEGER NOT NULL, vehicle TEXT NOT NULL, delay_s INTEGER,
    message INTEGER NOT NULL
);
CREATE TABLE malformed (message INTEGER NOT NULL, reasons TEXT NOT NULL, payload BLOB NOT NULL, sends INTEGER NOT NULL);
CREATE TABLE truths (kind TEXT NOT NULL, subject TEXT NOT NULL, start_time INTEGER, end_time INTEGER, detail TEXT);
"""


class State(IntEnum):
    """What became of a message, as its device knows it."""

    SENT = 0
    ACCEPTED = 1
    REFUSED = 2


@dataclass(frozen=True, slots=True)
class Truth:
    """Something that was made to happen in the simulated city, known exactly: a fault, road works, an episode."""

    kind: str
    subject: str
    start_time: int
    end_time: int
    detail: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for a person: times in ISO 8601."""
        times = {"start": iso(self.start_time), "end": iso(self.end_time)}
        return {"kind": self.kind, "subject": self.subject, **times, **self.detail}


class Ledger:
    """The ledger of one process; a context manager.

    Args:
        folder: where the ledgers of one run lie; made when it is not there.
        name: first part of the file name.
        about: what the run was started with.
    """

    def __init__(self, folder: Path, name: str, about: dict[str, Any] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}-{os.getpid()}-{time.time_ns()}{SUFFIX}"
        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # a kill of the process loses nothing; a power cut may
        self._db.executescript(_SCHEMA)
        for key, value in (about or {}).items():
            self._db.execute("INSERT INTO about VALUES (?, ?)", (key, msgspec.json.encode(value).decode()))
        self._devices: dict[str, int] = {}
        self._next = 1
        self._answers: list[tuple[int, str | None, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sent(self, messages: Sequence[Message]) -> None:
        """Write messages down, number them and commit: only then may they leave."""
        with self._transaction():
            for message in messages:
                message.number = self._next
                self._next += 1
            self._db.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, 0, ?, ?, NULL)", map(self._message_row, messages)
            )
            self._db.executemany(
                "INSERT INTO readings VALUES (?, ?, ?, ?)",
                ((*reading, message.number) for message in messages for reading in message.readings),
            )
            self._db.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
                ((*message.event, message.number) for message in messages if message.event is not None),
            )
            self._db.executemany(
                "INSERT INTO malformed VALUES (?, ?, ?, 1)",
                (
                    (message.number, " ".join(message.refusals), message.payload)
                    for message in messages
                    if message.refusals
                ),
            )

    def accepted(self, messages: Iterable[Message]) -> None:
        """Note that these were accepted; written with the next `flush` or `sent`."""
        self._answers += ((State.ACCEPTED, None, message.number) for message in messages if not message.copy)

    def refused(self, message: Message, reason: str) -> None:
        """Note that this one was refused."""
        self._answers.append((State.REFUSED, reason, message.number))

    def sent_again(self, messages: Iterable[Message]) -> None:
        """Note that these leave once more: bad input may then leave as many dead letters."""
        again = [(message.number,) for message in messages if message.refusals]
        if again:
            self._db.executemany("UPDATE malformed SET sends = sends + 1 WHERE message = ?", again)

    def truth(self, truths: Iterable[Truth]) -> None:
        """Write down what is made to happen."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO truths VALUES (?, ?, ?, ?, ?)",
                (
                    (one.kind, one.subject, one.start_time, one.end_time, msgspec.json.encode(one.detail).decode())
                    for one in truths
                ),
            )

    def flush(self) -> None:
        """Commit the answers noted so far."""
        with self._transaction():
            pass

    def close(self) -> None:
        """Commit and close; the ledger is one file afterwards."""
        self.flush()
        self._db.close()

    def _transaction(self) -> _Transaction:
        answers, self._answers = self._answers, []
        return _Transaction(self._db, answers)

    def _message_row(self, message: Message) -> tuple[Any, ...]:
        device = self._devices.get(message.device_id)
        if device is None:
            device = len(self._devices) + 1
            self._db.execute("INSERT INTO devices VALUES (?, ?)", (device, message.device_id))
            self._devices[message.device_id] = device
        telling = message.topic if message.refusals or message.event is not None else None
        return message.number, device, message.seq, message.content, message.send_time, message.fault, telling


class _Transaction:
    """One SQLite transaction that also carries the answers noted so far."""

    def __init__(self, db: sqlite3.Connection, answers: list[tuple[int, str | None, int]]) -> None:
        self._db = db
        self._answers = answers

    def __enter__(self) -> None:
        self._db.execute("BEGIN")
        if self._answers:
            self._db.executemany("UPDATE messages SET state = ?, reason = ? WHERE message = ?", self._answers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


READING = np.dtype(
    [("series_id", "i8"), ("event_time", "i8"), ("value", "f8"), ("content", "i8"), ("state", "i1"), ("foreign", "?")]
)
EVENT = np.dtype([("event_id", "i8"), ("event_time", "i8"), ("delay_s", "i4"), ("state", "i1")])
NO_DELAY = np.iinfo(np.int32).min


@dataclass(frozen=True, slots=True)
class Malformed:
    """One planted bad message: its content hash, the reasons that fit, and how often it left."""

    content: int
    reasons: tuple[str, ...]
    state: State
    topic: str
    payload: bytes
    sends: int


class Book:
    """All ledgers of a folder and the folders in it, for reading; may be read while simulators write.

    Raises:
        ConfigurationError: there is no ledger in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.rglob(f"*{SUFFIX}"))
        if not self._paths:
            raise ConfigurationError(f"{folder}: there is no ledger")

    def _select(self, query: str) -> Iterator[tuple[Any, ...]]:
        for path in self._paths:
            with closing(sqlite3.connect(path)) as db:
                yield from db.execute(query)

    def readings(self) -> np.ndarray:
        """Every reading sent, as `READING`."""
        query = """SELECT series_id, event_time, value, content, state, seq = -1
                   FROM readings JOIN messages USING (message)"""
        return np.fromiter(self._select(query), READING)

    def events(self) -> np.ndarray:
        """Every vehicle event sent, as `EVENT`; `NO_DELAY` where a message tells none."""
        query = f"""SELECT event_id, event_time, coalesce(delay_s, {NO_DELAY}), state
                    FROM events JOIN messages USING (message)"""  # noqa: S608  a number
        return np.fromiter(self._select(query), EVENT)

    def vehicles(self) -> list[str]:
        """Every vehicle that sent."""
        return sorted({row[0] for row in self._select("SELECT DISTINCT vehicle FROM events")})

    def malformed(self) -> list[Malformed]:
        """Every planted bad message."""
        query = "SELECT content, reasons, state, topic, payload, sends FROM malformed JOIN messages USING (message)"
        return [
            Malformed(content, tuple(reasons.split()), State(state), topic.decode(errors="replace"), payload, sends)
            for content, reasons, state, topic, payload, sends in self._select(query)
        ]

    def devices(self) -> dict[str, dict[str, int]]:
        """Messages of each device by state."""
        query = "SELECT device_id, state, count(*) FROM messages JOIN devices USING (device) GROUP BY 1, 2"
        out: dict[str, dict[str, int]] = {}
        for device_id, state, n in self._select(query):
            states = out.setdefault(device_id, dict.fromkeys((one.name.lower() for one in State), 0))
            states[State(state).name.lower()] += n
        return dict(sorted(out.items()))

    def refusals(self) -> dict[str, int]:
        """Receipts of refusal by reason."""
        out: dict[str, int] = {}
        for reason, n in self._select("SELECT reason, count(*) FROM messages WHERE state = 2 GROUP BY 1"):
            out[reason] = out.get(reason, 0) + n
        return out

    def truths(self) -> list[Truth]:
        """Everything that was made to happen."""
        return [
            Truth(kind, subject, start, end, msgspec.json.decode(detail))
            for kind, subject, start, end, detail in self._select(
                "SELECT kind, subject, start_time, end_time, detail FROM truths ORDER BY start_time"
            )
        ]

    def names(self, contents: Iterable[int]) -> dict[int, tuple[str, int]]:
        """Device and seq of messages by their content hash, for examples."""
        out: dict[int, tuple[str, int]] = {}
        for content in contents:
            query = f"""SELECT device_id, seq FROM messages JOIN devices USING (device)
                        WHERE content = {int(content)} LIMIT 1"""  # noqa: S608  a number
            for device_id, seq in self._select(query):
                out[content] = (device_id, seq)
        return out

    def totals(self) -> dict[str, int]:
        """Distinct readings and vehicle events, sent and accepted."""
        readings, events = self.readings(), self.events()
        return {
            "readings_sent": _distinct(readings, "series_id"),
            "readings_accepted": _distinct(readings[readings["state"] == State.ACCEPTED], "series_id"),
            "vehicle_events_sent": _distinct(events, "event_id"),
            "vehicle_events_accepted": _distinct(events[events["state"] == State.ACCEPTED], "event_id"),
        }


def _distinct(rows: np.ndarray, name: str) -> int:
    return len(np.unique(rows[[name, "event_time"]]))
