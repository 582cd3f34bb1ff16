"""the run of the demo: servers, processes, inputs, a status for a person, and an account at the end"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import psycopg

from deploy.local import LocalServices, Supervisor
from deploy.local.ports import free_port, is_free
from deploy.processes import HOST, PROCESSES, Installation, command, installation, process
from pulssi.commands.demo import children, figures
from pulssi.commands.demo.screen import Screen
from pulssi.errors import ConfigurationError
from pulssi.settings import Settings

_LOOK_S = 1.0
_LEDGER_WAIT_S = 60
_STATIC = ("gateway", "streams", "alerts", "sink", "notify")


class _Stop:
    """Becomes true when the time is over or a person pressed Ctrl-C."""

    def __init__(self, duration_s: float | None) -> None:
        self._end_s = None if duration_s is None else time.monotonic() + duration_s
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def __bool__(self) -> bool:
        return self._asked or (self._end_s is not None and time.monotonic() >= self._end_s)


def run(settings: Settings, *, duration_s: float | None, as_json: bool, live: bool) -> int:
    """Run the demo; the exit code is 1 when the ledgers and the database disagree.

    The data of an earlier demo are removed first: its ledgers account for one run.

    Raises:
        ConfigurationError: the port of the page is taken.
    """
    root = settings.local.root.absolute() / "demo"
    if not is_free(HOST, settings.api.port):
        raise ConfigurationError(f"port {settings.api.port} is in use; set PULSSI_API__PORT to a free one")
    shutil.rmtree(root, ignore_errors=True)
    screen = Screen(live=live, out=sys.stderr if as_json else sys.stdout)
    screen.say(
        "starting Mosquitto, Apache Kafka and the database (the first time they are fetched, which takes a minute)"
    )
    with LocalServices(root, tier=settings.local.tier, report=screen.say) as services:
        system = installation(services, root, api_port=settings.api.port).with_settings(
            NOTIFY__ALLOW_PRIVATE_TARGETS="true",  # the demo's subscriber is on this machine
        )
        with Supervisor(screen.say) as ours, psycopg.connect(system.database, autocommit=True) as connection:
            _prepare(system, ours, screen)
            started = datetime.now(UTC)
            stop = _Stop(duration_s)
            with _inputs(system, screen, duration_s):
                host, port = services.mqtt
                screen.say(f"page {system.page} - MQTT {host}:{port} - Kafka {services.kafka} - Ctrl-C stops")
                _watch(system, connection, screen, stop, started)
                screen.say("stopping the inputs")
            screen.say("comparing every ledger with the database")
            account = _ledger(system)
            report = _report(connection, account, started)
    _tell(report, screen, as_json=as_json)
    return 0 if account.get("ok") else 1


def _prepare(system: Installation, ours: Supervisor, screen: Screen) -> None:
    """Tables, topics, one subscriber, then the processes."""
    for words in (("db", "migrate"), ("topics", "apply")):
        _command(system, *words)
    secret = children.new_secret(system.root / "secrets" / "webhook")
    port = free_port(HOST)
    target = f"http://{HOST}:{port}/"
    _command(system, "subscriptions", "add", "--target", target, "--secret-file", str(secret), "--language", "en")
    screen.say("starting " + ", ".join(PROCESSES))
    ours.start(children.subscriber(system, port, secret), *(process(system, name) for name in PROCESSES))


@contextmanager
def _inputs(system: Installation, screen: Screen, duration_s: float | None) -> Iterator[None]:
    """The simulated devices, which stop first: so that what they sent can all arrive."""
    with Supervisor(screen.say) as devices:
        devices.start(*children.inputs(system, system.root / "ledger", duration_s))
        yield


def _watch(
    system: Installation, connection: psycopg.Connection[Any], screen: Screen, stop: _Stop, started: datetime
) -> None:
    while not stop:
        seen = figures.Figures(
            figures.counts(connection),
            {name: figures.scrape(system.metrics_ports[name]) for name in _STATIC},
            figures.latency_ms(connection, started),
            figures.open_alerts(connection),
        )
        screen.show(seen)
        deadline_s = time.monotonic() + _LOOK_S
        while not stop and time.monotonic() < deadline_s:
            time.sleep(0.05)
    screen.close()


def _command(system: Installation, *words: str) -> str:
    """Run one command of ours to its end.

    Raises:
        ConfigurationError: it failed; with what it said.
    """
    done = subprocess.run(  # noqa: S603  our own command with our own words
        command(*words), env=system.environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigurationError(f"pulssi {' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _ledger(system: Installation) -> dict[str, Any]:
    """What `pulssi ledger check` finds, waiting for what is still on its way."""
    words = ("ledger", "check", "--ledger", str(system.root / "ledger"), "--wait", str(_LEDGER_WAIT_S), "--json")
    done = subprocess.run(  # noqa: S603  our own command with our own words
        command(*words), env=system.environment, capture_output=True, text=True, check=False
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"ok": False, "problem": done.stderr.strip()}
    return {**found, "ok": done.returncode == 0}


def _report(connection: psycopg.Connection[Any], account: dict[str, Any], started: datetime) -> dict[str, Any]:
    counts = asdict(figures.counts(connection))
    return {
        "tier": figures.tier(connection),
        "readings_accepted": account.get("readings", {}).get("accepted", 0),
        "readings_stored": counts["readings_stored"],
        "vehicle_events_accepted": account.get("vehicle_events", {}).get("accepted", 0),
        "vehicle_events_stored": counts["vehicle_events_stored"],
        "indicators_stored": counts["indicators_stored"],
        "alerts": counts["alerts"],
        "notifications_delivered": counts["notifications_delivered"],
        "dead_letters": counts["dead_letters"],
        "lost": account.get("lost"),
        "duplicates": account.get("duplicate"),
        "latency_ms": figures.latency_ms(connection, started),
        **({} if account["ok"] else {"ledger": account}),
    }


def _tell(report: dict[str, Any], screen: Screen, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    for name, value in report.items():
        screen.say(f"{name}: {value}")
