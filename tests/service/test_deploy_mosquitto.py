"""The broker configuration for a network, on a real broker: devices reach only their own topics."""

import base64
import hashlib
import os
import time

import pytest
from paho.mqtt import client as mqtt

from deploy.local import Child, Supervisor, mosquitto
from deploy.local.ports import answers, free_port

pytestmark = pytest.mark.service

FOLDER = mosquitto.LIMITS.parents[1]
NOT_AUTHORIZED = 135


def password_line(user, password):
    """A line of Mosquitto's password file (PBKDF2, SHA-512)."""
    salt = os.urandom(12)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory, local_dist):
    """The shipped configuration with its container paths moved here, on a free port."""
    root = tmp_path_factory.mktemp("broker")
    port = free_port()
    (root / "passwords").write_text(
        "".join(password_line(one, f"{one}-secret") for one in ("gateway", "hel-1", "hel-2"))
    )
    (root / "acl").write_text((FOLDER / "acl").read_text())
    shipped = (FOLDER / "mosquitto.conf").read_text()
    moved = shipped.replace("listener 1883", f"listener {port} 127.0.0.1").replace("/mosquitto/data/", f"{root}/")
    moved = moved.replace("/mosquitto/config/conf.d", str(FOLDER / "conf.d")).replace("/mosquitto/config", str(root))
    if os.geteuid() == 0:
        moved += "user root\n"
    (root / "mosquitto.conf").write_text(moved)
    for secret in ("passwords", "acl"):
        (root / secret).chmod(0o600)
    program = mosquitto.find(local_dist)
    ready = answers("127.0.0.1", port, mosquitto.CONNECT, b"\x20")
    with Supervisor() as supervisor:
        supervisor.start(Child("broker", [program, "-c", root / "mosquitto.conf"], root / "log", ready=ready))
        yield port


class Client:
    """An MQTT 5 client that waits for what it asked."""

    def __init__(self, port, user, password):
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"test-{user}", protocol=mqtt.MQTTv5)
        self.paho.username_pw_set(user, password)
        self.connected, self.published, self.subscribed, self.received = [], [], [], []
        self.paho.on_connect = lambda _c, _u, _f, reason, _p: self.connected.append(reason)
        self.paho.on_publish = lambda _c, _u, _m, reason, _p: self.published.append(reason)
        self.paho.on_subscribe = lambda _c, _u, _m, reasons, _p: self.subscribed.extend(reasons)
        self.paho.on_message = lambda _c, _u, message: self.received.append(message.topic)
        self.paho.connect("127.0.0.1", port)
        self.reason = self.wait(self.connected)

    def wait(self, answers):
        deadline_s = time.monotonic() + 10
        while not answers:
            assert time.monotonic() < deadline_s
            self.paho.loop(timeout=0.1)
        return answers.pop(0)

    def publish(self, topic):
        self.paho.publish(topic, b"{}", qos=1)
        return self.wait(self.published).value

    def subscribe(self, topic):
        self.paho.subscribe(topic, qos=1)
        return self.wait(self.subscribed)


@pytest.fixture
def client(broker):
    clients = []

    def connect(user, password=None):
        clients.append(Client(broker, user, password or f"{user}-secret"))
        return clients[-1]

    yield connect
    for one in clients:
        one.paho.disconnect()


def test_a_wrong_password_is_refused(client):
    assert client("hel-1", "guess").reason.value == NOT_AUTHORIZED


def test_a_device_publishes_as_itself_and_as_nobody_else(client):
    gateway = client("gateway")
    gateway.subscribe("pulssi/v1/+/+/readings")
    device = client("hel-1")
    assert device.publish("pulssi/v1/air/hel-2/readings") == NOT_AUTHORIZED
    assert device.publish("pulssi/v1/air/hel-1/receipts") == NOT_AUTHORIZED
    assert device.publish("pulssi/v1/air/hel-1/readings") == 0
    assert gateway.wait(gateway.received) == "pulssi/v1/air/hel-1/readings"
    assert not gateway.received


def test_a_device_hears_only_its_own_receipts(client):
    gateway, one, other = client("gateway"), client("hel-1"), client("hel-2")
    one.subscribe("pulssi/v1/air/hel-1/receipts")
    other.subscribe("pulssi/v1/air/+/receipts")
    assert gateway.publish("pulssi/v1/air/hel-1/receipts") == 0
    assert gateway.publish("pulssi/v1/air/hel-2/receipts") == 0
    assert one.wait(one.received) == "pulssi/v1/air/hel-1/receipts"
    assert other.wait(other.received) == "pulssi/v1/air/hel-2/receipts"
