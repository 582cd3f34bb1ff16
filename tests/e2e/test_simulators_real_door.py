"""The simulated city at the real gateway, Kafka and sink: bad input is one dead letter each, and nothing is lost."""

import pytest

from simulators.city.malformed import KINDS
from simulators.ledger import Book
from tests.system import System

pytestmark = pytest.mark.e2e

SECONDS = 8


@pytest.fixture(scope="module")
def system(services, tmp_path_factory):
    found = System(services, tmp_path_factory.mktemp("city"), "city")
    found.prepare()
    found.start("gateway", "sink")
    yield found
    found.close()


@pytest.fixture(scope="module")
def run(system, tmp_path_factory):
    """One short run of the city with all its faults: its ledger, its summary and the verdict of the check."""
    ledger = tmp_path_factory.mktemp("ledger")
    words = ("--for", f"{SECONDS}s", "--backfill", "5m", "--rate", "200", "--ledger", str(ledger), "--json")
    summary = system.json("simulate", *words)
    verdict = system.json("ledger", "check", "--ledger", str(ledger), "--wait", "30s", "--json", check=False)
    return ledger, summary, verdict


def test_every_message_is_answered(run):
    _, summary, _ = run
    assert summary["settled"]
    assert summary["unanswered"] == 0
    assert summary["sent"] == summary["accepted"] + summary["refused"]


def test_nothing_is_lost_doubled_invented_or_changed(run):
    _, _, verdict = run
    assert verdict["ok"], verdict
    assert verdict["readings"]["accepted"] + verdict["readings"]["refused"] == verdict["readings"]["sent"]
    assert verdict["readings"]["stored"] == verdict["readings"]["accepted"] > 5000
    assert verdict["vehicle_events"]["stored"] == verdict["vehicle_events"]["accepted"] > 200


def test_every_kind_of_bad_input_is_one_dead_letter_with_a_reason_that_fits(run, system):
    _, _, verdict = run
    letters = verdict["dead_letters"]
    assert letters["planted"] == len(KINDS)
    assert letters["stored"] == len(KINDS) + sum(letters["unplanned"].values())
    assert system.count("dead_letters") == letters["stored"]
    assert verdict["unseen"] == verdict["other_reason"] == letters.get("repeated", 0) == 0


def test_only_the_clock_that_runs_ahead_is_refused_besides(run):
    ledger, summary, verdict = run
    assert set(verdict["dead_letters"]["unplanned"]) == {"time_future"}
    assert Book(ledger).refusals() == {"time_future": summary["refused"]}


def test_the_ground_truth_of_the_run_is_in_its_ledger(run, system):
    ledger, _, _ = run
    shown = system.json("ledger", "show", "--ledger", str(ledger), "--json")
    kinds = {truth["kind"] for truth in shown["truths"]}
    assert {"fault:stuck", "fault:drift", "fault:spike", "fault:dropout", "fault:malformed"} <= kinds
    assert shown["devices"]["fmi-100762"]["accepted"] == SECONDS + 5
