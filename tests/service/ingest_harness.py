"""a gateway process, devices with an outbox, and what is in Kafka, for the tests of the gateway on real servers"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import confluent_kafka as ck
import paho.mqtt.client as mqtt

from deploy.local.ports import free_port
from deploy.processes import answers
from pulssi.commands.topics import apply_topics
from pulssi.frames import Readings
from pulssi.settings import KafkaSettings
from pulssi.times import now_us

ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 40.0) -> None:
    """Look again and again until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(0.02)


class GatewayProcess:
    """`pulssi gateway` as a child, with topics of its own."""

    def __init__(self, folder: Path, mqtt_port: int, bootstrap: str, **settings: object) -> None:
        self.kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"g{secrets.token_hex(4)}")
        self.mqtt_port = mqtt_port
        self.metrics_port = free_port("127.0.0.1")
        self.log_file = folder / f"{self.kafka.prefix}.log"
        apply_topics(self.kafka)
        self.environment = {
            **os.environ,
            "PULSSI_MQTT__PORT": str(mqtt_port),
            "PULSSI_KAFKA__BOOTSTRAP": bootstrap,
            "PULSSI_KAFKA__PREFIX": self.kafka.prefix,
            "PULSSI_GATEWAY__CLIENT_ID": self.kafka.prefix,
            "PULSSI_GATEWAY__SESSION_EXPIRY_S": "60",
            "PULSSI_METRICS__GATEWAY": str(self.metrics_port),
            "PULSSI_LOG__FORMAT": "json",
            **{f"PULSSI_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, program: tuple[str, ...] = ("-m", "pulssi", "gateway"), *, wait: bool = True) -> None:
        """Start, and wait until it is subscribed."""
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen([sys.executable, *program], env=self.environment, stderr=log, cwd=ROOT)
        if wait:
            wait_until(lambda: answers(f"http://127.0.0.1:{self.metrics_port}/ready"), "the gateway is ready")

    def events(self, name: str) -> list[dict[str, object]]:
        """Lines of the log with this event."""
        if not self.log_file.exists():
            return []
        lines = [line for line in self.log_file.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in map(json.loads, lines) if line["event"] == name]

    def kill(self) -> None:
        """SIGKILL and reap."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def metric(self, name: str, **labels: str) -> float:
        """A sample of its metrics, 0 when there is none."""
        with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
                    return float(line.rpartition(" ")[2])
        return 0.0

    # What is in Kafka

    def records(self, topic: str) -> list[ck.Message]:
        """Everything in a topic."""
        consumer = ck.Consumer(
            {
                "bootstrap.servers": self.kafka.bootstrap,
                "group.id": "test",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
            consumer.assign([ck.TopicPartition(topic, number, ck.OFFSET_BEGINNING) for number in partitions])
            found, ended = [], set()
            while len(ended) < len(partitions):
                for message in consumer.consume(500, timeout=0.2):
                    if message.error() is None:
                        found.append(message)
                    elif message.error().code() == ck.KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    else:
                        raise ck.KafkaException(message.error())
            return found
        finally:
            consumer.close()

    def readings(self) -> Readings:
        """Every row of the topic of readings."""
        frames = [Readings.decode(one.value()) for one in self.records(self.kafka.topics.readings)]
        return Readings.concat([Readings.empty(), *frames])

    def dead_letters(self) -> list[tuple[bytes, dict[str, str]]]:
        """Value and headers of every dead letter."""
        found = self.records(self.kafka.topics.deadletters)
        return [(one.value() or b"", {key: value.decode() for key, value in one.headers()}) for one in found]


class Fleet:
    """Devices behind one MQTT 5 connection; each keeps what it sent until a receipt names it, and sends again."""

    RESEND_S = 3.0

    def __init__(self, port: int, prefix: str) -> None:
        self.prefix = prefix
        self.outbox: dict[tuple[str, int], bytes] = {}
        self.accepted: set[tuple[str, int]] = set()
        self.refused: dict[tuple[str, int], str] = {}
        self.sent: dict[tuple[str, int], tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._start_ms = now_us() // 1000 - 600_000
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(500)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_message = self._told
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(20)

    def device(self, number: int) -> str:
        """A device id that no other test uses."""
        return f"{self.prefix}-{number}"

    def send(self, number: int, seq: int, **body: object) -> None:
        """Publish one reading; `body` replaces the measure."""
        device = self.device(number)
        time_ms, value = self._start_ms + seq, seq + number / 1000
        payload = json.dumps({"t": time_ms, "seq": seq, **(body or {"no2": value})}).encode()
        with self._lock:
            self.outbox[device, seq] = payload
            if not body:
                self.sent[device, seq] = (time_ms * 1000, value)
        self._publish(device, payload)

    def publish(self, topic: str, payload: bytes, **options: object) -> None:
        """Any message; returns when the broker has it."""
        self._client.publish(topic, payload, qos=1, **options).wait_for_publish(20)

    def settle(self, timeout_s: float = 60.0) -> None:
        """Send again what nobody has answered, until everything is answered."""
        deadline = time.monotonic() + timeout_s
        while self.outbox:
            known = len(self.outbox)
            quiet = time.monotonic() + self.RESEND_S
            while self.outbox and time.monotonic() < quiet:
                time.sleep(0.05)
                if len(self.outbox) < known:
                    known, quiet = len(self.outbox), time.monotonic() + self.RESEND_S
            assert time.monotonic() < deadline, f"{len(self.outbox)} unanswered: {list(self.outbox)[:5]}"
            with self._lock:
                waiting = list(self.outbox.items())
            for (device, _), payload in waiting:
                self._publish(device, payload)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, device: str, payload: bytes) -> None:
        self._client.publish(f"pulssi/v1/air/{device}/readings", payload, qos=1)

    def _connected(self, client, _userdata, _flags, _reason, _properties) -> None:
        client.subscribe("pulssi/v1/air/+/receipts", qos=1)

    def _told(self, _client, _userdata, message) -> None:
        device = message.topic.split("/")[3]
        if not device.startswith(f"{self.prefix}-"):
            return
        receipt = json.loads(message.payload)
        with self._lock:
            for first, last in receipt.get("accepted", ()):
                for seq in range(first, last + 1):
                    self.accepted.add((device, seq))
                    self.outbox.pop((device, seq), None)
            for one in receipt.get("refused", ()):
                self.refused[device, one.get("seq")] = one["reason"]
                self.outbox.pop((device, one.get("seq")), None)


@contextmanager
def gateway_and_fleet(gateway: GatewayProcess) -> Iterator[tuple[GatewayProcess, Fleet]]:
    """A started gateway and devices, both ended afterwards."""
    fleet = None
    try:
        gateway.start()
        fleet = Fleet(gateway.mqtt_port, gateway.kafka.prefix)
        yield gateway, fleet
    finally:
        if fleet is not None:
            fleet.close()
        gateway.close()
