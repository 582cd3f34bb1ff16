"""The servers that tests and `pulssi up` run are the real ones."""

import asyncio
import socket

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.local import LocalServices
from tests.system import wait_for

pytestmark = pytest.mark.service


def test_mosquitto_takes_a_persistent_mqtt_5_session_with_a_wide_window(mosquitto):
    host, port = mosquitto
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "probe", protocol=mqtt.MQTTv5)
    answers = []
    client.on_connect = lambda _client, _data, _flags, reason, properties: answers.append((reason, properties))
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 60
    client.connect(host, port, clean_start=False, properties=session)
    while not answers:
        client.loop(timeout=0.1)
    client.disconnect()
    reason, properties = answers[0]
    assert not reason.is_failure
    assert getattr(properties, "ReceiveMaximum", 65535) == 65535
    assert properties.MaximumPacketSize == 1 << 20


async def _ask(bootstrap: str, *, make: bool = False) -> list[str]:
    """Names of the topics that the broker knows."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        if make:
            await admin.create_topics([NewTopic("local.probe", num_partitions=2, replication_factor=1)])
        return await admin.list_topics()
    finally:
        await admin.close()


def test_kafka_makes_topics_as_soon_as_it_is_ready(kafka):
    asyncio.run(_ask(kafka, make=True))
    wait_for(lambda: "local.probe" in asyncio.run(_ask(kafka)), 20, "the broker hears of the topic a little later")


def test_each_tier_is_what_it_says(each_tier):
    with psycopg.connect(each_tier.conninfo, autocommit=True) as connection:
        preloaded = connection.execute("SHOW shared_preload_libraries").fetchone()[0]
        assert (preloaded == "timescaledb") == (each_tier.tier == "timescaledb")
        if each_tier.tier == "timescaledb":
            connection.execute("CREATE EXTENSION timescaledb")
            connection.execute("CREATE TABLE readings (event_time timestamptz NOT NULL)")
            connection.execute("SELECT create_hypertable('readings', by_range('event_time'))")


def test_a_fresh_database_is_empty_and_its_password_is_needed(fresh_database):
    count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    with psycopg.connect(fresh_database.conninfo) as connection:
        assert connection.execute(count).fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(fresh_database.conninfo.replace(fresh_database.password, "wrong"))


def test_the_gateway_finds_a_unix_socket_where_its_path_allows_one(mosquitto, local_services, tmp_path):
    path = local_services.broker_socket
    assert path.is_socket()
    assert local_services.sections()["gateway"] == {"broker_socket": str(path)}
    assert LocalServices(tmp_path / "a b").broker_socket is None
    assert LocalServices(tmp_path / ("x" * 100)).broker_socket is None


def test_a_killed_broker_listens_again_on_its_unix_socket(mosquitto, local_services):
    local_services.kill("mosquitto")
    local_services.wait_ready("mosquitto")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(local_services.broker_socket))
