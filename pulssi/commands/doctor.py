"""`pulssi doctor`: is everything there that the settings lead to, and if not, what cures it"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import typer

from pulssi.commands.options import AsJson, Config
from pulssi.errors import ConfigurationError
from pulssi.settings import Settings, load_settings

CLOCK_S_MAX = 2.0
"""Larger differences between our clock and the database's make data look late or early."""
MQTT_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        ok: whether it is as it must be.
        found: what was found, in words.
        cure: what a person can do about it, empty when it is ok.
    """

    name: str
    ok: bool
    found: str
    cure: str = ""


def doctor(*, config: Config = None, as_json: AsJson = False) -> None:
    """Check every connection and what lies behind it; exit 1 when something is wrong, with its cure."""
    checks = examine(load_settings(config))
    if as_json:
        typer.echo(json.dumps({"ok": all(one.ok for one in checks), "checks": [asdict(one) for one in checks]}))
    else:
        for one in checks:
            typer.echo(f"{'ok ' if one.ok else 'BAD'}  {one.name}: {one.found}")
            if one.cure:
                typer.echo(f"     {one.cure}")
    if not all(one.ok for one in checks):
        raise typer.Exit(1)


def examine(settings: Settings) -> list[Check]:
    """Look at broker, Kafka and database, each whatever the others are like."""
    parts: tuple[Callable[[Settings], Iterator[Check]], ...] = (_mqtt, _kafka, _database)
    return [check for part in parts for check in part(settings)]


def _mqtt(settings: Settings) -> Iterator[Check]:
    from paho.mqtt import client as paho

    mqtt = settings.mqtt
    where = f"{mqtt.host}:{mqtt.port}"
    answers: list[object] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="", protocol=paho.MQTTv5)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason)
    client.username_pw_set(mqtt.username, mqtt.secret())
    try:
        if mqtt.tls:
            client.tls_set(ca_certs=str(mqtt.ca_file) if mqtt.ca_file else None)
        client.connect(mqtt.host, mqtt.port)
        deadline_s = time.monotonic() + MQTT_WAIT_S
        while not answers and time.monotonic() < deadline_s:
            client.loop(timeout=0.2)
        client.disconnect()
    except OSError as error:
        cure = "Start one with `pulssi up`, or set mqtt.host, mqtt.port and mqtt.tls"
        yield Check("MQTT broker", ok=False, found=f"no connection to {where}: {error}", cure=cure)
        return
    if not answers:
        cure = "Set mqtt.port and mqtt.tls to those of an MQTT 5 listener"
        yield Check("MQTT broker", ok=False, found=f"{where} does not answer as an MQTT broker", cure=cure)
    elif str(answers[0]) != "Success":
        cure = "Set mqtt.username and mqtt.password_file to a user that the broker knows"
        yield Check("MQTT broker", ok=False, found=f"{where} refuses us: {answers[0]}", cure=cure)
    else:
        yield Check("MQTT broker", ok=True, found=f"{where} speaks MQTT 5 with us")


def _kafka(settings: Settings) -> Iterator[Check]:
    from pulssi.commands.topics import topic_statuses

    kafka = settings.kafka
    if not any(_listens(one) for one in kafka.bootstrap.split(",")):
        cure = "Start one with `pulssi up`, or set kafka.bootstrap"
        yield Check("Kafka", ok=False, found=f"nobody listens at {kafka.bootstrap}", cure=cure)
        return
    try:
        statuses = topic_statuses(kafka)
    except ConfigurationError as error:
        cure = "Set kafka.bootstrap to brokers that take plain connections from here"
        yield Check("Kafka", ok=False, found="; ".join(error.problems), cure=cure)
        return
    yield Check("Kafka", ok=True, found=f"{kafka.bootstrap} answers")
    wrong = [f"{one.name} {one.sentence}" for one in statuses if one.sentence != "ok"]
    if wrong:
        yield Check("topics", ok=False, found="; ".join(wrong), cure="Run `pulssi topics apply`")
    else:
        yield Check("topics", ok=True, found=f"all {len(statuses)} of {kafka.prefix}.* are as they must be")


def _listens(address: str) -> bool:
    """Whether anybody listens at host:port; asked first, since Kafka's client looks for half a minute."""
    host, _, port = address.strip().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except (OSError, ValueError):
        return False
    return True


def _database(settings: Settings) -> Iterator[Check]:
    import psycopg

    from storage.database import connect
    from storage.migrate import history, pending, shipped
    from storage.tiers import tier_of

    where = f"{settings.database.host}:{settings.database.port}/{settings.database.name}"
    try:
        with connect(settings.database) as connection:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            off_s = abs(float(row[0]) - time.time()) if row else 0.0
            tier = tier_of(connection)
            todo = [one.name for one in pending(shipped(), history(connection), tier)]
    except psycopg.Error as error:
        cure = "Start one with `pulssi up`, or set database.host, .port, .name, .user and .password_file"
        yield Check("database", ok=False, found=f"no connection to {where}: {str(error).strip()}", cure=cure)
        return
    yield Check("database", ok=True, found=f"{where}: {tier.sentence}")
    if todo:
        yield Check("migrations", ok=False, found=f"pending: {', '.join(todo)}", cure="Run `pulssi db migrate`")
    else:
        yield Check("migrations", ok=True, found="all are applied")
    found = f"ours and the database's differ by {off_s:.1f} s"
    cure = "" if off_s <= CLOCK_S_MAX else "Let both machines keep time with NTP"
    yield Check("clock", ok=off_s <= CLOCK_S_MAX, found=found, cure=cure)
