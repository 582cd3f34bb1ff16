"""All 1,990 recorded HFP messages come through the whole path, with the delays that the raw file holds."""

import gzip
import json
from collections import Counter
from datetime import datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.system import System, wait_for

pytestmark = pytest.mark.e2e

RECORDING = Path(__file__).parents[2] / "simulators" / "data" / "hsl_hfp" / "hfp_all_unique.txt.gz"
TEN_YEARS_S = str(10 * 365 * 86_400)
ARRIVAL, DEPARTURE = {"DUE", "ARR", "ARS"}, {"PDE", "DEP", "PAS", "WAIT"}


def _raw():
    """(topic, payload) of each recorded message; the topic may hold spaces, the payload begins at the first ` {`."""
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        for line in lines:
            _received, _, rest = line.rstrip("\n").partition(" ")
            topic, _, payload = rest.partition(" {")
            yield topic, "{" + payload


def _second(text):
    return datetime.fromisoformat(text).timestamp()


def _expected(topic, payload):
    """(vehicle, event, time, delay), computed from the raw line alone: late is positive."""
    levels = topic.split("/")
    ((event, body),) = json.loads(payload).items()
    scheduled = {True: body.get("ttarr"), False: body.get("ttdep")}.get(event in ARRIVAL)
    if levels[3] != "journey":
        delay = None
    elif event in ARRIVAL | DEPARTURE and scheduled:
        delay = round(_second(body["tst"]) - _second(scheduled))
    else:
        delay = None if body.get("dl") is None else -body["dl"]
    return f"{levels[7]}/{levels[8]}", event.lower(), round(_second(body["tst"]) * 1000), delay


@pytest.fixture(scope="module")
def system(services, tmp_path_factory):
    system = System(services, tmp_path_factory.mktemp("buses"), "buses", GATEWAY__EVENT_AGE_S_MAX=TEN_YEARS_S)
    system.prepare()
    system.start("gateway", "streams", "sink")
    yield system
    system.close()


@pytest.fixture(scope="module")
def stored(system):
    """Send everything once, wait for the database, and give its rows."""
    messages = list(_raw())
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_queued_messages_set(0)
    client.connect(*system.services.mqtt)
    client.loop_start()
    sent = [client.publish(topic, payload, qos=1) for topic, payload in messages]
    for info in sent:
        info.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    wait_for(
        lambda: system.count("vehicle_events") + system.count("dead_letters") >= len(messages),
        180,
        f"{len(messages)} messages in the database; gateway: {system.log('gateway')}; sink: {system.log('sink')}",
    )
    return messages


def test_every_message_is_stored_or_a_dead_letter(system, stored):
    assert len(stored) == 1990
    assert system.count("vehicle_events") + system.count("dead_letters") == 1990


def test_every_delay_is_that_of_the_raw_file(system, stored):
    with system.database() as connection:
        refused = {bytes(payload) for (payload,) in connection.execute("SELECT payload FROM dead_letters")}
        rows = connection.execute(
            "SELECT vehicle, event, (extract(epoch FROM event_time) * 1000)::bigint, delay_s FROM vehicle_events"
        ).fetchall()
    expected = Counter(_expected(*message) for message in stored if message[1].encode() not in refused)
    assert Counter(rows) == expected
    delays = [delay for _vehicle, _event, _time, delay in rows if delay is not None]
    assert min(delays) < 0 < max(delays)


def test_a_redelivery_changes_nothing(system, stored):
    before = system.count("vehicle_events")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect(*system.services.mqtt)
    client.loop_start()
    for topic, payload in stored[:200]:
        client.publish(topic, payload, qos=1)
    marker = ("pulssi/v1/air/marker/readings", json.dumps({"t": "2026-01-01T00:00:00Z", "no2": 5}))
    client.publish(*marker, qos=1).wait_for_publish(10)
    client.loop_stop()
    wait_for(lambda: system.count("readings") == 1, 30, "the marker behind the redelivery")
    settled = "SELECT sum(rows) FROM offsets WHERE topic LIKE '%%.vehicles'"
    with system.database() as connection:
        wait_for(lambda: (connection.execute(settled).fetchone() or (0,))[0] >= before + 200, 30, "the sink read them")
    assert system.count("vehicle_events") == before
