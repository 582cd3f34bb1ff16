"""the framing of MQTT: any cut of the byte stream gives the same packets, and no bytes crash it"""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.mqtt_packets import MalformedPacketError, missing, pubacks, publish, reply_to, scan, variable

topics = st.text("ab/ äß🚋", min_size=1, max_size=20).map(str.encode)
payloads = st.one_of(st.binary(max_size=20), st.sampled_from([bytes(n) for n in (100, 114, 120, 127, 128, 20_000)]))


@st.composite
def replies(draw):
    """Properties as paho writes them, with what `reply_to` must find in them."""
    properties = Properties(PacketTypes.PUBLISH)
    topic = draw(st.none() | st.sampled_from(["a/b", "ä" * 70, "t" * 300]))
    correlation = draw(st.none() | st.binary(max_size=40))
    if topic is not None:
        properties.ResponseTopic = topic
    if correlation is not None:
        properties.CorrelationData = correlation
    if draw(st.booleans()):
        properties.UserProperty = [("key", "v" * draw(st.sampled_from([1, 200, 20_000])))]
    if draw(st.booleans()):
        properties.ContentType = "application/senml+json"
        properties.MessageExpiryInterval = 60
        properties.PayloadFormatIndicator = 1
    packed = properties.pack()
    _, used = properties.unpack(packed)
    size = len(packed) - 1
    while len(variable(size)) + size != used:
        size -= 1
    return packed[used - size : used], None if topic is None else (topic.encode(), correlation or b"")


@st.composite
def publishes(draw):
    """A PUBLISH with the tuple that `scan` must make of it."""
    topic, payload = draw(topics), draw(payloads)
    properties, _ = draw(replies())
    first = 0x30 | draw(st.sampled_from([0, 1])) | draw(st.sampled_from([0, 2, 10]))
    mid = draw(st.integers(1, 65535)) if first & 2 else -1
    head = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", mid) if first & 2 else b"")
    body = head + variable(len(properties)) + properties + payload
    return bytes((first,)) + variable(len(body)) + body, (mid, topic, payload, properties, first)


others = st.tuples(st.sampled_from([0x20, 0x40, 0x90, 0xD0, 0xE0]), st.binary(max_size=20)).map(
    lambda packet: (bytes((packet[0],)) + variable(len(packet[1])) + packet[1], packet)
)


def read_in_pieces(pieces):
    """What a client does: join, scan, keep the rest; everything that came, in order."""
    rest, seen = b"", []
    for piece in pieces:
        rest += piece
        at, other = 0, True
        while other:
            try:
                found, at, other = scan(rest, at)
            except MalformedPacketError as error:
                return [*seen, *error.before, "malformed"]
            seen += found
            seen += [other] if other else []
        rest = rest[at:]
    return [*seen, ("rest", rest)] if rest else seen


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(publishes() | others, max_size=8), st.lists(st.integers(0, 10**6), max_size=10))
def test_any_cut_of_the_stream_gives_the_packets_that_went_in(packets, places):
    stream = b"".join(raw for raw, _ in packets)
    assert read_in_pieces(cut(stream, places)) == [parsed for _, parsed in packets]


def test_packets_that_open_with_the_same_bytes_are_told_apart():
    """The head of a PUBLISH is remembered; all that stands behind it is read anew each time."""
    topic, payload = b"pulssi/v1/air/dev-1/readings", b"x" * 150

    def packet(first, mid, properties, payload):
        body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", mid) + variable(len(properties)) + properties
        body += payload
        return bytes((first,)) + variable(len(body)) + body

    reply = b"\x01\x01"
    sent = [(0x32, 1, b"", payload), (0x32, 65535, b"", payload[::-1]), (0x3A, 2, b"", payload)]
    sent += [(0x32, 3, reply, payload[2:]), (0x32, 4, b"", payload), (0x33, 5, b"", payload)]
    stream = b"".join(packet(*one) for one in sent)
    expected = [(mid, topic, body, properties, first) for first, mid, properties, body in sent]
    for size in range(1, len(stream) + 1):
        assert read_in_pieces([stream[at : at + size] for at in range(0, len(stream), size)]) == expected
    whole = packet(*sent[0])
    broken = whole[:3] + b"\x02\x00" + whole[5:]  # a topic longer than the packet
    assert read_in_pieces([whole + broken]) == [expected[0], "malformed"]


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 10**6), max_size=10))
def test_garbage_never_crashes_and_is_the_same_however_cut(garbage, places):
    assert read_in_pieces(cut(garbage, places)) == read_in_pieces([garbage])


@settings(max_examples=300, derandomize=True, deadline=None)
@given(publishes(), st.data())
def test_a_spoilt_publish_is_malformed_or_another_publish_and_stays_inside_its_packet(one, data):
    raw, _ = one
    at = data.draw(st.integers(0, min(len(raw), 300) - 1))
    spoilt = raw[:at] + bytes((data.draw(st.integers(0, 255)),)) + raw[at + 1 :]
    for seen in read_in_pieces([spoilt]):
        if seen != "malformed" and len(seen) == 5:
            assert sum(map(len, seen[1:4])) < len(spoilt)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(replies())
def test_reply_to_reads_what_paho_writes(case):
    properties, expected = case
    assert reply_to(properties) == expected


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=60))
def test_reply_to_never_crashes_on_garbage(garbage):
    try:
        found = reply_to(garbage)
    except MalformedPacketError:
        return
    assert found is None or sum(map(len, found)) <= len(garbage)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(publishes(), st.integers(0, 10**6))
def test_missing_never_asks_for_more_than_the_packet_has(one, place):
    raw, _ = one
    begun = raw[: place % len(raw)]
    assert 1 <= missing(begun) <= len(raw) - len(begun)
    if len(begun) >= 5:
        assert missing(begun) == len(raw) - len(begun)


@pytest.mark.parametrize(
    "broken",
    [
        b"\x32\x02\x00\x01",  # shorter than any PUBLISH
        b"\x32\x08\x00\x09abc\x00\x01\x00",  # topic longer than the packet
        b"\x32\x07\x00\x00\x00\x01\x00ab",  # empty topic
        b"\x32\x08\x00\x01a\x00\x01\x7fab",  # properties longer than the packet
        b"\x32\x07\x00\x01a\x00\x01\xff\xff",  # property length not whole
        b"\x34\x08\x00\x01a\x00\x01\x00ab",  # QoS 2
        b"\x36\x08\x00\x01a\x00\x01\x00ab",  # QoS 3
        b"\x30\x03\x00\x01a",  # QoS 0 without property length
        b"\xd0\xff\xff\xff\xff\x01",  # length of five bytes
    ],
)
def test_a_broken_packet_is_malformed_and_keeps_what_came_before(broken):
    good = publish(b"t", b"payload")
    with pytest.raises(MalformedPacketError) as caught:
        scan(good + broken)
    assert caught.value.before == [(-1, b"t", b"payload", b"", 0x30)]


def test_pubacks_are_written_in_order_as_one_piece():
    assert pubacks([1, 65535, 2]) == bytes.fromhex("40020001 4002ffff 40020002")
    assert pubacks([]) == b""


@settings(max_examples=100, derandomize=True, deadline=None)
@given(topics, payloads, st.binary(max_size=60))
def test_what_publish_writes_scan_reads(topic, payload, correlation):
    (one,), _, other = scan(publish(topic, payload, correlation))
    assert one[:3] == (-1, topic, payload)
    assert other is None
    assert one[3] == (b"\x09" + struct.pack("!H", len(correlation)) + correlation if correlation else b"")


@pytest.mark.parametrize("value", [-1, 2**28])
def test_a_length_of_more_than_four_bytes_cannot_be_written(value):
    with pytest.raises(ValueError, match="four bytes"):
        variable(value)
