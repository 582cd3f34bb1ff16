"""`pulssi replay`, `pulssi simulate` and `pulssi ledger`: devices for a system under test, and their books"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pulssi.commands.options import AsJson, Config, Duration, seconds
from pulssi.errors import ConfigurationError
from pulssi.settings import load_settings

Folder = Annotated[Path, typer.Option("--ledger", help="Folder of the ledgers of this run.")]

FOLDER = Path(".pulssi/ledger")

ledger = typer.Typer(no_args_is_help=True, help="What simulated devices sent, and what became of it.")


def register(app: typer.Typer) -> None:
    """Add the commands of the simulators."""
    app.command()(simulate)
    app.command()(replay)
    app.add_typer(ledger, name="ledger")


def _say(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    for name, value in result.items():
        typer.echo(f"{name:<20} {value if not isinstance(value, dict) else json.dumps(value)}")


def simulate(
    *,
    seed: Annotated[int, typer.Option(help="The same seed and start give the same city.")] = 7,
    for_s: Duration = None,
    interval_s: Annotated[
        float | None, typer.Option("--interval", parser=seconds, help="Between two samples of a device; 1s by default.")
    ] = None,
    backfill_s: Annotated[
        float | None,
        typer.Option("--backfill", parser=seconds, help="Devices upload so much at the start, such as 90m."),
    ] = None,
    faults: Annotated[str, typer.Option(help="`default`, or `none`.")] = "default",
    episode: Annotated[bool, typer.Option("--episode", help="Bad air at one station 20 s after the start.")] = False,
    devices: Annotated[int, typer.Option(min=0, help="Noise meters beside the stations.")] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Messages per second of all noise meters together.")] = 0,
    folder: Folder = FOLDER,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Let a seeded city live: air and traffic stations, buses, rush hours, road works, and faults in all of it."""
    from simulators.run import simulate as run

    if faults not in {"default", "none"}:
        raise ConfigurationError(f"--faults: {faults!r} is neither default nor none")
    meters = devices or round(rate)
    result = run(
        load_settings(config),
        folder,
        seed=seed,
        for_s=for_s,
        interval_s=interval_s or 1.0,
        backfill_s=backfill_s or 0.0,
        faults=faults == "default",
        episode=episode,
        meters=meters,
        meters_interval_s=meters / rate if rate else max(interval_s or 1.0, 1.0),
    )
    _say(result, as_json=as_json)


def replay(
    files: Annotated[list[str], typer.Argument(help="Files, or `hfp` or `epa` for a recording that is shipped.")],
    *,
    form: Annotated[str | None, typer.Option("--format", help="hfp, tms, epa, uci, beijing or csv.")] = None,
    speed: Annotated[str, typer.Option(help="Seconds of the recording in one second, or `max`.")] = "1",
    for_s: Duration = None,
    quantity: Annotated[str, typer.Option(help="What the values of format csv are.")] = "pm2_5",
    folder: Folder = FOLDER,
    backlog: Annotated[bool, typer.Option("--backlog", help="With --for: send what lies before at once.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
    gaps: Annotated[str | None, typer.Option(help="`keep` or `squeeze` long silences.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send a recording again as if it happened now."""
    from simulators.run import replay as run

    if gaps not in {None, "keep", "squeeze"}:
        raise ConfigurationError(f"--gaps: {gaps!r} is neither keep nor squeeze")
    result = run(
        load_settings(config),
        files,
        form=form,
        quantity=quantity,
        folder=folder,
        speed=_speed(speed),
        for_s=for_s,
        backlog=backlog,
        loop=loop,
        squeeze=None if gaps is None else gaps == "squeeze",
    )
    _say(result, as_json=as_json)


def _speed(text: str) -> float:
    try:
        speed = float("inf") if text == "max" else float(text)
    except ValueError:
        speed = 0
    if not speed > 0:
        raise ConfigurationError(f"--speed: {text!r} is neither a positive number nor max")
    return speed


@ledger.command()
def check(
    *,
    folder: Folder = FOLDER,
    wait_s: Annotated[
        float | None, typer.Option("--wait", parser=seconds, help="Time for what is on its way, such as 10s.")
    ] = None,
    broker_killed: Annotated[
        bool,
        typer.Option("--broker-killed", help="Formats without receipts count as sent only: a killed broker forgets."),
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compare the ledgers with the database; exit 1 when anything is lost, duplicate, phantom, corrupt or unseen."""
    from simulators.check import check as run

    verdict = run(folder, load_settings(config).database.conninfo(), wait_s=wait_s or 0.0, broker_killed=broker_killed)
    _say(verdict.as_dict(), as_json=as_json)
    raise typer.Exit(0 if verdict.ok else 1)


@ledger.command()
def show(*, folder: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Totals, answers by device, and what was made to happen."""
    from simulators.ledger import Book

    book = Book(folder)
    result = {
        **book.totals(),
        "refusals": book.refusals(),
        "devices": book.devices(),
        "truths": [truth.as_dict() for truth in book.truths()],
    }
    _say(result, as_json=as_json)
