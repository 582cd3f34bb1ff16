"""Replay over a real Mosquitto; the gateway is a stand-in that only answers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pulssi.logs import setup
from pulssi.settings import MqttSettings
from simulators.fleet import Fleet, FleetOptions
from simulators.formats import own_message
from simulators.ledger import Book, Ledger
from simulators.link import TOO_LARGE_FOR_BROKER
from simulators.messages import Message

pytestmark = pytest.mark.service

DEVICE = "air-1"


def until(state, deadline_s=20.0):
    """Wait for a state; an assertion, not a nap."""
    end = time.monotonic() + deadline_s
    while not (found := state()):
        assert time.monotonic() < end, "the state did not come in time"
        time.sleep(0.02)
    return found


def pulssi(*arguments, mosquitto, **more):
    host, port = mosquitto
    environment = {**os.environ, "PULSSI_MQTT__HOST": host, "PULSSI_MQTT__PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-c", "from pulssi.cli import main; main()", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )


def test_every_recorded_vehicle_message_reaches_the_broker_and_is_accepted(mosquitto, fake_gateway, tmp_path):
    process = pulssi("replay", "hfp", "--speed", "max", "--ledger", str(tmp_path), "--json", mosquitto=mosquitto)
    output, _ = process.communicate(timeout=60)
    result = json.loads(output.splitlines()[-1])
    assert process.returncode == 0
    assert (result["sent"], result["accepted"], result["unanswered"]) == (1990, 1990, 0)
    until(lambda: len(fake_gateway.heard) >= 1990)
    heard = [topic for topic, _ in fake_gateway.heard]
    assert len(heard) == 1990
    assert Book(tmp_path).totals()["vehicle_events_accepted"] == 1990


def run_fleet(mosquitto, folder, messages, *, during=None, options=None, settle_s=20.0):
    host, port = mosquitto

    async def main():
        with Ledger(folder, "test") as ledger:
            hearing = [("air", DEVICE)]
            mqtt = MqttSettings(host=host, port=port)
            async with Fleet(
                f"test-{os.getpid()}-{time.time_ns()}", mqtt, ledger, setup("test"), hearing, options
            ) as fleet:
                await fleet.send(messages)
                if during is not None:
                    await during(fleet)
                settled = await fleet.settle(settle_s)
                return settled, fleet.counts, fleet.pending

    return asyncio.run(main())


def own(n, start=0):
    return [
        own_message(0, "air", DEVICE, 1_800_000_000_000_000 + i * 1_000_000, {"no2": float(i)}, i)
        for i in range(start, start + n)
    ]


def test_a_reading_without_a_receipt_stays_in_the_outbox_and_is_sent_again(mosquitto, fake_gateway, tmp_path):
    fake_gateway.mute = True

    async def answer_later(fleet):
        await asyncio.to_thread(until, lambda: len(fake_gateway.heard) >= 50)
        assert fleet.counts.accepted == 0
        assert fleet.pending == 50
        fake_gateway.mute = False

    settled, counts, _ = run_fleet(
        mosquitto, tmp_path, own(50), during=answer_later, options=FleetOptions(receipt_timeout_s=0.5)
    )
    assert settled
    assert counts.accepted == 50
    assert counts.sent_again >= 50
    assert Book(tmp_path).totals()["readings_accepted"] == 50


def test_a_refusal_in_a_receipt_ends_the_waiting_and_is_written_down(mosquitto, fake_gateway, tmp_path):
    fake_gateway.refuse = lambda payload: "time_past" if payload["seq"] % 5 == 0 else None
    settled, counts, _ = run_fleet(mosquitto, tmp_path, own(20))
    assert settled
    assert (counts.accepted, counts.refused) == (16, 4)
    assert Book(tmp_path).refusals() == {"time_past": 4}


def test_messages_survive_a_killed_broker(mosquitto, local_services, tmp_path):
    """Nobody hears them at first: sent again after the reconnect, accepted when a gateway is there."""
    from tests.fixtures.fake_gateway import FakeGateway

    async def kill_the_broker(fleet):
        await asyncio.to_thread(until, lambda: fleet.up)
        local_services.kill("mosquitto")
        await asyncio.to_thread(local_services.wait_ready, "mosquitto")
        gateway = FakeGateway(*mosquitto)
        assert await fleet.settle(30)
        gateway.close()
        assert fleet.reconnects >= 1

    settled, counts, _ = run_fleet(
        mosquitto, tmp_path, own(200), during=kill_the_broker, options=FleetOptions(receipt_timeout_s=1)
    )
    assert settled
    assert counts.accepted == 200


def test_a_message_that_no_packet_can_carry_is_refused_and_the_others_go_on(mosquitto, fake_gateway, tmp_path):
    """A broker throws out whoever sends more than it takes: sent again and again, it would stop its device for ever."""
    huge = Message(0, DEVICE, b"tms-v2/1/5122", b" " * (1 << 20))
    settled, counts, _ = run_fleet(mosquitto, tmp_path, [*own(3), huge, *own(3, start=3)])
    assert settled
    assert (counts.accepted, counts.refused) == (6, 1)
    assert Book(tmp_path).refusals() == {TOO_LARGE_FOR_BROKER: 1}


def test_sigterm_ends_a_replay_with_its_ledger_closed(mosquitto, fake_gateway, tmp_path):
    process = pulssi(
        "replay", "epa", "--speed", "600", "--for", "60s", "--ledger", str(tmp_path), "--json", mosquitto=mosquitto
    )
    until(lambda: len(fake_gateway.heard) > 20)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    result = json.loads(output.splitlines()[-1])
    assert process.returncode == 0
    assert result["settled"]
    assert result["sent"] == result["accepted"] > 20
    assert not list(Path(tmp_path).glob("*-wal"))


def test_a_killed_replay_leaves_a_ledger_that_knows_all_it_sent(mosquitto, fake_gateway, tmp_path):
    process = pulssi("replay", "epa", "--speed", "6000", "--for", "60s", "--ledger", str(tmp_path), mosquitto=mosquitto)
    until(lambda: len(fake_gateway.heard) > 200)
    process.kill()
    process.communicate()
    heard = {json.loads(payload)["t"] * 1000 for _, payload in list(fake_gateway.heard)}
    assert heard <= set(Book(tmp_path).readings()["event_time"].tolist())
