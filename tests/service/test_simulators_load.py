"""The load generator over a real Mosquitto: it sent what it says, at the rate that was asked for."""

import json
import threading

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local import LocalServices
from pulssi.series import series_id
from simulators.load import Load

pytestmark = pytest.mark.service


class Listener:
    def __init__(self, host, port):
        self.heard = []
        ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = lambda _c, _u, message: self.heard.append((message.topic, message.payload))
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect(host, port)
        self.client.loop_start()
        self.client.subscribe("pulssi/v1/noise/+/readings", 1)
        assert ready.wait(10)

    def wait_for(self, count):
        for _ in range(500):
            if len(self.heard) >= count:
                return
            threading.Event().wait(0.02)
        raise AssertionError(f"{len(self.heard)} of {count} messages came")


@pytest.fixture
def listener(mosquitto):
    found = Listener(*mosquitto)
    yield found
    found.client.disconnect()
    found.client.loop_stop()


def read_back(heard):
    rows = []
    for topic, payload in heard:
        fields = json.loads(payload)
        rows.append((series_id(topic.split("/")[3], "sound_level"), fields["t"] * 1000, fields["sound_level"]))
    return sorted(rows)


@pytest.mark.parametrize("numbered", [False, True])
def test_what_was_heard_is_exactly_what_the_load_says_it_sent(mosquitto, listener, numbered):
    load = Load(*mosquitto, devices=37, connections=3, numbered=numbered, prefix=f"exact-{numbered}")
    runs = [load.run(2000, 0.3), load.run(None, 0.05)]
    load.close()
    assert sum(run.sent for run in runs) == sum(run.acked for run in runs) == len(load.rows())
    assert not any(run.unheard for run in runs)
    listener.wait_for(len(load.rows()))
    assert read_back(listener.heard) == sorted(load.rows().tolist())
    assert len(np.unique(load.rows()[["series_id", "event_time"]])) == len(load.rows())
    seqs = [json.loads(payload).get("seq") for _, payload in listener.heard]
    assert len(set(seqs)) > 1 if numbered else set(seqs) == {None}


def test_packets_are_as_long_as_asked_for(mosquitto, listener):
    load = Load(*mosquitto, devices=5, message_bytes=200, connections=1, prefix="long")
    load.run(1000, 0.05)
    load.close()
    listener.wait_for(1)
    topic, payload = listener.heard[0]
    assert len(payload) + len(topic) + 2 + 2 + 1 + 3 == 200


def test_the_rate_is_kept(mosquitto, listener):
    load = Load(*mosquitto, devices=100, prefix="rate")
    outcome = load.run(3000, 1.0)
    load.close()
    assert 2700 <= outcome.sent <= 3000


def test_messages_that_nobody_hears_are_not_called_delivered(tmp_path, local_dist):
    """On a broker of its own: that of the session may keep sessions of other tests, which hear everything."""
    with LocalServices(tmp_path, services={"mosquitto"}, dist=local_dist) as services:
        load = Load(*services.mqtt, devices=10, prefix="unheard")
        outcome = load.run(1000, 0.1)
        load.close()
    assert outcome.sent == outcome.unheard > 0
    assert outcome.acked == 0
