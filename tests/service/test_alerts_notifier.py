"""The notifier as a process of its own, on the real database, against subscribers that misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest

from pulssi.messages import AlertState
from storage.outbox import deliveries, subscriptions
from tests.fixtures.notifier import PATIENCE_S, Outbox, Process, transition
from tests.fixtures.processes import wait_for

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def notifier(outbox: Outbox) -> Iterator[Process]:
    """One process for all tests that do not kill it."""
    process = Process(outbox.settings, timeout_s=3, lease_s=10)
    yield process
    assert process.end() == 0


FIRING, RESOLVED, PENDING = AlertState.FIRING, AlertState.RESOLVED, AlertState.PENDING


def test_an_alert_and_its_end_are_told_in_order_in_the_language_of_the_subscriber(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/ok/plain"), "plain", language="sv")
    name = outbox.alert("plain", PENDING, FIRING, RESOLVED)
    outbox.settled(wish, "delivered", 2)
    first, second = hooks.to("/ok/plain")
    assert (first.id, first.body["type"]) == (f"{wish.subscription_id}:{name}:1", "alert.firing")
    assert (second.id, second.body["type"]) == (f"{wish.subscription_id}:{name}:2", "alert.resolved")
    assert (first.body["id"], first.body["data"]["text"]) == (first.id, "på svenska")
    assert first.body["data"]["alert"]["value"] == 63.25
    with outbox.connection() as at:
        log = {one.notification_id: one for one in deliveries(at)}
    assert (log[first.id].attempt, log[first.id].status, log[first.id].error) == (1, 200, None)


def test_an_alert_that_never_fired_is_told_to_nobody(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/ok/quiet"), "quiet")
    outbox.alert("quiet", PENDING, RESOLVED)
    outbox.alert("quiet", FIRING)
    outbox.settled(wish, "delivered", 1)
    assert [call.body["type"] for call in hooks.to("/ok/quiet")] == ["alert.firing"]


def test_failures_are_tried_again_with_the_same_id_and_body(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/flaky/a"), "flaky")
    outbox.alert("flaky", FIRING)
    outbox.settled(wish, "delivered", 1)
    calls = hooks.to("/flaky/a")
    assert len(calls) == 3
    assert len({call.id for call in calls}) == len({json.dumps(call.body) for call in calls}) == 1
    with outbox.connection() as at:
        log = [one.status for one in deliveries(at) if one.notification_id == calls[0].id]
    assert log == [200, 503, 503]


def test_after_the_last_attempt_a_notification_is_dead(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/broken/a"), "broken")
    outbox.alert("broken", FIRING)
    outbox.settled(wish, "dead", 1)
    assert outbox.states(wish) == [("dead", 4, "status 500")]
    assert len(hooks.to("/broken/a")) == 4


def test_a_redirect_is_not_followed(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/redirect/a"), "redirect")
    outbox.alert("redirect", FIRING)
    outbox.settled(wish, "dead", 1)
    assert outbox.states(wish)[0][2] == "status 307"
    assert hooks.to("/ok/secret") == []


def test_an_endless_answer_is_cut(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/endless/a"), "endless")
    outbox.alert("endless", FIRING)
    outbox.settled(wish, "delivered", 1)
    assert hooks.cut.wait(10)
    assert len(hooks.to("/endless/a")) == 1


def test_dropped_connections_are_tried_again(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/drop/a"), "drop")
    outbox.alert("drop", FIRING)
    outbox.settled(wish, "delivered", 1)
    assert outbox.states(wish)[0][1] == 3


def test_a_subscriber_that_asks_for_patience_gets_it(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/busy/a"), "busy")
    outbox.alert("busy", FIRING)
    outbox.settled(wish, "delivered", 1)
    first, second = hooks.to("/busy/a")
    assert second.time_s - first.time_s >= 1.0


def test_a_subscriber_that_is_gone_gets_nothing_more(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/gone/a"), "gone")
    outbox.store([transition(f"gone{i}", 0, FIRING, "gone") for i in range(5)])
    outbox.settled(wish, "dead", 5)
    outbox.alert("gone", FIRING)
    assert len(hooks.to("/gone/a")) == 1
    assert len(outbox.states(wish)) == 5
    with outbox.connection() as at:
        assert [one.active for one in subscriptions(at) if one.subscription_id == wish.subscription_id] == [False]


def test_slow_subscribers_hold_up_nobody(outbox, hooks, notifier):
    slow = [outbox.subscribe(hooks.at(f"/stuck/{i}"), "shared") for i in range(3)]
    quick = outbox.subscribe(hooks.at("/ok/quick"), "shared")
    outbox.store([transition(f"shared{i}", 0, FIRING, "shared") for i in range(30)])
    outbox.settled(quick, "delivered", 30)
    assert sum(len(hooks.to(f"/stuck/{i}")) for i in range(3)) < 30
    wait_for(lambda: all(any(one[2] for one in outbox.states(wish)) for wish in slow), "the time-outs", PATIENCE_S)
    assert {one[2] for wish in slow for one in outbox.states(wish) if one[2]} == {"no answer in 3 s"}
    with outbox.connection() as at:
        at.execute("DELETE FROM subscriptions WHERE target LIKE '%%/stuck/%%'")


def test_a_subscription_that_is_removed_in_the_middle_disturbs_nothing(outbox, hooks, notifier):
    outbox.subscribe(hooks.at("/stuck/removed"), "removed")
    outbox.alert("removed", FIRING)
    wait_for(lambda: hooks.to("/stuck/removed") != [], "the call", PATIENCE_S)
    with outbox.connection() as at:
        at.execute("DELETE FROM subscriptions WHERE target LIKE '%%/stuck/%%'")
    wish = outbox.subscribe(hooks.at("/ok/after"), "after")
    outbox.alert("after", FIRING)
    outbox.settled(wish, "delivered", 1)


def test_a_lost_connection_to_the_database_is_made_again(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/ok/reconnected"), "reconnected")
    with outbox.connection() as at:
        at.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND query NOT LIKE '%%offsets%%' AND application_name = 'pulssi'"
        )
    outbox.writer.close()
    outbox.span = outbox.writer.take([outbox.place], {})[outbox.place]
    outbox.alert("reconnected", FIRING)
    outbox.settled(wish, "delivered", 1)
    assert notifier.process.poll() is None


def test_what_goes_out_is_what_was_decided_field_by_field(outbox, hooks, notifier):
    wish = outbox.subscribe(hooks.at("/ok/whole"), "whole")
    one = transition("whole", 0, FIRING, "whole")
    outbox.store([one])
    outbox.settled(wish, "delivered", 1)
    alert = hooks.to("/ok/whole")[0].body["data"]["alert"]
    sent = msgspec.structs.asdict(one)
    assert set(alert) == set(sent) - {"texts", "decided_time"}
    assert {name: alert[name] for name in ("rule", "value", "threshold", "evidence", "severity")} == {
        name: sent[name] for name in ("rule", "value", "threshold", "evidence", "severity")
    }
