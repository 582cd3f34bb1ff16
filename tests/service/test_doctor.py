"""`pulssi doctor` names each thing that is wrong, and its cure."""

import json
import subprocess
import sys
import uuid

import pytest

from deploy.local.ports import free_port
from pulssi.commands.doctor import examine
from pulssi.commands.topics import apply_topics
from pulssi.settings import load_settings
from storage.migrate import migrate
from tests.fixtures.local_services import new_database

pytestmark = pytest.mark.service


@pytest.fixture
def sections(services):
    """Settings that lead to an empty installation of this test's own."""
    sections = services.sections()
    sections["kafka"]["prefix"] = f"doctor-{uuid.uuid4().hex[:8]}"
    with new_database(services.database) as fresh:
        sections["database"]["name"] = fresh.dbname
        yield sections


def by_name(settings):
    return {one.name: one for one in examine(settings)}


def test_an_empty_installation_needs_topics_and_migrations_and_then_is_well(sections):
    settings = load_settings(**sections)
    before = by_name(settings)
    assert [name for name, one in before.items() if not one.ok] == ["topics", "migrations"]
    assert before["topics"].cure == "Run `pulssi topics apply`"
    assert before["migrations"].cure == "Run `pulssi db migrate`"
    apply_topics(settings.kafka)
    migrate(settings.database)
    after = by_name(settings)
    assert all(one.ok and not one.cure for one in after.values())
    assert set(after) == {"MQTT broker", "Kafka", "topics", "database", "migrations", "clock"}


def test_each_server_that_is_away_is_named_beside_those_that_are_there(sections):
    away = free_port()
    broken = sections | {"mqtt": {"port": away}, "kafka": {"bootstrap": f"127.0.0.1:{away}"}}
    checks = by_name(load_settings(**broken))
    assert not checks["MQTT broker"].ok
    assert f"127.0.0.1:{away}" in checks["MQTT broker"].found
    assert "pulssi up" in checks["MQTT broker"].cure
    assert not checks["Kafka"].ok
    assert "kafka.bootstrap" in checks["Kafka"].cure
    assert checks["database"].ok


def test_a_port_that_speaks_another_protocol_is_not_a_broker(sections):
    checks = by_name(load_settings(**sections | {"mqtt": {"port": sections["database"]["port"]}}))
    assert not checks["MQTT broker"].ok


def test_a_wrong_password_is_named_and_not_shown(sections, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("quite-wrong-indeed")
    checks = by_name(load_settings(**sections | {"database": sections["database"] | {"password_file": secret}}))
    assert not checks["database"].ok
    assert "password authentication failed" in checks["database"].found
    assert "password_file" in checks["database"].cure
    assert "quite-wrong-indeed" not in str(checks)


def test_the_command_answers_a_machine_and_its_exit_status_tells(sections, services):
    environment = services.environment() | {"PULSSI_KAFKA__PREFIX": sections["kafka"]["prefix"]}
    command = [sys.executable, "-c", "from pulssi.cli import main; main()", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert {key: answer["checks"][2][key] for key in ("name", "ok")} == {"name": "topics", "ok": False}
