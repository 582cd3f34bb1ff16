"""the MQTT client against a broker of raw bytes (order and epochs of PUBACKs) and a real Mosquitto (TLS, websockets)"""

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time

import paho.mqtt.publish as mqtt_publish
import pytest
import structlog

from deploy.local.mosquitto import find
from deploy.local.ports import free_port
from deploy.local.user import unprivileged
from ingest.mqtt_client import BatchedClient, check_filters
from ingest.mqtt_packets import pubacks, variable
from ingest.receipts import Answer
from pulssi.errors import ConfigurationError
from pulssi.metrics import Metrics
from pulssi.settings import MqttSettings
from tests.service.ingest_harness import wait_until

pytestmark = pytest.mark.service


class Running:
    """A client in its loop thread; what it reads is kept, and `do` runs something in the loop."""

    def __init__(self, settings, filters=("t/#",), broker_socket=None):
        self.got, self.todo = [], []
        self.metrics = Metrics("gateway")
        self.client = BatchedClient(
            settings,
            broker_socket=broker_socket,
            client_id=f"client-{os.getpid()}-{settings.port}",
            filters=filters,
            session_expiry_s=60,
            on_publishes=self._take,
            tick=self._tick,
            metrics=self.metrics,
            log=structlog.get_logger(),
        )
        self.error = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            self.client.run()
            self.client.close()
        except BaseException as error:
            self.error = error
            raise

    def _take(self, publishes, size):
        assert size > 0
        self.got.extend((self.client.epoch, *one) for one in publishes)

    def _tick(self):
        while self.todo:
            self.todo.pop(0)()
        return 1.0

    def do(self, what):
        self.todo.append(what)
        self.client.wake()

    def stop(self):
        self.client.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def run():
    made = []

    def build(*arguments, **options):
        made.append(Running(*arguments, **options))
        return made[-1]

    yield build
    for one in made:
        one.stop()


class RawBroker:
    """Accepts connections and does exactly what the test says: no real broker can be made to misbehave."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]

    def accept(self, *, session_present=False):
        self.server.settimeout(20)
        peer, _ = self.server.accept()
        peer.settimeout(20)
        connect = peer.recv(4096)
        assert connect[0] == 0x10
        peer.sendall(b"\x20\x03" + bytes((session_present,)) + b"\x00\x00")
        return peer, connect

    @staticmethod
    def subscribed(peer):
        packet = peer.recv(4096)
        assert packet[0] == 0x82
        peer.sendall(b"\x90\x04" + packet[2:4] + b"\x00\x01")
        return packet

    def close(self):
        self.server.close()


@pytest.fixture
def broker():
    with contextlib.closing(RawBroker()) as one:
        yield one


def packet(mid, payload=b"x", topic=b"t/1"):
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", mid) + b"\x00" + payload
    return b"\x32" + variable(len(body)) + body


def test_connect_asks_for_the_session_and_a_wide_window(run, broker):
    run(MqttSettings(port=broker.port))
    peer, connect = broker.accept()
    with peer:
        flags = connect[connect.index(b"MQTT") + 5]
        assert connect[connect.index(b"MQTT") + 4] == 5
        assert flags & 0x02 == 0  # no clean start
        assert b"\x21\xff\xff" in connect  # receive maximum
        assert b"\x11\x00\x00\x00\x3c" in connect  # session expiry 60 s
        subscribe = broker.subscribed(peer)
        assert subscribe.endswith(b"\x00\x03t/#\x11")  # QoS 1, retained ones only for a new subscription


def test_pubacks_go_out_in_the_order_given_as_one_write(run, broker):
    one = run(MqttSettings(port=broker.port))
    peer, _ = broker.accept()
    with peer:
        broker.subscribed(peer)
        peer.sendall(b"".join(packet(mid) for mid in (1, 2, 3, 9)))
        wait_until(lambda: len(one.got) == 4, "four messages")
        one.do(lambda: one.client.acknowledge(one.client.epoch, [1, 2, 3, 9]))
        assert peer.recv(4096) == pubacks([1, 2, 3, 9])


def test_a_late_confirmation_of_an_older_connection_acknowledges_nothing(run, broker):
    one = run(MqttSettings(port=broker.port))
    peer, _ = broker.accept()
    broker.subscribed(peer)
    peer.sendall(packet(1))
    wait_until(lambda: one.got, "a message")
    old = one.client.epoch
    peer.close()
    peer, _ = broker.accept(session_present=True)
    with peer:
        wait_until(one.client.is_connected, "connected again")
        one.do(lambda: one.client.acknowledge(old, [1]))
        peer.sendall(packet(1, b"another"))
        wait_until(lambda: len(one.got) == 2, "another message of the same id")
        one.do(lambda: one.client.acknowledge(one.client.epoch, [1]))
        assert peer.recv(4096) == pubacks([1])  # once, and no SUBSCRIBE: the session was there
        assert [epoch for epoch, *_ in one.got] == [old, old + 1]
        peer.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.recv(4096)


def test_a_lost_session_is_subscribed_again(run, broker):
    run(MqttSettings(port=broker.port))
    peer, _ = broker.accept()
    broker.subscribed(peer)
    peer.close()
    peer, _ = broker.accept(session_present=False)
    with peer:
        broker.subscribed(peer)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x32\x02\x00\x09",
        b"\x34\x08\x00\x01a\x00\x01\x00ab",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x00\x00",
        b"\x90\x01\x00",
        b"\x40\x00",
        b"\x20\x00",
        os.urandom(64),
    ],
    ids=repr,
)
def test_garbage_ends_the_connection_and_never_the_client(run, broker, garbage):
    one = run(MqttSettings(port=broker.port))
    peer, _ = broker.accept()
    with peer:
        broker.subscribed(peer)
        peer.sendall(packet(1, b"good") + garbage)
        peer.shutdown(socket.SHUT_WR)
        again, _ = broker.accept(session_present=True)
    with again:
        again.sendall(packet(2, b"after"))
        wait_until(lambda: any(payload == b"after" for _, _, _, payload, *_ in one.got), "it reads on")
    assert [payload for _, _, _, payload, *_ in one.got] == [b"good", b"after"]


def test_a_message_in_many_pieces_is_read_whole(run, broker):
    one = run(MqttSettings(port=broker.port))
    peer, _ = broker.accept()
    with peer:
        broker.subscribed(peer)
        whole = packet(1, bytes(300_000)) + packet(2, b"next")
        for at in range(0, len(whole), 40_000):
            peer.sendall(whole[at : at + 40_000])
            time.sleep(0.005)
        wait_until(lambda: len(one.got) == 2, "both")
        assert [len(payload) for _, _, _, payload, *_ in one.got] == [300_000, 4]


def test_a_refused_connection_is_tried_again(run, broker):
    one = run(MqttSettings(port=broker.port))
    peer, _ = broker.accept()
    peer.close()
    broker.server.settimeout(20)
    raw, _ = broker.server.accept()
    raw.recv(4096)
    raw.sendall(b"\x20\x03\x00\x87\x00")  # not authorised
    raw.close()
    peer, _ = broker.accept()
    with peer:
        broker.subscribed(peer)
        assert one.thread.is_alive()


def test_what_is_no_topic_filter_is_a_wrong_setting_all_at_once():
    check_filters(["a", "/", "+/b/#", "#", "+", "a//b"])
    with pytest.raises(ConfigurationError) as caught:
        check_filters(["ok", "a/b#", "a/#/b", "a+/b", "", "a\x00b", "a/+b"])
    assert len(caught.value.problems) == 6


def test_while_paused_nothing_is_read_and_pings_go_on(run, broker):
    one = run(MqttSettings(port=broker.port, keepalive_s=1))
    peer, _ = broker.accept()
    with peer:
        broker.subscribed(peer)
        one.do(lambda: setattr(one.client, "paused", True))
        time.sleep(0.1)
        peer.sendall(packet(1))
        pings = b""
        while len(pings) < 6:
            pings += peer.recv(64)
        assert pings == b"\xc0\x00" * 3
        assert one.got == []
        one.do(lambda: setattr(one.client, "paused", False))
        wait_until(lambda: one.got, "read again")
        assert one.client.epoch == 1


# A real Mosquitto with TLS and websockets


@pytest.fixture(scope="module")
def secure(tmp_path_factory, local_dist):
    """Ports by transport of a Mosquitto with a certificate of its own, the file of its authority, its Unix socket."""
    folder = tmp_path_factory.mktemp("secure")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    ports = {name: free_port() for name in ("tcp", "tls", "websockets", "websockets-tls")}
    lines = ["allow_anonymous true", "max_inflight_messages 0", "max_queued_messages 100000", "log_type error"]
    for name, port in ports.items():
        lines.append(f"listener {port} 127.0.0.1")
        lines += ["protocol websockets"] if "websockets" in name else []
        lines += [f"certfile {certificate}", f"keyfile {key}"] if "tls" in name else []
    lines.append(f"listener 0 {folder / 'broker.sock'}")
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join([*lines, ""]))
    run_as = unprivileged([folder])
    run_as.own(folder)
    process = subprocess.Popen([*run_as.prefix, find(local_dist), "-c", configuration])
    try:
        for port in ports.values():
            wait_until(lambda port=port: listens(port), "Mosquitto listens")
        yield ports, certificate, folder / "broker.sock"
    finally:
        process.terminate()
        process.wait(10)


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.parametrize("name", ["tcp", "unix", "tls", "websockets", "websockets-tls"])
def test_every_transport_brings_every_message_and_takes_answers(run, secure, name):
    ports, certificate, broker_socket = secure
    settings = MqttSettings(
        port=ports.get(name, 1),
        tls="tls" in name,
        ca_file=certificate if "tls" in name else None,
        transport="websockets" if "websockets" in name else "tcp",
    )
    one = run(settings, filters=(f"{name}/#",), broker_socket=broker_socket if name == "unix" else None)
    wait_until(lambda: one.client.epoch_subscribed, "subscribed")
    messages = [(f"{name}/in", b"%d" % number + bytes(number % 700), 1, False) for number in range(1_000)]
    mqtt_publish.multiple(messages, "127.0.0.1", ports["tcp"])
    wait_until(lambda: len(one.got) == 1_000, "all messages")
    assert [payload for _, _, _, payload, *_ in one.got] == [message[1] for message in messages]
    one.do(lambda: one.client.acknowledge(one.client.epoch, [mid for _, mid, *_ in one.got]))
    one.do(lambda: one.client.answer([Answer(f"{name}/out", b"told", b"id")]))
    wait_until(lambda: len(one.got) == 1_001, "our own answer comes back")
    assert one.got[-1][2:4] == (f"{name}/out".encode(), b"told")


# paho leaves a socket whose handshake failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_certificate_of_a_stranger_is_not_trusted(run, secure, tmp_path):
    ports, *_ = secure
    other = tmp_path / "other.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other"]
    subprocess.run([*command, "-keyout", tmp_path / "key.pem", "-out", other], check=True, capture_output=True)
    one = run(MqttSettings(port=ports["tls"], tls=True, ca_file=other))
    wait_until(lambda: one.client.epoch >= 2, "it tries again")
    assert not one.client.is_connected()
    assert one.thread.is_alive()
