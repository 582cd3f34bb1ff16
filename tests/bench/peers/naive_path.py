"""the whole path as tutorials build it: paho callbacks, a JSON record per reading, a Faust table, executemany

`python -m tests.bench.peers.naive_path MQTT_PORT BOOTSTRAP TOPIC` is its gateway; stream processor and sink are those
of the other benches.
"""

from __future__ import annotations

import json
import signal
import sys
import time

import paho.mqtt.client as mqtt
from kafka import KafkaProducer

from pulssi.series import series_id

_NO_QUANTITY = {"t", "seq", "lat", "lon"}


def main(port: int, bootstrap: str, topic: str) -> None:
    """Hand each reading to Kafka as it comes, until SIGTERM."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)

    def on_message(_client, _userdata, message):
        device = message.topic.split("/")[3]
        payload = json.loads(message.payload)
        for quantity in payload.keys() - _NO_QUANTITY:
            reading = {
                "series": f"{device}/{quantity}",
                "series_id": series_id(device, quantity),
                "t": payload["t"] / 1000,
                "received": time.time(),
                "value": payload[quantity],
            }
            producer.send(topic, key=device.encode(), value=json.dumps(reading).encode())

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="naive-path", protocol=mqtt.MQTTv5)
    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe("pulssi/v1/+/+/readings", qos=1)
    client.on_subscribe = lambda *_: print("subscribed", flush=True)
    client.connect("127.0.0.1", port)
    client.loop_start()
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    client.loop_stop()
    producer.close(10)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
