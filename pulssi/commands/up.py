"""`pulssi up`: Mosquitto, Kafka and TimescaleDB for this checkout, until Ctrl-C"""

from __future__ import annotations

from pulssi.commands.options import AsJson, Config
from pulssi.settings import load_settings


def up(*, config: Config = None, as_json: AsJson = False) -> None:
    """Run Mosquitto, Kafka and TimescaleDB for this checkout, until Ctrl-C; without Docker and without root."""
    from deploy.local.up import up as run

    run(load_settings(config), as_json=as_json)
