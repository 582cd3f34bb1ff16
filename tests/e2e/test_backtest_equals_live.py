"""What the living system fired on readings, and what a backtest over the stored readings says, are the same steps."""

import json

import numpy as np
import paho.mqtt.client as mqtt
import pytest

from pulssi.commands.backtest.run import Options, run
from pulssi.times import US_PER_S, iso, now_us
from tests.system import System, wait_for

pytestmark = pytest.mark.e2e

HOURS = 3
DEVICES = ("dev-1", "dev-2", "dev-3")
RULES = """
[[rule]]
id = "held"
severity = "warning"
threshold = { above = 60, clear = 45, for_s = 120, clear_for_s = 60 }

[[rule]]
id = "windowed"
severity = "critical"
threshold = { on = "window", window_s = 300, above = 55, clear = 50, for_s = 60 }

[[rule]]
id = "last"
severity = "info"
threshold = { above = 900 }

[[rule]]
id = "odd"
severity = "info"
anomaly = { score = 0.98, clear = 0.9, clear_for_s = 60, refractory_s = 120 }
"""


@pytest.fixture(scope="module")
def system(services, tmp_path_factory):
    root = tmp_path_factory.mktemp("live")
    (root / "rules.toml").write_text(RULES)
    system = System(services, root, "backtest", ALERTS__RULES_FILE=str(root / "rules.toml"))
    system.prepare()
    system.start("gateway", "streams", "alerts", "sink")
    yield system
    system.close()


def _readings():
    """(device, time, value) as devices upload a backlog: a reading each half minute, some of them twice, a last one."""
    rng = np.random.default_rng(11)
    start = (now_us() - (HOURS + 1) * 3600 * US_PER_S) // 1000 * 1000
    found = []
    for step in range(HOURS * 120):
        for number, device in enumerate(DEVICES):
            wave = 50 + 12 * np.sin(step / 40 + number) + rng.normal(0, 4) + 60 * (rng.random() < 0.01)
            found.append((device, start + step * 30 * US_PER_S, round(float(wave), 1)))
    for at in sorted(rng.choice(len(found), 40, replace=False), reverse=True):
        found.insert(at, found[at])
    return found + [(device, start + HOURS * 3600 * US_PER_S, 950.0) for device in DEVICES]


@pytest.fixture(scope="module")
def sent(system):
    """Sends it all; gives the time of the last reading, once it has been judged and stored."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_queued_messages_set(0)
    client.connect(*system.services.mqtt)
    client.loop_start()
    readings = _readings()
    for device, time, value in readings:
        topic, payload = f"pulssi/v1/air/{device}/readings", json.dumps({"t": iso(time), "pm10": value})
        info = client.publish(topic, payload, qos=1)
    info.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    wait_for(lambda: system.count("readings") == len(set(readings)), 60, "every reading is stored")
    wait_for(lambda: len(_stored(system, "last", readings[-1][1])) == len(DEVICES), 60, "the last readings are judged")
    return readings[-1][1]


def _stored(system, rule, until):
    """Steps of a rule up to a time of event; what the wall clock shows of open windows lies behind it."""
    statement = """
        SELECT alert_id, sequence, state, (extract(epoch FROM event_time) * 1000000)::bigint, value, threshold
        FROM alert_transitions WHERE rule = %s AND event_time <= to_timestamp(%s / 1e6)"""
    with system.database() as connection:
        return {row[:2]: row[2:] for row in connection.execute(statement, (rule, until))}


@pytest.mark.parametrize(("rule", "least"), [("held", 20), ("windowed", 10), ("odd", 3)])
def test_the_steps_of_the_backtest_are_those_of_the_living_system(system, sent, rule, least):
    report = run(Options(rule, ["db:"]), system.settings)
    expected = {
        (step.alert_id, step.sequence): (step.state, step.event_time, step.value, step.threshold)
        for alarm in report.alarms
        for step in (alarm.first, alarm.fired, alarm.resolved)
        if step is not None and step.event_time <= sent
    }
    assert len(expected) >= least
    wait_for(lambda: len(_stored(system, rule, sent)) >= len(expected), 30, f"{len(expected)} steps of {rule}")
    assert _stored(system, rule, sent) == expected
