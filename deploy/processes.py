"""Our own processes as children of a supervisor: their settings as variables, and when each is ready."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.local import LocalServices
from deploy.local.ports import free_port
from deploy.local.supervisor import Child

HOST = "127.0.0.1"
PROCESSES = ("gateway", "streams", "alerts", "sink", "notify", "api")
"""In the order in which they start: the door last would lose nothing, but the page comes when all is there."""
_PROBE_S_MAX = 0.5


@dataclass(frozen=True)
class Installation:
    """One running system on local services.

    Attributes:
        root: folder of its logs and ledgers.
        environment: the settings of its processes, as variables.
        metrics_ports: port of `/metrics` by process.
        api_port: port of the page.
        database: connection string of the database owner, for whoever looks from outside.
    """

    root: Path
    environment: Mapping[str, str]
    metrics_ports: Mapping[str, int]
    api_port: int
    database: str = field(repr=False)

    @property
    def page(self) -> str:
        """Address of the live page."""
        return f"http://{HOST}:{self.api_port}"

    def with_settings(self, **variables: str) -> "Installation":
        """The same with other or further `PULSSI_` variables, such as `SINK__BATCH_DELAY_MS="20"`."""
        more = {f"PULSSI_{name}": value for name, value in variables.items()}
        return replace(self, environment={**self.environment, **more})


def installation(services: LocalServices, root: Path, *, prefix: str = "pulssi", api_port: int = 0) -> Installation:
    """Settings for processes on these services: a database and topics named after `prefix`, free ports for metrics."""
    server = services.database
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (prefix,)).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(prefix)))
    ports = {name: free_port(HOST) for name in PROCESSES if name != "api"}
    page = api_port or free_port(HOST)
    mqtt_host, mqtt_port = services.mqtt
    settings = {
        "MQTT__HOST": mqtt_host,
        "MQTT__PORT": str(mqtt_port),
        "KAFKA__BOOTSTRAP": services.kafka,
        "KAFKA__PREFIX": prefix,
        "DATABASE__HOST": server.host,
        "DATABASE__PORT": str(server.port),
        "DATABASE__NAME": prefix,
        "DATABASE__USER": server.user,
        "DATABASE__WRITER": "pulssi_writer",
        "DATABASE__READER": "pulssi_reader",
        "DATABASE__PASSWORD_FILE": str(services.root / "secrets" / "database-password"),
        "GATEWAY__CLIENT_ID": f"{prefix}-gateway",
        "API__PORT": str(page),
        **{f"METRICS__{name.upper()}": str(port) for name, port in ports.items()},
    }
    if services.broker_socket is not None:
        settings["GATEWAY__BROKER_SOCKET"] = str(services.broker_socket)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PULSSI_")}
    environment = {**inherited, **{f"PULSSI_{name}": value for name, value in settings.items()}}
    conninfo = replace(server, dbname=prefix).conninfo
    return Installation(root.absolute(), environment, ports, page, conninfo)


def command(*arguments: str) -> list[str]:
    """The `pulssi` command of this environment, as the current interpreter runs it."""
    return [sys.executable, "-m", "pulssi", *arguments]


def process(system: Installation, name: str, *, label: str | None = None) -> Child:
    """One of `PROCESSES` as a child; ready when it says so, or its page answers."""
    path = "/api/districts" if name == "api" else "/ready"
    port = system.api_port if name == "api" else system.metrics_ports[name]
    return Child(
        label or name,
        command(name),
        system.root / "logs" / f"{label or name}.log",
        env=system.environment,
        ready=lambda: answers(f"http://{HOST}:{port}{path}"),
    )


def answers(url: str) -> bool:
    """Whether a local server answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_S_MAX) as response:  # noqa: S310  our own loopback address
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False
