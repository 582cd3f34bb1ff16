"""A reading over a threshold becomes an alert on the page and a signed notification of whom it concerns."""

import json
import secrets
import time
import urllib.request
from threading import Thread

import paho.mqtt.client as mqtt
import pytest

from alerts.receiver import Receiver
from pulssi.geography import load_places
from pulssi.times import iso, now_us
from tests.system import System, wait_for

pytestmark = pytest.mark.e2e

STATION = "fmi-100662"
RULES = """
[[rule]]
id = "dust"
severity = "warning"
scope = { quantity = ["pm10"] }
threshold = { above = 100, clear = 80 }
"""


@pytest.fixture(scope="module")
def system(services, tmp_path_factory):
    root = tmp_path_factory.mktemp("alert")
    (root / "rules.toml").write_text(RULES)
    system = System(
        services, root, "alert", ALERTS__RULES_FILE=str(root / "rules.toml"), NOTIFY__ALLOW_PRIVATE_TARGETS="true"
    )
    system.prepare()
    system.start()
    yield system
    system.close()


@pytest.fixture
def subscriber(system, tmp_path):
    """Subscribes in Swedish to one district; gives what it was told."""

    def subscribe(district):
        secret = "whsec_" + secrets.token_hex(24)
        file = tmp_path / f"secret-{district}"
        file.write_text(secret)
        told = []
        receiver = Receiver("127.0.0.1", 0, secret, told.append)
        Thread(target=receiver.serve_forever, daemon=True).start()
        words = ("--district", district, "--language", "sv", "--secret-file", str(file))
        system.run("subscriptions", "add", "--target", receiver.url, *words)
        receivers.append(receiver)
        return told

    receivers = []
    yield subscribe
    for receiver in receivers:
        receiver.shutdown()
        receiver.server_close()


@pytest.fixture
def device(system):
    """Publishes a reading of the station and waits for the broker."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect(*system.services.mqtt)
    client.loop_start()

    def publish(value):
        reading = json.dumps({"t": iso(now_us()), "pm10": value})
        client.publish(f"pulssi/v1/air/{STATION}/readings", reading, qos=1).wait_for_publish(10)

    yield publish
    client.disconnect()
    client.loop_stop()


def _alerts(system):
    with urllib.request.urlopen(f"{system.installation.page}/api/alerts") as answer:  # noqa: S310  our own page
        return json.load(answer)


def test_from_a_reading_to_the_subscriber_and_back_to_normal(system, subscriber, device):
    home = load_places().at(STATION, now_us()).district
    here, elsewhere = subscriber(home), subscriber("01" if home != "01" else "02")
    for value in (30, 140):
        device(value)
        time.sleep(0.01)  # two readings of one series have two times
    fired = wait_for(lambda: list(here), 30, f"a notification; alerts: {system.log('alerts')}")
    assert fired[0]["event"] == "received"
    assert "140" in fired[0]["text"]
    assert "Kallio" in fired[0]["text"]

    shown = wait_for(lambda: [one for one in _alerts(system) if one["device_id"] == STATION], 10, "on the page")
    assert shown[0]["state"] == "firing"
    assert shown[0]["texts"].keys() >= {"fi", "sv", "en"}

    device(20)
    wait_for(lambda: len(here) == 2, 30, "the notification that it is over")
    assert len({one["id"] for one in here}) == 2
    assert elsewhere == []
    with system.database() as connection:
        steps = connection.execute("SELECT state FROM alert_transitions ORDER BY sequence").fetchall()
    assert [state for (state,) in steps] == ["firing", "resolved"]
