"""The ways for root to run a server as somebody else: never root inside, no more power than needed, and it works."""

import os
import subprocess

import psycopg
import pytest

from deploy.local import LocalServices, user

pytestmark = pytest.mark.service


def run(way, *argv):
    done = subprocess.run([*way.prefix, *argv], capture_output=True, text=True, check=False, cwd="/")
    return done.returncode, done.stdout.strip()


def allowed_ways():
    """The ways that this machine allows; a container may forbid some, and only root has any."""
    return [way for way in user._WAYS if run(way, "true")[0] == 0] if os.geteuid() == 0 else [user.RunAs()]


def test_nobody_is_root_inside_and_at_least_one_way_works():
    users = [run(way, "id", "-u")[1] for way in allowed_ways()]
    assert users
    assert "0" not in users


def test_an_open_folder_takes_no_power_at_all(tmp_path):
    way = user.unprivileged(["/"])
    assert int(run(way, "grep", "CapEff", "/proc/self/status")[1].split()[1], 16) == 0


def test_a_folder_of_root_alone_is_reached_nevertheless(tmp_path):
    closed = tmp_path / "closed"
    inner = closed / "inner"
    inner.mkdir(parents=True)
    closed.chmod(0o700)
    way = user.unprivileged([inner])
    assert run(way, "test", "-x", str(inner))[0] == 0
    assert run(way, "id", "-u")[1] != "0"


def test_a_database_starts_in_every_allowed_way(tmp_path, local_dist, monkeypatch):
    ways = [way for way in allowed_ways() if run(way, "test", "-x", str(tmp_path))[0] == 0]
    assert ways
    for number, way in enumerate(ways):
        monkeypatch.setattr(user, "_WAYS", (way,))
        with LocalServices(tmp_path / str(number), services={"database"}, dist=local_dist, durable=False) as services:
            psycopg.connect(services.database.conninfo).close()
