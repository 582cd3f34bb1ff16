"""the device side of MQTT 5 on the wire: bytes for packets and packets from bytes, nothing of sockets

Only what a publishing device needs. paho-mqtt packs one message at a time in 20 us; a simulated city, and a load that
has to outrun the gateway, write trains of packets with one system call.
Source: MQTT Version 5.0, OASIS Standard, 7 March 2019, sections 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 13, 14
PINGREQ = b"\xc0\x00"
GOODBYE = b"\xe0\x00"
PACKET_ID_MAX = 65_535
NO_SUBSCRIBERS = 16
FAILURE = 128
"""Reason codes from here on say that the broker did not do it."""

PACKET_BYTES_MAX = 268_435_460
"""The largest packet of the protocol: a fixed header of five bytes and a length of four digits to the base 128."""
_RECEIVE_MAXIMUM = 0x21
_MAXIMUM_PACKET_SIZE = 0x27
_U16 = struct.Struct("!H")
_FIXED = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
"""Lengths of the CONNACK properties of fixed size, by identifier (table 2-4)."""


class Packet(NamedTuple):
    """One packet: its type, the flags of its first byte, and everything after the fixed header."""

    kind: int
    flags: int
    body: bytes


class Connack(NamedTuple):
    """Reason code, unacknowledged publishes that the broker takes, and bytes of a packet that it takes."""

    reason: int
    window: int
    packet_bytes_max: int


def _length(n: int) -> bytes:
    """The variable byte integer of `n`."""
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def _text(data: bytes) -> bytes:
    return _U16.pack(len(data)) + data


def connect(client_id: str, *, keepalive_s: int, username: str | None = None, password: str | None = None) -> bytes:
    """CONNECT with a clean start: a device remembers what it owes itself, in its outbox."""
    flags = 0x02 | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    properties = bytes([_RECEIVE_MAXIMUM]) + _U16.pack(PACKET_ID_MAX)
    body = _text(b"MQTT") + bytes([5, flags]) + _U16.pack(keepalive_s) + _length(len(properties)) + properties
    body += _text(client_id.encode())
    for secret in (username, password):
        body += b"" if secret is None else _text(secret.encode())
    return b"\x10" + _length(len(body)) + body


def subscribe(packet_id: int, filters: list[str]) -> bytes:
    """SUBSCRIBE to all filters at QoS 1."""
    body = _U16.pack(packet_id) + b"\x00" + b"".join(_text(one.encode()) + b"\x01" for one in filters)
    return b"\x82" + _length(len(body)) + body


def publish(topic: bytes, payload: bytes, packet_id: int) -> bytes:
    """PUBLISH at QoS 1."""
    n = len(topic)
    size = n + len(payload) + 5
    return b"".join((b"\x32", _length(size), _U16.pack(n), topic, _U16.pack(packet_id), b"\x00", payload))


def puback(packet_id: int) -> bytes:
    """PUBACK with success."""
    return b"\x40\x02" + _U16.pack(packet_id)


class Reader:
    """Cuts a stream of bytes into packets; what is incomplete waits for the next piece."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Every packet that is complete with `data`; to be consumed before the next call.

        Raises:
            ValueError: a length of more than four bytes: this is no MQTT.
        """
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= 2:
            size, body = data[at + 1], at + 2
            if size & 128:
                size, body = _long_length(data, at)
            if body < 0 or body + size > end:
                break
            yield Packet(data[at] >> 4, data[at] & 15, data[body : body + size])
            at = body + size
        self._rest = data[at:]


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """Length and start of the body of the packet at `at`; start -1 when more bytes are needed."""
    size = 0
    for i in range(4):
        if at + 1 + i >= len(data):
            return 0, -1
        byte = data[at + 1 + i]
        size |= (byte & 127) << (7 * i)
        if byte < 128:
            return size, at + 2 + i
    raise ValueError("a packet length of more than four bytes")


def parse_connack(body: bytes) -> Connack:
    """What the broker says to a CONNECT."""
    size, at = _property_block(body, 2)
    end, window, bytes_max = at + size, PACKET_ID_MAX, PACKET_BYTES_MAX
    while at < end:
        name, at = body[at], at + 1
        if name == _RECEIVE_MAXIMUM:
            window = int(_U16.unpack_from(body, at)[0])
        elif name == _MAXIMUM_PACKET_SIZE:
            bytes_max = int.from_bytes(body[at : at + 4])
        at = _skip(body, name, at)
    return Connack(body[1], window, bytes_max)


def _skip(body: bytes, name: int, at: int) -> int:
    """Where the property after the one of this name begins."""
    if name in _FIXED:
        return at + _FIXED[name]
    for _ in range(2 if name == 0x26 else 1):  # a user property is a pair of strings, the rest is one string
        at += 2 + int(_U16.unpack_from(body, at)[0])
    return at


def _property_block(body: bytes, at: int) -> tuple[int, int]:
    """Length of the properties at `at` and where they begin."""
    size, start = _long_length(body, at - 1)
    return size, start


def parse_puback(body: bytes) -> tuple[int, int]:
    """Packet id and reason code."""
    return _U16.unpack_from(body)[0], body[2] if len(body) > 2 else 0


def parse_publish(packet: Packet) -> tuple[str, bytes, int | None]:
    """Topic, payload and, at QoS 1, the packet id to acknowledge.

    Raises:
        UnicodeDecodeError: the topic is no UTF-8; brokers do not forward such.
    """
    body = packet.body
    at = 2 + int(_U16.unpack_from(body)[0])
    topic = body[2:at].decode()
    packet_id = None
    if packet.flags & 6:
        packet_id = int(_U16.unpack_from(body, at)[0])
        at += 2
    size, start = _property_block(body, at)
    return topic, body[start + size :], packet_id
