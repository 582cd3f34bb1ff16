"""One metrics contract, logs that say once that something is away and once that it is back."""

import json
import urllib.error
import urllib.request

import numpy as np
from prometheus_client import generate_latest

from pulssi.logs import Presence, setup
from pulssi.metrics import Metrics


def _exposed(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_counts_are_exposed_under_the_names_of_the_contract():
    metrics = Metrics("gateway")
    metrics.received("mqtt", "messages", 3)
    metrics.sent("kafka", "readings", 2)
    metrics.dropped("bad_json")
    metrics.error("kafka")
    metrics.in_flight("bytes", 10)
    metrics.limit("bytes", 20)
    metrics.lag("readings", 5)
    metrics.age("readings", 0.5)
    metrics.connected("mqtt", up=True)
    metrics.reconnected("mqtt")
    metrics.latency("readings", 0.01)
    exposed = _exposed(metrics)
    assert 'pulssi_received_total{component="gateway",source="mqtt",what="messages"} 3.0' in exposed
    assert 'pulssi_sent_total{component="gateway",target="kafka",what="readings"} 2.0' in exposed
    assert 'pulssi_dropped_total{component="gateway",reason="bad_json"} 1.0' in exposed
    assert 'pulssi_connected{component="gateway",target="mqtt"} 1.0' in exposed
    for name in ("errors_total", "in_flight", "limit", "lag_records", "age_seconds", "reconnects_total"):
        assert f"pulssi_{name}{{" in exposed


def test_latencies_are_counted_one_by_one_or_as_a_column():
    metrics = Metrics("sink")
    metrics.latency("readings", 0.001)
    metrics.latency("readings", np.array([0.0011, 0.2, 1000.0]))
    exposed = _exposed(metrics)
    labels = 'component="sink",what="readings"'
    for bound, n in (("0.001", 1), ("0.0025", 2), ("0.1", 2), ("0.25", 3), ("60", 3), ("+Inf", 4)):
        assert f'pulssi_latency_seconds_bucket{{component="sink",le="{bound}",what="readings"}} {n}.0' in exposed
    assert f"pulssi_latency_seconds_count{{{labels}}} 4.0" in exposed
    assert f"pulssi_latency_seconds_sum{{{labels}}} 1000.2021" in exposed


def test_two_components_do_not_share_their_numbers():
    one, two = Metrics("one"), Metrics("two")
    one.error("x")
    assert "pulssi_errors_total{" not in _exposed(two)


def test_metrics_are_served_and_can_be_switched_off():
    metrics = Metrics("sink")
    metrics.error("x")
    port = metrics.serve("127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"pulssi_errors_total" in answer.read()
    metrics.close()
    assert metrics.serve("127.0.0.1", -1) == -1


def test_ready_is_answered_as_it_was_last_told():
    metrics = Metrics("sink")
    url = f"http://127.0.0.1:{metrics.serve('127.0.0.1', 0)}/ready"
    told = []
    for up in (None, True, False):
        if up is not None:
            metrics.ready(up)
        try:
            with urllib.request.urlopen(url) as answer:
                told.append(answer.status)
        except urllib.error.HTTPError as error:
            told.append(error.code)
            error.close()
    metrics.close()
    assert told == [503, 200, 503]
    assert 'pulssi_ready{component="sink"} 0.0' in _exposed(metrics)


def test_presence_speaks_once_each_way(capsys):
    presence = Presence(setup("sink", as_json=True), "database")
    presence.back()
    for _ in range(3):
        presence.away("connection refused")
    presence.back()
    presence.back()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["what"]) for line in lines] == [
        ("away", "warning", "database"),
        ("back", "info", "database"),
    ]
    assert lines[0]["why"] == "connection refused"
    assert lines[0]["component"] == "sink"
