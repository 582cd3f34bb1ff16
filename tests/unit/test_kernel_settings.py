"""Settings come from arguments, environment, file and defaults in this order; every problem is told at once."""

import os

import pytest

from pulssi.errors import ConfigurationError
from pulssi.settings import Settings, load_settings, sections


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("PULSSI_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_complete_and_on_loopback():
    settings = load_settings()
    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    assert settings.api.host == "127.0.0.1"
    assert settings.metrics.host == "127.0.0.1"


def test_environment_wins_over_file_and_file_over_default(monkeypatch, tmp_path):
    file = tmp_path / "city.toml"
    file.write_text("[kafka]\npartitions = 8\nprefix = 'a'\n[streams]\nwindows_s = [60]\n")
    monkeypatch.setenv("PULSSI_KAFKA__PREFIX", "b")
    settings = load_settings(file)
    assert (settings.kafka.partitions, settings.kafka.prefix, settings.streams.windows_s) == (8, "b", (60,))
    assert settings.kafka.topics.readings == "b.readings"


def test_the_file_in_the_working_directory_is_found(tmp_path):
    (tmp_path / "pulssi.toml").write_text("[api]\nport = 9999\n")
    assert load_settings().api.port == 9999


def test_every_problem_is_told_at_once(monkeypatch, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("[kafka]\npartitions = 0\nspeed = 1\n[mqtt]\npassword_file = '/nowhere/at/all'\n")
    monkeypatch.setenv("PULSSI_API__PORT", "http")
    monkeypatch.setenv("PULSSI_API__PROT", "1")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file)
    told = "\n".join(caught.value.problems)
    for word in ("kafka.partitions", "kafka.speed", "api.port", "PULSSI_API__PROT"):
        assert word in told


@pytest.mark.parametrize(
    ("section", "word"),
    [
        ({"streams": {"windows_s": [90]}}, "multiple"),
        ({"streams": {"horizon_s": 5}}, "horizon_s"),
        ({"kafka": {"heartbeat_ms": 3000}}, "session_timeout_ms"),
        ({"gateway": {"broker_socket": "/run/broker.sock"}, "mqtt": {"tls": True}}, "broker_socket"),
    ],
)
def test_what_no_single_setting_shows_is_checked(section, word):
    with pytest.raises(ConfigurationError, match=word):
        load_settings(**section)


def test_a_broken_or_missing_file_is_told_by_name(tmp_path):
    with pytest.raises(ConfigurationError, match=r"gone\.toml"):
        load_settings(tmp_path / "gone.toml")
    (tmp_path / "broken.toml").write_text("[kafka\n")
    with pytest.raises(ConfigurationError, match=r"broken\.toml"):
        load_settings(tmp_path / "broken.toml")


def test_a_secret_comes_from_its_file_and_is_never_shown(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    settings = load_settings(database={"password_file": str(secret)}, mqtt={"password": "hush"})
    assert settings.database.conninfo()["password"] == "open sesame"
    assert settings.mqtt.secret() == "hush"
    assert "hush" not in repr(settings)
    assert "open sesame" not in repr(settings)


def test_roles_fall_back_to_the_owner():
    settings = load_settings(database={"user": "o", "reader": "r"})
    assert [settings.database.conninfo(role)["user"] for role in ("owner", "writer", "reader")] == ["o", "o", "r"]


def test_every_setting_is_explained():
    for name, section in sections().items():
        for key, field in section.model_fields.items():
            assert field.description, f"{name}.{key} has no description"
    assert set(sections()) == set(Settings.model_fields)
