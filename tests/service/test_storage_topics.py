"""`pulssi topics`: made once, kept as they must be, never quietly repartitioned."""

import json
import secrets

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from typer.testing import CliRunner

from pulssi.cli import app
from pulssi.errors import ConfigurationError
from tests.service.storage_harness import wait_until

pytestmark = pytest.mark.service


@pytest.fixture
def run(kafka):
    environment = {"PULSSI_KAFKA__BOOTSTRAP": kafka, "PULSSI_KAFKA__PREFIX": f"topics-{secrets.token_hex(4)}"}

    def run(*words: str, **more: str):
        return CliRunner().invoke(app, ["topics", *words], env={**environment, **more})

    run.prefix = environment["PULSSI_KAFKA__PREFIX"]
    return run


def test_missing_topics_are_made_and_then_as_they_must_be(run):
    shown = run("show")
    assert (shown.exit_code, shown.output.count("missing")) == (1, 8)
    assert set(json.loads(run("apply", "--json").output).values()) == {"made"}
    shown = run("show", "--json")
    assert shown.exit_code == 0
    assert {one["name"]: one["partitions"] for one in json.loads(shown.output)} == {
        f"{run.prefix}.{name}": count
        for name, count in {
            **dict.fromkeys(("readings", "vehicles", "groups", "indicators", "alerts", "state"), 4),
            **dict.fromkeys(("series", "deadletters"), 1),
        }.items()
    }
    assert set(json.loads(run("apply", "--json").output).values()) == {"as it was"}


def test_a_setting_that_was_changed_is_set_again(run, kafka):
    run("apply")
    name = f"{run.prefix}.readings"
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "1000"})])
    admin.close()
    wait_until(lambda: "retention.ms=1000 instead of 604800000" in run("show").output, "the change is seen")
    assert json.loads(run("apply", "--json").output)[name] == "changed"
    wait_until(lambda: run("show").exit_code == 0, "the topic is as it must be")


def test_another_number_of_partitions_is_for_a_person(run):
    run("apply")
    refused = run("apply", PULSSI_KAFKA__PARTITIONS="3")
    assert isinstance(refused.exception, ConfigurationError)
    assert len(refused.exception.problems) == 6
    assert "has 4 partitions instead of 3" in refused.exception.problems[0]
