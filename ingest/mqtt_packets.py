"""MQTT 5 packets as bytes: cutting a stream, reading PUBLISH, writing PUBACK and PUBLISH

Only what the gateway does a hundred thousand times a second; every other packet is left to paho.
Source: MQTT Version 5.0, OASIS Standard, 2019.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pulssi.errors import PulssiError

Publish = tuple[int, bytes, bytes, bytes, int]
"""Packet id (-1 at QoS 0), topic, payload, properties, first byte of the packet."""

Packet = tuple[int, bytes]
"""First byte and body of a packet that is no PUBLISH."""

_HEADS_MAX = 4_096
_heads: dict[bytes, tuple[int, int]] = {}
"""What the first five bytes of a QoS 1 PUBLISH of 128 bytes to 16 KiB say: its size, and where its packet id is."""

RETAIN = 0x01
_DUP_RETAIN = 0x09
_QOS0 = 0x30
_QOS1 = 0x32
_QOS0_BYTE = b"\x30"
_PUBLISH = 0x30
_LENGTH_MAX = 0x0FFF_FFFF
_ONE_BYTE = [bytes((value,)) for value in range(128)]


class MalformedPacketError(PulssiError):
    """The other side broke the protocol: the connection ends.

    Attributes:
        before: the PUBLISH packets of the same bytes that came whole before the broken one.
    """

    def __init__(self, what: str, before: Sequence[Publish] = ()) -> None:
        self.before = list(before)
        super().__init__(what)


def scan(  # noqa: C901, PLR0912, PLR0915  the hot loop of the gateway: a call for each branch would double its cost
    data: bytes, at: int = 0
) -> tuple[list[Publish], int, Packet | None]:
    """Cut packets off a stream until one that is no PUBLISH, or until the rest is not whole.

    Args:
        data: bytes of the stream; `at` is the first byte of a packet.
        at: where to begin.

    Returns:
        The PUBLISH packets, where to go on, and the packet in between that is no PUBLISH.

    Raises:
        MalformedPacketError: a length points outside its packet, QoS 2, or an empty topic.
    """
    found: list[Publish] = []
    add = found.append
    end = len(data)
    get = _heads.get
    while end - at >= 2:
        head = get(data[at : at + 5])
        if head is not None:
            size, to_mid = head
            stop = at + size
            if stop > end:
                break
            mid = at + to_mid
            if not data[mid + 2]:
                add((data[mid] << 8 | data[mid + 1], data[at + 5 : mid], data[mid + 3 : stop], b"", data[at]))
                at = stop
                continue
        first = data[at]
        body = at + 2
        length = data[at + 1]
        if length > 127:
            if end - at > 2 and data[body] < 128:  # up to 16 KiB: nearly all
                length = length & 127 | data[body] << 7
                body += 1
            else:
                length, body = _variable(data, at + 1, end, found)
                if length < 0:
                    break
        stop = body + length
        if stop > end:
            break
        kind = first & ~_DUP_RETAIN
        if kind == _QOS1:
            if length < 6:
                raise MalformedPacketError("PUBLISH is too short", found)
            topic = body + 2
            mid = topic + (data[body] << 8 | data[body + 1])
            payload = mid + 3
            if payload > stop or mid == topic:
                raise MalformedPacketError("the topic of a PUBLISH is empty or longer than the packet", found)
            if length > 127 and body == at + 3 and len(_heads) < _HEADS_MAX:
                _heads[data[at : at + 5]] = (stop - at, mid - at)
            if data[mid + 2]:
                payload, properties = _properties(data, mid + 2, stop, found)
                add((data[mid] << 8 | data[mid + 1], data[topic:mid], data[payload:stop], properties, first))
            else:
                add((data[mid] << 8 | data[mid + 1], data[topic:mid], data[payload:stop], b"", first))
        elif kind == _QOS0:
            add(_qos0(data, body, stop, first, found))
        elif first & 0xF0 == _PUBLISH:
            raise MalformedPacketError("PUBLISH at a QoS that nobody asked for", found)
        else:
            return found, stop, (first, data[body:stop])
        at = stop
    return found, at, None


def _variable(data: bytes, at: int, end: int, found: list[Publish]) -> tuple[int, int]:
    """A variable byte integer and the index after it; -1 when it is not whole yet."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= end:
            return -1, at
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise MalformedPacketError("a length has more than four bytes", found)


def _properties(data: bytes, at: int, stop: int, found: list[Publish]) -> tuple[int, bytes]:
    """Index of the payload and the bytes of the properties."""
    size, start = _variable(data, at, stop, found)
    payload = start + size
    if size < 0 or payload > stop:
        raise MalformedPacketError("the properties are longer than the packet", found)
    return payload, data[start:payload]


def _qos0(data: bytes, body: int, stop: int, first: int, found: list[Publish]) -> Publish:
    if stop - body < 4:
        raise MalformedPacketError("PUBLISH is too short", found)
    topic = body + 2
    after = topic + (data[body] << 8 | data[body + 1])
    if after + 1 > stop or after == topic:
        raise MalformedPacketError("the topic of a PUBLISH is empty or longer than the packet", found)
    payload, properties = _properties(data, after, stop, found)
    return -1, data[topic:after], data[payload:stop], properties, first


def missing(data: bytes) -> int:
    """How many bytes at least are still to come of the packet whose beginning `data` is."""
    if len(data) < 2:
        return 2 - len(data)
    length, body = _variable(data, 1, len(data), [])
    return 1 if length < 0 else max(1, body + length - len(data))


_SIZES = {0x01: 1, 0x02: 4, 0x23: 2}
"""Fixed sizes of the properties of a PUBLISH: payload format, expiry, topic alias."""
_RESPONSE_TOPIC, _CORRELATION, _USER, _SUBSCRIPTION = 0x08, 0x09, 0x26, 0x0B
_STRINGS = {0x03: 1, _RESPONSE_TOPIC: 1, _CORRELATION: 1, _USER: 2}
"""How many length-prefixed strings a property has: content type, response topic, correlation data, user property."""


def reply_to(properties: bytes) -> tuple[bytes, bytes] | None:
    """Response topic and correlation data (empty when none) of a PUBLISH; None when it asks for no reply.

    Raises:
        MalformedPacketError: a property is unknown or longer than its place.
    """
    at, end = 0, len(properties)
    topic: bytes | None = None
    correlation = b""
    while at < end:
        name = properties[at]
        at += 1
        if name in _SIZES:
            at += _SIZES[name]
        elif name == _SUBSCRIPTION:
            size, at = _variable(properties, at, end, [])
            at = end + 1 if size < 0 else at
        elif name in _STRINGS:
            for _ in range(_STRINGS[name]):
                start = at + 2
                at = start + int.from_bytes(properties[at:start], "big") if start <= end else end + 1
            if name == _RESPONSE_TOPIC:
                topic = properties[start:at]
            elif name == _CORRELATION:
                correlation = properties[start:at]
        else:
            raise MalformedPacketError(f"a PUBLISH has no property {name:#04x}")
        if at > end:
            raise MalformedPacketError("a property is longer than its place")
    return None if topic is None else (topic, correlation)


def pubacks(mids: Sequence[int]) -> bytes:
    """One PUBACK (success) after the other, in the order of `mids`."""
    words = [0x4002] * (2 * len(mids))
    words[1::2] = mids
    return struct.pack(f"!{len(words)}H", *words)


def publish(topic: bytes, payload: bytes, correlation: bytes = b"") -> bytes:
    """A PUBLISH at QoS 0."""
    properties = struct.pack("!BH", _CORRELATION, len(correlation)) + correlation if correlation else b""
    rest = (len(topic).to_bytes(2), topic, variable(len(properties)), properties, payload)
    return b"".join((_QOS0_BYTE, variable(sum(map(len, rest))), *rest))


def variable(value: int) -> bytes:
    """A variable byte integer.

    Raises:
        ValueError: it is negative or needs more than four bytes.
    """
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    if not 0 <= value <= _LENGTH_MAX:
        raise ValueError(f"{value} does not fit into four bytes")
    out = bytearray()
    while True:
        value, byte = divmod(value, 128)
        out.append(byte | 128 if value else byte)
        if not value:
            return bytes(out)
