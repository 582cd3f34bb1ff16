"""Dead letters through the commands: listed, shown without harm, corrected, sent again on the real servers."""

import base64
import json

import pytest
from paho.mqtt import client as mqtt
from typer.testing import CliRunner

from pulssi.cli import app
from pulssi.commands.deadletters import escaped
from pulssi.topics import Content
from tests.fixtures.local_services import new_database
from tests.fixtures.storage import database_settings
from tests.service.storage_harness import Bench, wait_until
from tests.storage_samples import T0, readings

pytestmark = pytest.mark.service

PUBLISH = "pulssi/v1/air/hsy-1/readings"


@pytest.fixture(scope="module")
def bench(kafka, database, mosquitto, tmp_path_factory):
    with new_database(database) as fresh:
        bench = Bench(kafka, database_settings(fresh), tmp_path_factory.mktemp("letters"))
        bench.environment |= {"PULSSI_MQTT__HOST": mosquitto[0], "PULSSI_MQTT__PORT": str(mosquitto[1])}
        letter = {"reason": "bad_json", "detail": "no\x1b[2J", "source": "mqtt", "mqtt_topic": PUBLISH}
        bench.send(bench.topics.deadletters, b'{"pm2_5": \x1b]0;x\x07}', Content.DEADLETTER, device="hsy-1", **letter)
        bench.send(bench.topics.deadletters, b"\xff\x00", Content.DEADLETTER, reason="bad_encoding", source="mqtt")
        bench.send(bench.topics.readings, readings([5], [1]).encode()[:-50], Content.READINGS, 2)
        bench.flush()
        sink = bench.start()
        wait_until(lambda: bench.taken() == 3, sink.log_file.read_text)
        yield bench
        bench.close()


@pytest.fixture
def run(bench):
    def run(*words: str, code: int = 0, given: bytes | None = None) -> str:
        done = CliRunner().invoke(app, ["deadletters", *words], env=bench.environment, input=given)
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

    return run


def named(bench, reason: str) -> str:
    return bench.rows("SELECT dead_letter_id FROM dead_letters WHERE reason = %s", reason)[0][0]


def test_a_list_names_each_with_its_reason(run, bench):
    lines = run("list").splitlines()
    assert len(lines) == 3
    assert any("bad_json" in line and PUBLISH in line for line in lines)
    assert len(run("list", "--reason", "bad_frame").splitlines()) == 1
    [found] = json.loads(run("list", "--device", "hsy-1", "--json"))
    assert found["dead_letter_id"] == f"{bench.topics.deadletters}/0/0"
    assert found["target"] == f"mqtt {PUBLISH}"


def test_what_is_shown_cannot_command_the_terminal(run, bench):
    shown = run("show", named(bench, "bad_json"))
    assert "\x1b" not in shown
    assert "\\x1b]0;x\\x07" in shown
    assert "ff 00" in run("show", named(bench, "bad_encoding"), "--hex")
    found = json.loads(run("show", named(bench, "bad_encoding"), "--json"))
    assert base64.b64decode(found["payload_base64"]) == b"\xff\x00"


def test_the_bytes_can_be_taken_out_as_they_came(run, bench, tmp_path):
    run("show", named(bench, "bad_json"), "--out", str(tmp_path / "bytes"))
    assert (tmp_path / "bytes").read_bytes() == b'{"pm2_5": \x1b]0;x\x07}'


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\u202eabc", "\x9b2J"])
def test_every_control_character_is_escaped(text):
    assert escaped(text).isprintable()
    assert escaped("hyvää 中") == "hyvää 中"


def test_a_corrected_message_goes_back_to_its_mqtt_topic(run, bench, mosquitto):
    got = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _data, message: got.append((message.topic, message.payload, message.qos))
    client.connect(*mosquitto)
    client.subscribe(PUBLISH, qos=1)
    client.loop_start()
    name = named(bench, "bad_json")
    try:
        run("correct", name, "-", given=b'{"pm2_5": 7.5}')
        assert run("redrive", name) == f"{name}: sent\n"
        wait_until(lambda: bool(got), "the message on its topic")
    finally:
        client.disconnect()
        client.loop_stop()
    assert got == [(PUBLISH, b'{"pm2_5": 7.5}', 1)]
    original = "SELECT payload, corrected FROM dead_letters WHERE dead_letter_id = %s AND redriven_time IS NOT NULL"
    assert bench.rows(original, name) == [(b'{"pm2_5": \x1b]0;x\x07}', b'{"pm2_5": 7.5}')]
    assert len(run("list").splitlines()) < len(run("list", "--all").splitlines())


def test_a_corrected_record_goes_back_to_its_partition_and_is_stored(run, bench, tmp_path):
    name = named(bench, "bad_frame")
    assert name == f"{bench.topics.readings}/2/0"
    mended = tmp_path / "frame"
    mended.write_bytes(readings([5], [1], [2.5]).encode())
    run("correct", name, str(mended))
    assert json.loads(run("redrive", "--reason", "bad_frame", "--json")) == {name: "sent"}
    stored = f"SELECT value FROM readings WHERE series_id = 5 AND event_time = to_timestamp({T0 // 10**6 + 1})"
    wait_until(lambda: bench.rows(stored) == [(2.5,)], "the mended reading")


def test_what_cannot_be_sent_says_why(run, bench):
    name = named(bench, "bad_encoding")
    assert "nobody knows where it came from" in run("redrive", name, code=1)
    assert bench.rows("SELECT redriven_time FROM dead_letters WHERE dead_letter_id = %s", name) == [(None,)]


@pytest.mark.parametrize(
    "words", [("show", "no/0/0"), ("redrive",), ("redrive", "no/0/0"), ("redrive", "x", "--reason", "bad_json")]
)
def test_wrong_names_are_told(bench, words):
    done = CliRunner().invoke(app, ["deadletters", *words], env=bench.environment)
    assert type(done.exception).__name__ == "ConfigurationError"
