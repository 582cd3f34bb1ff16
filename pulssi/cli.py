"""the command line: the composition root, which imports the part that a command needs only when it is run"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import typer

from pulssi.commands import simulators
from pulssi.commands.backtest import backtest
from pulssi.commands.bench import bench
from pulssi.commands.db import app as db
from pulssi.commands.deadletters import app as deadletters
from pulssi.commands.demo import demo
from pulssi.commands.doctor import doctor
from pulssi.commands.options import Config
from pulssi.commands.rules import app as rules
from pulssi.commands.subscriptions import app as subscriptions
from pulssi.commands.subscriptions import webhook_echo
from pulssi.commands.topics import app as topics
from pulssi.commands.up import up
from pulssi.errors import ConfigurationError, FencedError
from pulssi.settings import load_settings

app = typer.Typer(
    name="pulssi",
    help="A city's live sensor data: take it in, understand it, tell those whom it concerns.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def gateway(config: Config = None) -> None:
    """Take readings from MQTT, check them, hand them to Kafka."""
    _run("ingest.gateway", config)


@app.command()
def streams(config: Config = None) -> None:
    """Compute windows, quality flags, anomalies and delays."""
    _run("streams.app", config)


@app.command()
def alerts(config: Config = None) -> None:
    """Evaluate the alert rules."""
    _run("alerts.app", config)


@app.command()
def sink(config: Config = None) -> None:
    """Store everything in the database, exactly once."""
    _run("storage.sink", config)


@app.command()
def notify(config: Config = None) -> None:
    """Deliver notifications to subscribers."""
    _run("alerts.notifier", config)


@app.command()
def api(config: Config = None) -> None:
    """Serve the HTTP API and the live page."""
    _run("dashboards.server", config)


app.command()(up)
app.command()(demo)
app.command()(doctor)
app.command()(backtest)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)
app.add_typer(db, name="db")
app.add_typer(deadletters, name="deadletters")
app.add_typer(topics, name="topics")
simulators.register(app)
app.add_typer(rules, name="rules")
app.add_typer(subscriptions, name="subscriptions")
app.command("webhook-echo")(webhook_echo)


def _run(module: str, config: Path | None) -> None:
    """Run one process of the system; its part of the code is imported only now."""
    importlib.import_module(module).run(load_settings(config))


def main() -> None:
    """Entry point of the `pulssi` command: exit 2 for wrong settings, 3 when another process took over."""
    try:
        app()
    except ConfigurationError as error:
        for problem in error.problems:
            typer.echo(f"pulssi: {problem}", err=True)
        sys.exit(ConfigurationError.exit_code)
    except FencedError as error:
        typer.echo(f"pulssi: {error}", err=True)
        sys.exit(3)
