"""Packets of the device side against paho-mqtt, and streams cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulators import wire

topics = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=80)


def packets(data):
    return list(wire.Reader().feed(data))


@given(topics, st.binary(max_size=40_000), st.integers(1, 65_535))
def test_a_publish_reads_back_as_it_was_written(topic, payload, packet_id):
    (packet,) = packets(wire.publish(topic.encode(), payload, packet_id))
    assert packet.kind == wire.PUBLISH
    assert wire.parse_publish(packet) == (topic, payload, packet_id)


@given(st.lists(st.binary(max_size=300), max_size=20), st.randoms(use_true_random=False))
def test_a_stream_may_be_cut_anywhere(payloads, chance):
    data = b"".join(wire.publish(b"t", payload, i + 1) for i, payload in enumerate(payloads))
    reader, found, at = wire.Reader(), [], 0
    while at < len(data):
        size = chance.randint(1, 200)
        found += [wire.parse_publish(packet) for packet in reader.feed(data[at : at + size])]
        at += size
    assert found == [("t", payload, i + 1) for i, payload in enumerate(payloads)]


def test_receipts_with_properties_lose_nothing():
    properties = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = b"x" * 200
    packed = properties.pack()
    body = b"\0\1t" + b"\0\7" + packed + b"payload"
    assert wire.parse_publish(wire.Packet(wire.PUBLISH, 2, body)) == ("t", b"payload", 7)


def test_the_receive_maximum_of_the_broker_is_found_among_other_properties():
    properties = Properties(PacketTypes.CONNACK)
    properties.ReceiveMaximum = 77
    properties.AssignedClientIdentifier = "x"
    properties.UserProperty = ("a", "b")
    properties.MaximumPacketSize = 1000
    properties.ServerKeepAlive = 9
    assert wire.parse_connack(b"\0\0" + properties.pack()) == (0, 77, 1000)
    assert wire.parse_connack(b"\0\x87\0") == (0x87, wire.PACKET_ID_MAX, wire.PACKET_BYTES_MAX)


def test_a_short_puback_is_a_success():
    assert wire.parse_puback(b"\1\2") == (258, 0)
    assert wire.parse_puback(b"\1\2\x10\0") == (258, wire.NO_SUBSCRIBERS)


def test_an_endless_length_is_no_mqtt():
    with pytest.raises(ValueError, match="four bytes"):
        packets(b"\x30\xff\xff\xff\xff\xff")
