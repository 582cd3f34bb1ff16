from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook

from alerts.delivery import Outcome, body_of, pause_s, retry_after_s, signed_headers
from alerts.subscriptions import new_secret, wanted
from alerts.targets import TargetError
from pulssi.errors import ConfigurationError
from pulssi.settings import NotifySettings
from storage.outbox import Notification
from storage.queries import Transition

NOW = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
SECRET = new_secret()


def notification(**given) -> Notification:
    step = Transition(
        alert_id="abc", sequence=1, state="firing", rule="pm2_5-now", rule_version="v", condition="threshold",
        severity="warning", series_id=-5, device_id="fmi-1", quantity="pm2_5", kind="air", onset_time=NOW,
        event_time=NOW, receive_time=NOW, decided_time=NOW, value=63.2, threshold=50.0, unit="ug/m3", name="Kallio 2",
        lat=60.2, lon=24.9, district="11", evidence={"rows": 1}, texts={"fi": "ylittää", "sv": "överskrider"},
        stored_time=NOW,
    )  # fmt: skip
    base = {
        "notification_id": "s:abc:1", "subscription_id": UUID(int=1), "attempt": 1, "created_time": NOW,
        "transition": step, "channel": "webhook", "target": "https://x.example/", "secret": SECRET, "language": "sv",
    }  # fmt: skip
    return Notification(**base | given)


def test_the_body_says_what_happened_in_the_language_of_the_subscriber():
    message = json.loads(body_of(notification()))
    assert (message["id"], message["type"], message["timestamp"]) == ("s:abc:1", "alert.firing", "2026-11-24T07:00:00Z")
    assert (message["data"]["language"], message["data"]["text"]) == ("sv", "överskrider")
    alert = message["data"]["alert"]
    assert (alert["value"], alert["threshold"], alert["unit"], alert["district"]) == (63.2, 50.0, "ug/m3", "11")
    assert SECRET not in body_of(notification()).decode()


def test_the_body_is_the_same_in_every_attempt():
    assert body_of(notification(attempt=1)) == body_of(notification(attempt=7))


def test_a_receiver_verifies_the_signature_with_the_library_of_the_scheme():
    now = datetime.now(UTC)
    body = body_of(notification())
    headers = signed_headers(notification(), body, now)
    assert Webhook(SECRET).verify(body, headers)["id"] == headers["webhook-id"] == "s:abc:1"


def test_a_time_outside_utc_is_refused_because_the_library_would_sign_another_hour():
    helsinki = timezone(timedelta(hours=2))
    local = datetime.now(helsinki)
    body = b"{}"
    signed = Webhook(SECRET).sign("a", local, body.decode())
    assert signed != Webhook(SECRET).sign("a", local.astimezone(UTC), body.decode())  # the trap is still there
    with pytest.raises(ValueError, match="UTC"):
        signed_headers(notification(), body, local)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!", "a"])
def test_a_secret_that_is_none_is_an_error_of_the_target(secret):
    with pytest.raises(TargetError, match="base64"):
        signed_headers(notification(secret=secret), b"{}", datetime.now(UTC))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("120", 120),
        (" 5 ", 5),
        ("soon", 0),
        ("-5", 0),
        ("Tue, 24 Nov 2026 07:02:00 GMT", 120),
        ("Tue, 24 Nov 2026 06:00:00 GMT", 0),
        ("Tue, 24 Nov 2026 07:02:00", 0),
    ],
)
def test_retry_after_in_both_its_forms(header, seconds):
    assert retry_after_s(header, NOW) == seconds


def test_pauses_double_with_jitter_up_to_a_bound():
    settings = NotifySettings(retry_base_s=1, retry_s_max=60)
    failed = Outcome(1, 500)
    for attempt, longest in [(1, 1), (2, 2), (5, 16), (7, 60), (500, 60)]:
        pauses = [pause_s(attempt, failed, settings) for _ in range(50)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1


def test_a_pause_is_no_shorter_than_the_receiver_asked_and_no_longer_than_the_bound():
    settings = NotifySettings(retry_base_s=1, retry_s_max=60)
    assert pause_s(1, Outcome(1, 503, retry_after_s=30), settings) == 30
    assert pause_s(1, Outcome(1, 503, retry_after_s=1e9), settings) == 60


@pytest.mark.parametrize(
    ("outcome", "ok", "gone", "why"),
    [
        (Outcome(1, 204), True, False, "status 204"),
        (Outcome(1, 302), False, False, "status 302"),
        (Outcome(1, 410), False, True, "status 410"),
        (Outcome(1, error="x" * 999), False, False, "x" * 300),
    ],
)
def test_what_an_outcome_means(outcome, ok, gone, why):
    assert (outcome.ok, outcome.gone, outcome.why) == (ok, gone, why)


def test_every_problem_of_a_subscription_is_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        wanted(
            "http://example.org/", "whsec_short", districts=["99"], quantities=["phlogiston"], kinds=["sea"],
            devices=["a b"], severity="severe", language="de",
        )  # fmt: skip
    assert len(caught.value.problems) == 8
    assert not any("short" in problem for problem in caught.value.problems)


def test_a_sound_subscription():
    new = wanted("https://example.org/hook", SECRET, districts=["04"], severity="critical", language="en")
    assert (new.districts, new.quantities, new.severity_min, new.language) == (["04"], None, 2, "en")
