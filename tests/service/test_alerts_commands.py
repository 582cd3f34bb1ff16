"""`pulssi subscriptions` and `pulssi rules` on the real database."""

from __future__ import annotations

import json

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pulssi.cli import app
from pulssi.errors import ConfigurationError
from pulssi.messages import AlertState
from pulssi.settings import DatabaseSettings
from tests.fixtures.hooks import SECRET
from tests.fixtures.notifier import Process, database_variables

pytestmark = pytest.mark.service


def pulssi(settings: DatabaseSettings, *arguments: str) -> Result:
    variables = database_variables(settings) | {"PULSSI_NOTIFY__ALLOW_PRIVATE_TARGETS": "true"}
    return CliRunner().invoke(app, arguments, env=variables)


def test_subscriptions_are_added_listed_and_removed_from_the_command_line(outbox, tmp_path):
    secret_file = tmp_path / "secret"
    secret_file.write_text(SECRET + "\n", encoding="utf-8")
    filters = ("--district", "04", "--quantity", "no2", "--kind", "air", "--severity", "warning", "--language", "en")
    made = pulssi(
        outbox.settings, "subscriptions", "add", "--target", "http://127.0.0.1:1/x", "--json", *filters,
        "--secret-file", str(secret_file),
    )  # fmt: skip
    assert made.exit_code == 0
    shown = json.loads(made.stdout)
    assert (shown["districts"], shown["severity"], shown["devices"]) == (["04"], "warning", None)
    listed = pulssi(outbox.settings, "subscriptions", "list")
    assert shown["subscription_id"] in listed.stdout
    assert SECRET not in made.stdout + listed.stdout
    assert pulssi(outbox.settings, "subscriptions", "remove", shown["subscription_id"]).exit_code == 0
    assert pulssi(outbox.settings, "subscriptions", "remove", shown["subscription_id"]).exit_code == 1
    assert json.loads(pulssi(outbox.settings, "subscriptions", "list", "--json").stdout) == []


def test_a_new_secret_is_shown_once_and_a_wrong_subscription_is_refused(outbox):
    made = pulssi(outbox.settings, "subscriptions", "add", "--target", "https://example.org/", "--json")
    assert json.loads(made.stdout)["secret"].startswith("whsec_")
    assert pulssi(outbox.settings, "subscriptions", "remove", json.loads(made.stdout)["subscription_id"]).exit_code == 0
    wrong = pulssi(outbox.settings, "subscriptions", "add", "--target", "ftp://x", "--district", "99")
    assert isinstance(wrong.exception, ConfigurationError)
    assert len(wrong.exception.problems) == 2


def test_the_log_shows_what_was_delivered(outbox, hooks):
    wish = outbox.subscribe(hooks.at("/ok/log"), "log")
    process = Process(outbox.settings)
    outbox.alert("log", AlertState.FIRING)
    outbox.settled(wish, "delivered", 1)
    assert process.end() == 0
    shown = json.loads(pulssi(outbox.settings, "subscriptions", "log", "--json").stdout)
    assert (shown["pending"], shown["delivered"], shown["dead"]) == (0, 1, 0)
    assert [(one["attempt"], one["status"]) for one in shown["attempts"]] == [(1, 200)]
    text = pulssi(outbox.settings, "subscriptions", "log").stdout
    assert "0 pending, 1 delivered, 0 dead" in text
    assert "attempt 1: 200" in text


def test_rules_are_checked_from_the_command_line(outbox, tmp_path):
    good = pulssi(outbox.settings, "rules", "check", "--json")
    assert "no2-alert" in {rule["id"] for rule in json.loads(good.stdout)}
    (tmp_path / "bad.toml").write_text("[[rule]]\nid = 'a'\n", encoding="utf-8")
    bad = pulssi(outbox.settings, "rules", "check", str(tmp_path / "bad.toml"))
    assert isinstance(bad.exception, ConfigurationError)
    assert any("rule a: severity" in problem for problem in bad.exception.problems)
