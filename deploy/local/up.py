"""`pulssi up`: the local services, until Ctrl-C."""

import json
import signal
import sys
import threading

from deploy.fetch.store import MissingToolError
from deploy.local.services import LocalServices, PortInUseError, RootInUseError
from deploy.local.supervisor import ChildError
from pulssi.errors import ConfigurationError
from pulssi.settings import Settings


def up(settings: Settings, *, as_json: bool = False) -> None:
    """Start all services, say where they are, stay until SIGINT or SIGTERM, stop them.

    Args:
        settings: their section `local`.
        as_json: say it as one JSON object on one line: `tier`, `root`, `settings` by section, `environment`.

    Raises:
        ConfigurationError: a service cannot be had or did not start; the problem says what to do.
    """
    stop = threading.Event()
    before = {one: signal.signal(one, lambda _number, _frame: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        with LocalServices.from_settings(settings) as services:
            sys.stdout.write((_as_json(services) if as_json else _as_text(services)) + "\n")
            sys.stdout.flush()
            stop.wait()
    except (MissingToolError, PortInUseError, RootInUseError, ChildError) as error:
        raise ConfigurationError(str(error)) from error
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _as_json(services: LocalServices) -> str:
    answer = {
        "tier": services.database.tier,
        "root": str(services.root),
        "settings": services.sections(),
        "environment": services.environment(),
    }
    return json.dumps(answer)


def _as_text(services: LocalServices) -> str:
    host, port = services.mqtt
    database = services.database
    kind = "TimescaleDB" if database.tier == "timescaledb" else "PostgreSQL"
    exports = "\n".join(f"  export {name}='{value}'" for name, value in services.environment().items())
    return (
        f"MQTT      {host}:{port}\n"
        f"Kafka     {services.kafka}\n"
        f"Database  {database.host}:{database.port} ({kind})\n"
        f"Data and logs are under {services.root}. In another terminal:\n{exports}\n"
        "Ctrl-C stops them."
    )
