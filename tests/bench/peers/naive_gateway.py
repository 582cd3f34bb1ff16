"""paho callbacks and one Kafka record per reading with kafka-python; arguments: MQTT port, bootstrap, topic"""

import json
import signal
import sys
import time

import paho.mqtt.client as mqtt
from kafka import KafkaProducer


def main() -> None:
    port, bootstrap, topic = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)

    def on_connect(client, _userdata, _flags, _reason, _properties):
        client.subscribe("pulssi/v1/+/+/readings", qos=1)

    def on_message(client, _userdata, message):
        device = message.topic.split("/")[3]
        records = json.loads(message.payload)
        for record in records if isinstance(records, list) else [records]:
            reading = {"device": device, "received": time.time(), **record}
            producer.send(topic, key=device.encode(), value=json.dumps(reading).encode())

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="naive", protocol=mqtt.MQTTv5)
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    client.loop_stop()
    producer.close(10)


if __name__ == "__main__":
    main()
