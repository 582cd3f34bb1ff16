"""the gateway on a real Mosquitto and a real Kafka: what is accepted is in Kafka, what is refused a dead letter"""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.mqtt_packets import variable
from pulssi.commands.topics import apply_topics
from pulssi.frames import VEHICLES, decode
from pulssi.series import partition_of, series_id
from pulssi.times import now_us
from tests.service.ingest_harness import ROOT, Fleet, GatewayProcess, gateway_and_fleet, wait_until

pytestmark = pytest.mark.service


@pytest.fixture
def make(tmp_path, mosquitto, kafka):
    """Makes gateways, with settings by name."""
    made = []

    def build(**settings):
        made.append(GatewayProcess(tmp_path, mosquitto[1], kafka, **settings))
        return made[-1]

    yield build
    for one in made:
        one.close()


def rows_of(readings):
    columns = (readings.series_id, readings.event_time, readings.value, readings.seq)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def expected_rows(fleet):
    """What Kafka must hold of everything that was accepted."""
    return {(series_id(device, "no2"), *fleet.sent[device, seq], seq) for device, seq in fleet.accepted}


def check_nothing_lost(gateway, fleet):
    """Every accepted reading is in Kafka with its value; redelivery may have put it there twice, for the same key."""
    assert fleet.accepted == set(fleet.sent)
    assert set(rows_of(gateway.readings())) == expected_rows(fleet)


@pytest.mark.parametrize("producer", ["kafka-python", "confluent-kafka"])
def test_accepted_is_in_kafka_and_receipts_are_exact(make, producer):
    with gateway_and_fleet(make(gateway__producer=producer)) as (gateway, fleet):
        for seq in range(60):
            for number in range(10):
                if seq % 20 == 7:
                    fleet.send(number, seq, no2="high")
                else:
                    fleet.send(number, seq)
        fleet.settle()
        assert fleet.accepted == set(fleet.sent)
        assert fleet.refused == {
            (fleet.device(number), seq): "bad_schema" for number in range(10) for seq in (7, 27, 47)
        }
        found = gateway.readings()
        assert sorted(rows_of(found)) == sorted(expected_rows(fleet))
        assert {headers["reason"] for _, headers in gateway.dead_letters()} == {"bad_schema"}
        assert len(gateway.dead_letters()) == 30
        announced = [json.loads(one.value()) for one in gateway.records(gateway.kafka.topics.series)]
        assert sorted(one["device_id"] for one in announced) == sorted(fleet.device(number) for number in range(10))
        for one in gateway.records(gateway.kafka.topics.readings):
            assert dict(one.headers()) == {"content": b"readings", "version": b"1"}
            assert one.partition() in {partition_of(fleet.device(number), 4) for number in range(10)}
        wait_until(lambda: gateway.metric("pulssi_in_flight", what="messages") == 0, "nothing in flight")
        assert gateway.metric("pulssi_received_total", what="readings") == 570
        assert gateway.metric("pulssi_sent_total", target="kafka", what="readings") == 570
        assert gateway.metric("pulssi_dropped_total", reason="bad_schema") == 30
        assert gateway.stop() == 0


def test_a_response_topic_gets_its_own_receipt(make):
    with gateway_and_fleet(make()) as (_, fleet):
        home, told = f"pulssi/v1/air/{fleet.device(0)}", []
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.on_message = lambda _c, _u, message: told.append(message)
        client.connect("127.0.0.1", fleet._client.port)
        subscribed = []
        client.on_connect = lambda *_: client.subscribe(f"{home}/inbox", 1)
        client.on_subscribe = lambda *_: subscribed.append(1)
        client.loop_start()
        wait_until(lambda: subscribed, "the device listens")
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = f"{home}/inbox"
        properties.CorrelationData = b"\x01\x02"
        payload = json.dumps({"t": now_us() // 1000, "no2": 1, "seq": 3}).encode()
        wait_until(client.is_connected, "the device is connected")
        client.publish(f"{home}/readings", payload, qos=1, properties=properties)
        wait_until(lambda: told, "a receipt on the response topic")
        client.disconnect()
        client.loop_stop()
        assert json.loads(told[0].payload) == {"accepted": [[3, 3]]}
        assert told[0].properties.CorrelationData == b"\x01\x02"


# Input of every bad kind (one dead letter each, nothing else disturbed)

MS = now_us() // 1000
BAD_PAYLOADS = {
    "NaN": (b'{"t":%d,"no2":NaN}' % MS, "not_finite"),
    "Infinity": (b'{"t":%d,"no2":Infinity}' % MS, "not_finite"),
    "minus Infinity": (b'{"t":%d,"no2":-Infinity}' % MS, "not_finite"),
    "1e999": (b'{"t":%d,"no2":1e999}' % MS, "not_finite"),
    "a key given twice": (b'{"t":%d,"no2":1,"no2":2}' % MS, "duplicate_key"),
    "nested 5,000 deep": (b'{"t":%d,"no2":' % MS + b"[" * 5_000 + b"]" * 5_000 + b"}", "too_deep"),
    "nested 100,000 deep": (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
    "a lone surrogate": (b'{"t":"\\ud800","no2":1}', "bad_encoding"),
    "a raw surrogate": (b'{"t":"\xed\xa0\x80","no2":1}', "bad_encoding"),
    "not UTF-8": (b'{"t":"\xff","no2":1}', "bad_encoding"),
    "a number as text": (b'{"t":%d,"no2":"18.5"}' % MS, "bad_schema"),
    "a boolean": (b'{"t":%d,"no2":true}' % MS, "bad_schema"),
    "an integer of 5,000 digits": (b'{"t":%d,"no2":' % MS + b"9" * 5_000 + b"}", "not_finite"),
    "NUL in a name": (b'{"t":%d,"no2\\u0000":1,"x":"y"}' % MS, "control_character"),
    "a raw control character": (b'{"t":%d,"no\x012":1}' % MS, "control_character"),
    "seconds for milliseconds": (b'{"t":%d,"no2":1}' % (MS // 1000), "time_past"),
    "microseconds for milliseconds": (b'{"t":%d,"no2":1}' % (MS * 1000), "time_future"),
    "no time": (b'{"no2":1}', "no_time"),
    "no zone": (b'{"t":"2026-11-24T12:00:00","no2":1}', "bad_time"),
    "an unknown quantity": (b'{"t":%d,"smog":1}' % MS, "unknown_quantity"),
    "a unit of something else": (b'[{"n":"no2","u":"Cel","t":%d,"v":1}]' % (MS // 1000), "unit_mismatch"),
    "A names B in the payload": (b'{"t":%d,"no2":1,"device":"somebody-else"}' % MS, "bad_device_id"),
    "A names B in SenML": (b'[{"bn":"somebody-else:","n":"no2","t":%d,"v":1}]' % (MS // 1000), "bad_device_id"),
    "half a payload": (b'{"t":%d,"no' % MS, "bad_json"),
    "nothing": (b"", "bad_json"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "bad_encoding"),
    "too large": (b'{"t":%d,"no2":1%s}' % (MS, b" " * 300_000), "too_large"),
}
BAD_TOPICS = {
    "no device": ("pulssi/v1/air//readings", "bad_device_id"),
    "spaces in an id": ("pulssi/v1/air/a b/readings", "bad_device_id"),
    "an id of 65 letters": (f"pulssi/v1/air/{'x' * 65}/readings", "bad_device_id"),
    "a quotation mark in an id": ("pulssi/v1/air/a'b/readings", "bad_device_id"),
    "an unknown kind": ("pulssi/v1/fog/dev/readings", "bad_topic"),
    "a station that is no number": ("tms-v2/x/5122", "bad_topic"),
}


def test_every_bad_input_is_one_dead_letter_with_its_reason_and_disturbs_nothing(make, mosquitto):
    """Every kind of bad input that we know, through the real broker, with good readings in between."""
    gateway = make()
    kept = Fleet(mosquitto[1], "kept")
    retained = b'{"t":%d,"no2":1,"seq":1}' % MS
    kept.publish(f"pulssi/v1/air/{kept.device(0)}/readings", retained, retain=True)
    try:
        with gateway_and_fleet(gateway) as (_, fleet):
            wanted = [(retained, "retained")]
            seq = 0
            for payload, reason in BAD_PAYLOADS.values():
                fleet.send(1, seq := seq + 1)
                fleet.publish(f"pulssi/v1/air/{fleet.device(2)}/readings", payload)
                wanted.append((payload, reason))
            for topic, reason in BAD_TOPICS.values():
                fleet.send(1, seq := seq + 1)
                fleet.publish(topic, b"{}" + topic.encode())
                wanted.append((b"{}" + topic.encode(), reason))
            will = b'{"t":1,"no2":1,"seq":77}'
            leave_a_will(mosquitto[1], f"pulssi/v1/air/{fleet.device(3)}/readings", will)
            wanted.append((will, "time_past"))
            for raw in (
                b"pulssi/v1/air/a+b/readings",
                b"pulssi/v1/air/#/readings",
                b"pulssi/v1/air/\xff/readings",
                b"a\x00b",
            ):
                assert refused_by_the_broker(mosquitto[1], raw)
            fleet.publish("$SYS/broker/readings", b"{}")
            fleet.publish("//", b"{}")
            fleet.send(1, seq := seq + 1)
            fleet.settle()
            wait_until(lambda: len(gateway.dead_letters()) >= len(wanted), "all dead letters")
            found = gateway.dead_letters()
            assert sorted((value, headers["reason"]) for value, headers in found) == sorted(wanted)
            assert {headers["source"] for _, headers in found} == {"mqtt"}
            check_nothing_lost(gateway, fleet)
            assert gateway.stop() == 0
    finally:
        kept.publish(f"pulssi/v1/air/{kept.device(0)}/readings", b"", retain=True)
        kept.close()


def leave_a_will(port, topic, payload):
    """Connect with a will and vanish."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.will_set(topic, payload, qos=1)
    connected = []
    client.on_connect = lambda *_: connected.append(1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until(lambda: connected, "connected with a will")
    client.socket().shutdown(socket.SHUT_RDWR)
    client.reconnect_delay_set(60, 60)
    client._state = mqtt._ConnectionState.MQTT_CS_DISCONNECTING
    client.loop_stop()


def refused_by_the_broker(port, topic):
    """Whether the broker ends a connection that publishes to this topic."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        body = b"\x00\x04MQTT\x05\x02\x00\x0a\x00" + b"\x00\x04hack"
        raw.sendall(b"\x10" + variable(len(body)) + body)
        raw.recv(100)
        body = struct.pack("!H", len(topic)) + topic + b"\x00\x01\x00{}"
        raw.sendall(b"\x32" + variable(len(body)) + body)
        answer = raw.recv(100)
        return answer[:1] in (b"", b"\xe0")


# Vehicles


def test_vehicle_events_pass_and_status_topics_are_counted(make, mosquitto):
    with gateway_and_fleet(make()) as (gateway, fleet):
        topic = "/hfp/v2/journey/ongoing/dep/bus/0012/01913/4400/1/Vantaankoski/15:21/1130110/4/60;24/19/72/15"
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        body = {"veh": 1913, "tst": f"{now}.500Z", "ttdep": f"{now}Z", "lat": 60.1, "long": 24.9, "dl": 60}
        fleet.publish(topic, json.dumps({"DEP": body}).encode())
        fleet.publish("tms-v2/status", b'{"updated":1}')
        fleet.publish("tms-v2/23001/5122", b'{"value":88,"time":%d}' % time.time())
        wait_until(lambda: gateway.records(gateway.kafka.topics.vehicles), "the event")
        (record,) = gateway.records(gateway.kafka.topics.vehicles)
        (row,) = decode(record.value(), VEHICLES).to_pylist()
        assert (row["vehicle"], row["route"], row["delay_s"], row["event"]) == ("0012/01913", "4400", 0, "dep")
        assert record.partition() == partition_of("4400", 4)
        wait_until(lambda: gateway.metric("pulssi_received_total", what="ignored") == 1, "the status was counted")
        wait_until(lambda: len(gateway.readings()), "the TMS reading")
        assert gateway.readings().series_id.tolist() == [series_id("tms-23001", "speed_mean", "1")]


# Faults


def test_a_killed_gateway_loses_nothing(make):
    """SIGKILL at random moments under load: the broker delivers again what had no PUBACK."""
    chance = random.Random(20261124)
    with gateway_and_fleet(make()) as (gateway, fleet):
        seq = 0
        for _ in range(3):
            until = time.monotonic() + chance.uniform(0.1, 0.8)
            while time.monotonic() < until:
                seq += 1
                for number in range(20):
                    fleet.send(number, seq)
                time.sleep(0.002)
            gateway.kill()
            gateway.start()
        fleet.settle()
        check_nothing_lost(gateway, fleet)
        assert gateway.dead_letters() == []
        announced = {one.key() for one in gateway.records(gateway.kafka.topics.series)}
        assert len(announced) == 20
        assert gateway.stop() == 0


def test_a_killed_kafka_loses_nothing_and_is_told_once(make, local_services):
    with gateway_and_fleet(make()) as (gateway, fleet):
        for seq in range(1, 400):
            for number in range(5):
                fleet.send(number, seq)
            if seq == 150:
                local_services.kill("kafka")
            time.sleep(0.005)
        local_services.wait_ready("kafka")
        fleet.settle(90)
        check_nothing_lost(gateway, fleet)
        away = [one for one in gateway.events("away") if one["what"] == "kafka"]
        back = [one for one in gateway.events("back") if one["what"] == "kafka"]
        assert len(away) == len(back) <= 1
        assert gateway.stop() == 0


def test_a_killed_broker_loses_nothing_that_a_receipt_named(make, local_services):
    with gateway_and_fleet(make()) as (gateway, fleet):
        for seq in range(1, 300):
            for number in range(5):
                fleet.send(number, seq)
            if seq == 100:
                local_services.kill("mosquitto")
            time.sleep(0.005)
        local_services.wait_ready("mosquitto")
        fleet.settle(90)
        check_nothing_lost(gateway, fleet)
        assert len(gateway.events("connected")) == 2
        assert gateway.metric("pulssi_reconnects_total", target="mqtt") >= 1
        assert gateway.stop() == 0


def test_an_orderly_stop_leaves_nothing_unacknowledged_and_the_session_waits(make):
    """Without seqs, so that no device sends again: each reading is in Kafka once."""
    with gateway_and_fleet(make()) as (gateway, fleet):
        topic, start = f"pulssi/v1/air/{fleet.device(0)}/readings", now_us() // 1000 - 60_000
        for number in range(200):
            fleet.publish(topic, json.dumps({"t": start + number, "no2": number}).encode())
        assert gateway.stop() == 0
        before = len(gateway.readings())
        for number in range(200, 300):
            fleet.publish(topic, json.dumps({"t": start + number, "no2": number}).encode())
        assert len(gateway.readings()) == before
        gateway.start()
        assert gateway.events("connected")[-1]["session_present"] is True
        wait_until(lambda: len(gateway.readings()) >= 300, "what waited in the session")
        assert gateway.stop() == 0
        assert sorted(gateway.readings().value.tolist()) == list(range(300))


def test_over_its_bound_the_gateway_stops_reading_and_keeps_its_connection(make, local_services):
    """Kafka stands still for several keepalives: what is in flight stays bounded, then everything arrives."""
    bound = 200
    pid = local_services.supervisor.pid("kafka")
    with gateway_and_fleet(make(gateway__in_flight_messages_max=bound, mqtt__keepalive_s=2)) as (gateway, fleet):
        fleet.send(0, 1)
        fleet.settle()
        os.kill(pid, signal.SIGSTOP)
        try:
            for seq in range(2, 3_000):
                fleet.send(0, seq)
            wait_until(lambda: gateway.metric("pulssi_in_flight", what="messages") >= bound, "the bound is reached")
            time.sleep(7)
            held = gateway.metric("pulssi_in_flight", what="messages")
            assert bound <= held < bound + 65_536 / 60  # at most one read more
            assert [one["why"] for one in gateway.events("away")] == ["no confirmation for 3 s"]
        finally:
            os.kill(pid, signal.SIGCONT)
        fleet.settle(90)
        check_nothing_lost(gateway, fleet)
        assert len(gateway.events("connected")) == 1
        assert gateway.stop() == 0


def test_a_dead_loop_ends_the_process(make):
    gateway = make()
    program = "import sys, ingest.door as door; door.Door.due = None; from pulssi.cli import main; main()"
    gateway.start(("-c", program, "gateway"), wait=False)
    assert gateway.process.wait(30) == 1
    assert gateway.events("the loop died")


def test_wrong_partitions_are_a_wrong_setting(make):
    gateway = make()
    apply_topics(gateway.kafka)
    environment = {**gateway.environment, "PULSSI_KAFKA__PARTITIONS": "5"}
    command = [sys.executable, "-m", "pulssi", "gateway"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"has 4, not 5" in done.stderr


def test_without_topics_the_gateway_waits_and_says_so(make):
    gateway = make(kafka__prefix="nobody-made-these")
    gateway.start(wait=False)
    wait_until(lambda: gateway.events("away"), "it says what is missing")
    assert "nobody-made-these.readings" in str(gateway.events("away")[0]["why"])
    assert gateway.stop() == 0
