"""The files that run Pulssi elsewhere name commands and settings that exist, and hold no secret."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from typer.main import get_command

from pulssi.cli import app
from pulssi.settings import Settings, sections

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose/docker-compose.yml").read_text(encoding="utf-8"))
OURS = {name: one for name, one in COMPOSE["services"].items() if one["image"] == "pulssi"}
KUBERNETES = [
    document
    for name in yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    for document in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))
]
PODS = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in KUBERNETES if "template" in one.get("spec", {})
}
PROCESSES = {"gateway", "streams", "alerts", "sink", "notify", "api"}


def is_command(words: list[str]) -> bool:
    """Whether `pulssi WORDS` exists."""
    command = get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word)
    return command is not None


def is_setting(variable: str) -> bool:
    section, _, key = variable.removeprefix("PULSSI_").lower().partition("__")
    return variable == "PULSSI_INSTANCE" or key in sections()[section].model_fields


@pytest.mark.parametrize("name", sorted(OURS))
def test_compose_runs_commands_and_settings_that_exist(name):
    service = OURS[name]
    assert is_command(service["command"])
    assert all(is_setting(variable) for variable in service["environment"])


def test_both_run_every_process():
    assert {one["command"][0] for one in OURS.values()} >= PROCESSES
    assert set(PODS) >= PROCESSES


def test_compose_listens_on_loopback_only_and_holds_no_secret():
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        secrets = [name for name in service.get("environment", {}) if "PASSWORD" in name]
        assert all(name.endswith("_FILE") for name in secrets)


def test_every_file_that_compose_mounts_is_there_or_is_a_secret():
    secrets = {"./mosquitto/passwords"}
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith(".") and source not in secrets:
                assert (DEPLOY / "compose" / source).exists(), source


def test_images_are_pinned():
    images = {one["image"] for one in COMPOSE["services"].values()} - {"pulssi"}
    assert all(re.fullmatch(r"[a-z/-]+:[\d.]+(-pg17)?", image) for image in images)


@pytest.mark.parametrize("name", sorted(PODS))
def test_each_pod_runs_a_command_that_exists_in_a_container_that_the_patch_finds(name):
    (container,) = PODS[name]["containers"]
    assert is_command(container["args"])
    assert container["image"] == "pulssi"
    assert "env" not in container
    assert "volumeMounts" not in container


def test_metrics_ports_are_those_of_the_settings():
    ports = Settings.model_fields["metrics"].default
    for name in PROCESSES - {"api"}:
        assert PODS[name]["containers"][0]["ports"][0]["containerPort"] == getattr(ports, name)


def test_the_settings_of_the_config_map_are_settings():
    config = next(one for one in KUBERNETES if one["kind"] == "ConfigMap")
    for section, keys in tomllib.loads(config["data"]["pulssi.toml"]).items():
        assert keys.keys() <= sections()[section].model_fields.keys()


def test_the_unit_runs_processes_with_settings_that_exist():
    text = (DEPLOY / "systemd/pulssi@.service").read_text(encoding="utf-8")
    assert re.findall(r"^\[(\w+)\]$", text, flags=re.MULTILINE) == ["Unit", "Service", "Install"]
    variables = re.findall(r"(PULSSI_\w+)=", text)
    assert len(variables) == 4
    assert all(map(is_setting, variables))
    wanted = (DEPLOY / "systemd/pulssi.target").read_text(encoding="utf-8")
    assert set(re.findall(r"pulssi@(\w+)\.service", wanted)) == PROCESSES


@pytest.mark.parametrize("name", ["run", "dev", "build"])
def test_locks_are_hashed_and_name_no_registry(name):
    text = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8")
    assert "//" not in text
    pins = text.replace("\\\n", " ").strip().splitlines()
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)


@pytest.mark.parametrize(("name", "wanted"), [("run", "dependencies"), ("dev", "dev")])
def test_locks_hold_what_the_project_asks_for(name, wanted):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = project["project"]["dependencies"] + (project["dependency-groups"]["dev"] if wanted == "dev" else [])
    text = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE))
    for one in map(Requirement, asked):
        assert locked[one.name.lower()] in one.specifier, one
