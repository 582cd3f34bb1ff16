"""load: so many messages a second from many devices, cheap to send and known to the last reading

Packets are rows of one byte matrix, made once; of each message only the time, the value, the number and the packet id
are written, for a whole train at once. One thread and plain sockets: 1 to 2 us of CPU a message.

`python -m simulators.load --rate 10000 --seconds 10` prints one JSON object; with `--rows FILE` it also saves what it
sent (`numpy.load`: series_id, event_time in us UTC, value).
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pulssi.series import series_id
from pulssi.times import US_PER_MS, now_us
from simulators import wire

ROW: Final = np.dtype([("series_id", "i8"), ("event_time", "i8"), ("value", "f8")])
_KIND: Final = "noise"
_QUANTITY: Final = "sound_level"
_TIME_DIGITS: Final = 13
_SEQ_DIGITS: Final = 16
_VALUES: Final = 9000
"""Different values: 10.00 to 99.99."""
_TRAIN_MAX: Final = 1000
_WINDOW: Final = 20_000
"""Unacknowledged messages of one connection."""
_TRAIN_MIN: Final = 200
"""Of a load without a rate: shorter trains cost more each message than they win."""
_NAP_S: Final = 0.004
_RECEIVE_BYTES: Final = 65_536
_KEEPALIVE_S: Final = 600
_ANSWER_S_MAX: Final = 10.0


def _texts(form: str, numbers: Iterable[float]) -> np.ndarray:
    """Bytes of each number in a format of fixed width; uint8 of (numbers, width)."""
    rows = [form.format(number).encode() for number in numbers]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)


_FOUR_DIGITS: Final = _texts("{:04d}", range(10_000))
_VALUE_TEXTS: Final = _texts("{:.2f}", (number / 100 for number in range(1000, 1000 + _VALUES)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run did.

    Attributes:
        sent: messages handed to the broker.
        acked: those that the broker acknowledged with success.
        unheard: acknowledged as "no matching subscribers": not delivered to anybody.
        seconds: from the first message to the last acknowledgement.
        cpu_us_per_message: of this thread.
    """

    sent: int
    acked: int
    unheard: int
    seconds: float
    cpu_us_per_message: float


class Load:
    """A load on one broker; one run after the other, each with new readings.

    Args:
        host: of the broker.
        port: of the broker.
        devices: each sends one reading a message; event times are whole milliseconds, so a device that has to send
            more than a thousand a second runs ahead of the clock.
        message_bytes: of a whole PUBLISH packet; no shorter than the reading needs.
        connections: to the broker.
        numbered: whether readings carry a `seq`, so that the gateway answers with receipts (which nobody reads).
        prefix: of the device ids.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        devices: int = 1000,
        message_bytes: int = 200,
        connections: int = 1,
        numbered: bool = False,
        prefix: str = "load",
    ) -> None:
        names = [f"{prefix}-{i:06}" for i in range(devices)]
        parts = np.array_split(np.arange(devices), min(connections, devices))
        self._parts = [
            _Connection(host, port, [names[i] for i in part], message_bytes, numbered=numbered) for part in parts
        ]

    def run(self, rate: float | None, seconds: float) -> Outcome:
        """Send for so long, then wait for the last acknowledgements.

        Args:
            rate: messages a second of all devices; None = as fast as the broker acknowledges.
            seconds: how long to send.

        Raises:
            ConnectionError: the broker went away.
            TimeoutError: an acknowledgement did not come within 10 s of the end.
        """
        before = [(part.sent, part.acked, part.unheard) for part in self._parts]
        cpu_s, start = time.thread_time(), time.monotonic()
        poll = select.poll()
        for part in self._parts:
            poll.register(part.socket, select.POLLIN)
        while (now := time.monotonic()) < start + seconds:
            quota = None if rate is None else round(rate * (now - start) / len(self._parts))
            busy = [part.send(quota, sent) for part, (sent, _, _) in zip(self._parts, before, strict=True)]
            self._hear(poll, 0 if any(busy) else _NAP_S)
        while any(part.in_flight for part in self._parts):
            if time.monotonic() > start + seconds + _ANSWER_S_MAX:
                raise TimeoutError("the broker does not acknowledge")
            for part in self._parts:
                part.flush()
            self._hear(poll, _NAP_S)
        done = zip(self._parts, before, strict=True)
        cpu_s, lasted = time.thread_time() - cpu_s, time.monotonic() - start
        sent, acked, unheard = (
            sum(column) for column in zip(*(part.since(*counts) for part, counts in done), strict=True)
        )
        return Outcome(sent, acked, unheard, lasted, cpu_s / max(sent, 1) * 1e6)

    def _hear(self, poll: select.poll, timeout_s: float) -> None:
        if timeout_s:
            time.sleep(timeout_s)  # a nap lets acknowledgements gather
        for descriptor, _ in poll.poll(0):
            next(part for part in self._parts if part.socket.fileno() == descriptor).hear()

    def rows(self) -> np.ndarray:
        """Every reading sent in all runs, as `ROW`."""
        return np.concatenate([part.rows() for part in self._parts])

    def close(self) -> None:
        """Say goodbye to the broker."""
        for part in self._parts:
            part.close()


class _Connection:
    """One socket with its own devices, one reading of each in turn."""

    def __init__(self, host: str, port: int, names: list[str], message_bytes: int, *, numbered: bool) -> None:
        self._series = np.array([series_id(name, _QUANTITY) for name in names])
        self._packets, self._at = _matrix(names, message_bytes, numbered=numbered)
        self._seq_start = now_us()  # sixteen digits until the year 2286
        self._last_ms = np.zeros(len(names), np.int64)
        self._trains: list[tuple[int, np.ndarray]] = []
        self._unsent = b""
        self._rest = b""
        self.sent = self.acked = self.unheard = self._answered = 0
        self.socket = _connected(host, port, f"{names[0]}-{self._seq_start}")

    @property
    def in_flight(self) -> int:
        """Messages without an acknowledgement."""
        return self.sent - self._answered

    def since(self, sent: int, acked: int, unheard: int) -> tuple[int, int, int]:
        """How far the counters have come since they had these values."""
        return self.sent - sent, self.acked - acked, self.unheard - unheard

    def send(self, quota: int | None, sent_before: int) -> bool:
        """Send a train, as far as quota and window allow; whether there is more to do at once."""
        self.flush()
        free = min(_WINDOW - self.in_flight, _TRAIN_MAX, len(self._series))
        due = free if quota is None else min(quota - (self.sent - sent_before), free)
        least = min(_TRAIN_MIN, len(self._series)) if quota is None else 1
        if self._unsent or due < least:
            return False
        self._unsent = self._train(due)
        self.flush()
        return not self._unsent and due == free

    def _train(self, n: int) -> bytes:
        """The next `n` messages, each of the next device."""
        first = self.sent
        number = first + np.arange(n)
        device = number % len(self._series)
        time_ms = np.maximum(now_us() // US_PER_MS, self._last_ms[device] + 1)
        self._last_ms[device] = time_ms
        packets = self._packets[device]
        _write(packets, self._at.time, time_ms, _TIME_DIGITS)
        packets[:, self._at.value : self._at.value + 5] = _VALUE_TEXTS[_value(number) - 1000]
        if self._at.seq:
            _write(packets, self._at.seq, self._seq_start + number, _SEQ_DIGITS)
        packet_id = number % wire.PACKET_ID_MAX + 1
        packets[:, self._at.packet_id] = packet_id >> 8
        packets[:, self._at.packet_id + 1] = packet_id & 255
        self._trains.append((first, time_ms))
        self.sent += n
        return packets.tobytes()

    def flush(self) -> None:
        """Hand to the socket what it takes."""
        if self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return

    def hear(self) -> None:
        """Count the acknowledgements that have come.

        Raises:
            ConnectionError: the broker closed the connection, or sent something else.
        """
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the broker closed the connection")
        data = self._rest + data
        whole = len(data) // 4 * 4
        plain = np.frombuffer(data, np.uint8, whole).reshape(-1, 4)
        if (plain[:, 0] == 0x40).all() and (plain[:, 1] == 2).all():  # nothing but short PUBACKs: success
            self._rest = data[whole:]
            self._answered += len(plain)
            self.acked += len(plain)
            return
        self._slowly(data)

    def _slowly(self, data: bytes) -> None:
        reader = wire.Reader()
        seen = 0
        for packet in reader.feed(data):
            seen += 2 + len(packet.body)  # all that a broker sends here is short
            if packet.kind != wire.PUBACK:
                raise ConnectionError(f"the broker sent a packet of type {packet.kind}")
            _, reason = wire.parse_puback(packet.body)
            if reason >= wire.FAILURE:
                raise ConnectionError(f"the broker refused a message with reason code {reason}")
            self._answered += 1
            self.unheard += reason == wire.NO_SUBSCRIBERS
            self.acked += reason != wire.NO_SUBSCRIBERS
        self._rest = data[seen:]

    def rows(self) -> np.ndarray:
        out = np.empty(self.sent, ROW)
        number = np.arange(self.sent)
        out["series_id"] = self._series[number % len(self._series)]
        out["value"] = _value(number) / 100
        for first, time_ms in self._trains:
            out["event_time"][first : first + len(time_ms)] = time_ms * US_PER_MS
        return out

    def close(self) -> None:
        self.socket.setblocking(True)
        self.socket.sendall(wire.GOODBYE)
        self.socket.close()


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a packet the changing fields begin."""

    packet_id: int
    time: int
    value: int
    seq: int


def _value(number: np.ndarray) -> np.ndarray:
    """Hundredths of the value of each message: a walk that is never the same twice in a row."""
    return 1000 + number * 7919 % _VALUES


def _matrix(names: list[str], message_bytes: int, *, numbered: bool) -> tuple[np.ndarray, _Columns]:
    """One packet a device, with zeros in the changing fields, and where those are."""
    seq = f',"seq":{"0" * _SEQ_DIGITS}' if numbered else ""
    payload = f'{{"t":{"0" * _TIME_DIGITS},"{_QUANTITY}":00.00{seq}'
    topics = [f"pulssi/v1/{_KIND}/{name}/readings".encode() for name in names]
    bare = len(wire.publish(topics[0], payload.encode() + b"}", 1))
    packets = [
        wire.publish(topic, f"{payload}{' ' * max(message_bytes - bare - 1, 0)}}}".encode(), 1) for topic in topics
    ]
    first = packets[0]
    at = _Columns(
        packet_id=first.index(payload.encode()) - 3,
        time=first.index(b'"t":') + 4,
        value=first.index(b"00.00"),
        seq=first.index(b'"seq":') + 6 if numbered else 0,
    )
    return np.frombuffer(b"".join(packets), np.uint8).reshape(len(names), -1), at


def _write(packets: np.ndarray, at: int, numbers: np.ndarray, digits: int) -> None:
    """Write numbers of so many digits into the columns from `at`; those of one train differ in the last four."""
    high, low = np.divmod(numbers, 10_000)
    split = at + digits - 4
    packets[:, split : split + 4] = _FOUR_DIGITS[low]
    same = 0
    for end in (*np.flatnonzero(np.diff(high)) + 1, len(high)):
        packets[same:end, at:split] = np.frombuffer(b"%0*d" % (digits - 4, high[same]), np.uint8)
        same = end


def _connected(host: str, port: int, client_id: str) -> socket.socket:
    """A socket that the broker has accepted, not blocking.

    Raises:
        ConnectionError: it has not.
    """
    found = socket.create_connection((host, port), _ANSWER_S_MAX)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.sendall(wire.connect(client_id, keepalive_s=_KEEPALIVE_S))
    packet = next(wire.Reader().feed(found.recv(_RECEIVE_BYTES)), None)
    if packet is None or packet.kind != wire.CONNACK or wire.parse_connack(packet.body).reason:
        raise ConnectionError("the broker refused the connection")
    found.setblocking(False)
    return found


def main(arguments: list[str]) -> int:
    """Run a load and print its outcome as JSON."""
    parser = argparse.ArgumentParser(prog="python -m simulators.load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--rate", type=float, help="messages a second; as fast as can be when left out")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--message-bytes", type=int, default=200)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--numbered", action="store_true", help="with seq, so that the gateway sends receipts")
    parser.add_argument("--rows", type=Path, help="file for what was sent, as numpy saves it")
    given = parser.parse_args(arguments)
    load = Load(
        given.host,
        given.port,
        devices=given.devices,
        message_bytes=given.message_bytes,
        connections=given.connections,
        numbered=given.numbered,
    )
    outcome = load.run(given.rate, given.seconds)
    load.close()
    if given.rows is not None:
        np.save(given.rows, load.rows())
    print(json.dumps(asdict(outcome)))  # noqa: T201  its answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
