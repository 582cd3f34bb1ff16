"""The local services as an operator meets them: killed, started again, side by side, as an ordinary user."""

import json
import os
import secrets
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from paho.mqtt import client as mqtt
from paho.mqtt import publish, subscribe

from deploy.local import LocalServices, PortInUseError, RootInUseError, user
from deploy.local.ports import is_free
from tests.fixtures.local_services import new_database
from tests.fixtures.processes import descendants, lives, user_of, wait_for

pytestmark = pytest.mark.service


def remember(services: LocalServices, word: str) -> None:
    """Leave a word with each server."""
    host, port = services.mqtt
    publish.single("local/word", word, qos=1, retain=True, hostname=host, port=port, protocol=mqtt.MQTTv5)
    with closing(KafkaAdminClient(bootstrap_servers=services.kafka)) as admin:
        admin.create_topics([NewTopic("local.word", num_partitions=1, replication_factor=1)])
    with closing(KafkaProducer(bootstrap_servers=services.kafka, acks="all")) as producer:
        producer.send("local.word", word.encode()).get(timeout=20)
    with psycopg.connect(services.database.conninfo) as connection:
        connection.execute("CREATE TABLE word AS SELECT %s AS word", [word])


def recall(services: LocalServices) -> set[str]:
    """The words that the servers have."""
    host, port = services.mqtt
    retained = subscribe.simple("local/word", hostname=host, port=port, protocol=mqtt.MQTTv5)
    options = {"bootstrap_servers": services.kafka, "auto_offset_reset": "earliest", "consumer_timeout_ms": 20_000}
    with closing(KafkaConsumer("local.word", **options)) as consumer:
        record = next(iter(consumer))
    with psycopg.connect(services.database.conninfo) as connection:
        stored = connection.execute("SELECT word FROM word").fetchone()[0]
    return {retained.payload.decode(), record.value.decode(), stored}


def test_it_starts_again_on_its_own_data_in_a_path_with_spaces(tmp_path, local_dist):
    root = tmp_path / "tila & data, 2"
    word = secrets.token_hex(4)
    with LocalServices(root, dist=local_dist) as first:
        remember(first, word)
    with LocalServices(root, dist=local_dist) as second:
        assert recall(second) == {word}
        assert second.restart_count == 0


def test_two_run_side_by_side_and_do_not_see_each_other(tmp_path, local_dist, services):
    with LocalServices(tmp_path, dist=local_dist) as other:
        addresses = [(one.mqtt[1], one.kafka, one.database.port) for one in (services, other)]
        assert not set(addresses[0]) & set(addresses[1])
        remember(other, "only here")
        assert recall(other) == {"only here"}
        with psycopg.connect(services.database.conninfo) as connection:
            assert connection.execute("SELECT to_regclass('word')").fetchone() == (None,)


@pytest.mark.parametrize("name", ["mosquitto", "kafka", "database"])
def test_a_killed_server_is_back_on_the_same_address(services, name):
    before = services.supervisor.pid(name)
    restarts = services.supervisor.restarts(name)
    services.kill(name)
    services.wait_ready(name)
    assert services.supervisor.pid(name) != before
    assert services.supervisor.restarts(name) == restarts + 1


def test_what_the_database_committed_outlives_its_kill(services):
    with new_database(services.database) as fresh:
        with psycopg.connect(fresh.conninfo) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        services.kill("database")
        services.wait_ready("database")
        with psycopg.connect(fresh.conninfo) as connection:
            assert connection.execute("SELECT count(*), sum(n) FROM kept").fetchone() == (1000, 500500)


def test_no_server_runs_as_root_outside_of_a_user_namespace(services):
    for name in ("mosquitto", "kafka", "database"):
        pid = services.supervisor.pid(name)
        own_namespace = Path(f"/proc/{pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
        assert own_namespace or user_of(pid) != 0


def test_a_root_folder_serves_one_at_a_time(services, local_dist):
    with (
        pytest.raises(RootInUseError, match=f"{services.root} is in use by process {os.getpid()}"),
        LocalServices(services.root, services=(), dist=local_dist),
    ):
        pass


def test_a_port_that_is_taken_is_named(services, tmp_path, local_dist):
    host, port = services.mqtt
    wanted = LocalServices(tmp_path, services={"mosquitto"}, ports={"mosquitto": port}, dist=local_dist)
    with pytest.raises(PortInUseError, match=f"mosquitto: port {port} on {host} is in use"), wanted:
        pass


def test_settings_lead_to_the_services(services):
    from pulssi.settings import load_settings

    settings = load_settings(**services.sections())
    assert (settings.mqtt.host, settings.mqtt.port) == services.mqtt
    assert settings.kafka.bootstrap == services.kafka
    with psycopg.connect(**settings.database.conninfo()) as connection:
        assert connection.execute("SELECT current_user, current_database()").fetchone() == ("pulssi", "pulssi")
    assert services.database.password not in json.dumps([services.sections(), services.environment()])


UP = """
from deploy.local.up import up
from pulssi.settings import load_settings
up(load_settings(), as_json=True)
"""


@pytest.fixture
def start_up(tmp_path, pytestconfig, local_dist):
    """Runs `pulssi up --json` under a prefix; gives the process and its answer."""
    started = []

    def start(*prefix):
        ports = {name: _port() for name in ("MQTT_PORT", "KAFKA_PORT", "DATABASE_PORT")}
        local = {f"PULSSI_LOCAL__{name}": str(port) for name, port in ports.items()}
        environment = (
            os.environ
            | local
            | {
                "PULSSI_LOCAL__ROOT": str(tmp_path / "up"),
                "PULSSI_LOCAL_DIST": str(local_dist),
            }
        )
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", UP], stdout=subprocess.PIPE, env=environment, cwd=pytestconfig.rootpath
        )
        started.append(process)
        line = process.stdout.readline()
        assert line, f"it ended with {process.wait()}"
        return process, json.loads(line), list(ports.values())

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def _port() -> int:
    from deploy.local.ports import free_port

    return free_port()


def test_up_says_where_everything_is_and_ctrl_c_ends_it_all(start_up):
    process, answer, ports = start_up()
    children = descendants(process.pid)
    assert len(children) >= 3
    assert answer["tier"] in {"timescaledb", "postgres"}
    assert {answer["settings"]["mqtt"]["port"], answer["settings"]["database"]["port"]} < set(ports)
    assert answer["environment"]["PULSSI_KAFKA__BOOTSTRAP"] == answer["settings"]["kafka"]["bootstrap"]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert not any(map(lives, children))
    assert all(is_free("127.0.0.1", port) for port in ports)


def test_kill_9_of_up_leaves_no_server_and_the_next_start_works(start_up):
    process, _, _ = start_up()
    children = descendants(process.pid)
    assert len(children) >= 3
    process.kill()
    wait_for(lambda: not any(map(lives, children)), "the end of the servers")
    process, answer, _ = start_up()
    password = Path(answer["settings"]["database"].pop("password_file")).read_text()
    database = answer["settings"]["database"]
    info = {"host": database["host"], "port": database["port"], "user": database["user"], "dbname": database["name"]}
    psycopg.connect(**info, password=password).close()


def test_an_ordinary_user_can_run_it(start_up):
    prefix = user._WAYS[-1].prefix if os.geteuid() == 0 else ()
    process, answer, _ = start_up(*prefix)
    assert user_of(process.pid) != 0
    assert answer["tier"] in {"timescaledb", "postgres"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
