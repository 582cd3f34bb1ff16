"""Notifiers that are killed, stopped, doubled, or not allowed to call."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from alerts.receiver import Receiver
from pulssi.messages import AlertState
from tests.fixtures.hooks import SECRET
from tests.fixtures.notifier import PATIENCE_S, Outbox, Process, transition
from tests.fixtures.processes import wait_for

pytestmark = pytest.mark.service

FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


@pytest.fixture
def alone(outbox: Outbox) -> Iterator[list[Process]]:
    """For tests with processes of their own: nothing else is pending, and what they start ends."""
    with outbox.connection() as at:
        at.execute("TRUNCATE subscriptions CASCADE")
    processes: list[Process] = []
    yield processes
    for one in processes:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def test_what_is_not_public_is_not_called(outbox, hooks, alone):
    targets = [f"https://127.0.0.1:{hooks.server_port}/ok/private", f"https://localhost:{hooks.server_port}/ok/private"]
    wishes = [outbox.subscribe(target, "private") for target in targets]
    wishes.append(outbox.subscribe(hooks.at("/ok/private"), "private"))
    alone.append(Process(outbox.settings, allow_private_targets=False, attempts_max=1))
    outbox.alert("private", FIRING)
    for wish in wishes:
        outbox.settled(wish, "dead", 1)
    assert hooks.to("/ok/private") == []
    errors = [outbox.states(wish)[0][2] for wish in wishes]
    assert "127.0.0.1 is not public" in errors[0]
    assert "is not public" in errors[1]
    assert errors[2] == "only https is called"


def test_killed_at_random_moments_every_notification_comes_at_least_once_under_one_id(outbox, hooks, alone):
    rng = random.Random(7)
    wishes = [outbox.subscribe(hooks.at(f"/late/kill{i}"), "kill") for i in range(4)]
    alone.append(Process(outbox.settings))
    for i in range(3):
        outbox.store([transition(f"kill{i}-{j}", 0, FIRING, "kill") for j in range(60)])
        before = len(hooks.calls)
        wait_for(lambda: len(hooks.calls) > before + 10, "the first deliveries", PATIENCE_S)  # noqa: B023  used at once
        time.sleep(rng.uniform(0, 0.3))  # the random moment
        alone[0].end(signal.SIGKILL)
        alone[0].start()
    for i, wish in enumerate(wishes):
        outbox.settled(wish, "delivered", 180)
        assert set(hooks.ids(f"/late/kill{i}")) == {
            f"{wish.subscription_id}:kill{k}-{j}:0" for k in range(3) for j in range(60)
        }
    bodies: dict[str, set[str]] = {}
    for call in hooks.calls:
        bodies.setdefault(call.id, set()).add(json.dumps(call.body))
    assert all(len(same) == 1 for same in bodies.values())


def test_two_notifiers_share_the_work_and_repeat_nothing(outbox, hooks, alone):
    wishes = [outbox.subscribe(hooks.at(f"/ok/both{i}"), "both") for i in range(10)]
    alone += [Process(outbox.settings, lease_s=120, timeout_s=30) for _ in range(2)]
    outbox.store([transition(f"both{j}", 0, FIRING, "both") for j in range(30)])
    for i, wish in enumerate(wishes):
        outbox.settled(wish, "delivered", 30)
        assert set(hooks.ids(f"/ok/both{i}").values()) == {1}
    assert [one.end() for one in alone] == [0, 0]


def test_told_to_stop_it_finishes_what_it_delivers_and_gives_the_rest_back(outbox, hooks, alone):
    wish = outbox.subscribe(hooks.at("/late/stop"), "stop")
    alone.append(Process(outbox.settings, lease_s=600, timeout_s=30))
    outbox.store([transition(f"stop{j}", 0, FIRING, "stop") for j in range(200)])
    wait_for(lambda: len(hooks.to("/late/stop")) > 5, "the first deliveries", PATIENCE_S)
    assert alone[0].end() == 0
    told = len(hooks.to("/late/stop"))
    states = outbox.states(wish)
    assert [one[0] for one in states].count("delivered") == told < 200
    assert {one[:2] for one in states if one[0] == "pending"} == {("pending", 0)}
    with outbox.connection() as at:
        assert at.execute("SELECT count(*) FROM outbox WHERE state = 'pending' AND due_time > now()").fetchone() == (0,)


def test_it_stops_while_the_database_is_away(outbox, alone):
    nowhere = outbox.settings.model_copy(update={"port": 1})
    alone.append(Process(nowhere))
    wait_for(lambda: alone[0].said("away") != [], "the notice", PATIENCE_S)
    assert alone[0].end() == 0
    assert len(alone[0].said("away")) == 1


def test_the_example_receiver_counts_each_notification_once(outbox, alone):
    told: list[dict] = []
    with Receiver("127.0.0.1", 0, SECRET, told.append) as receiver:
        threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True).start()
        wish = outbox.subscribe(receiver.url, "echo")
        forged = outbox.subscribe(receiver.url + "forged", "echo")
        with outbox.connection() as at:
            at.execute(
                "UPDATE subscriptions SET secret = 'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' WHERE subscription_id = %s",
                (forged.subscription_id,),
            )
        alone.append(Process(outbox.settings, attempts_max=1))
        outbox.alert("echo", FIRING, RESOLVED)
        outbox.settled(wish, "delivered", 2)
        outbox.settled(forged, "dead", 1)
        with outbox.connection() as at:
            at.execute("UPDATE outbox SET state = 'pending' WHERE subscription_id = %s", (wish.subscription_id,))
        wait_for(lambda: receiver.repeated == 2, "both again", PATIENCE_S)
        receiver.shutdown()
    assert (receiver.distinct, receiver.repeated) == (2, 2)
    assert receiver.refused >= 1
    assert [one["text"] for one in told if one["event"] == "received"] == ["suomeksi 0", "suomeksi 1"]
