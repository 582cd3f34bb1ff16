"""`pulssi db`: migrations and tier of the database"""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from pulssi.commands.options import AsJson, Config
from pulssi.settings import load_settings

app = typer.Typer(help="Migrations and tier of the database.", no_args_is_help=True)


@app.command()
def migrate(*, config: Config = None, as_json: AsJson = False) -> None:
    """Bring the database to this version."""
    from storage.migrate import migrate as run

    outcome = run(load_settings(config).database)
    if as_json:
        typer.echo(json.dumps(asdict(outcome)))
        return
    typer.echo(f"{outcome.tier}: {outcome.tier.sentence}")
    for notice in outcome.notices:
        typer.echo(f"note: {notice}")
    typer.echo("applied " + ", ".join(outcome.applied) if outcome.applied else "up to date")


@app.command()
def status(*, config: Config = None, as_json: AsJson = False) -> None:
    """Show which migrations are applied and which are not; exit 1 when some are not."""
    from storage.database import connect
    from storage.migrate import history, pending, shipped
    from storage.tiers import tier_of

    with connect(load_settings(config).database) as connection:
        applied = history(connection)
        tier = tier_of(connection)
    todo = [one.name for one in pending(shipped(), applied, tier)]
    if as_json:
        typer.echo(json.dumps({"tier": tier, "applied": list(applied), "pending": todo}))
    else:
        for name in applied:
            typer.echo(f"applied  {name}")
        for name in todo:
            typer.echo(f"pending  {name}")
    if todo:
        raise typer.Exit(1)


@app.command()
def tier(*, config: Config = None, as_json: AsJson = False) -> None:
    """Show what the database offers."""
    from storage.database import connect
    from storage.tiers import tier_of

    with connect(load_settings(config).database) as connection:
        found = tier_of(connection)
    typer.echo(json.dumps({"tier": found, "sentence": found.sentence}) if as_json else f"{found}: {found.sentence}")


@app.command("accept-topics")
def accept_topics(*, config: Config = None, as_json: AsJson = False) -> None:
    """Let the sink begin at offset 0 of Kafka topics that were deleted and made again; stored rows stay."""
    from pulssi.shell.topic_ids import topic_ids
    from storage.database import connect
    from storage.sink import contents
    from storage.topics_anew import accept

    settings = load_settings(config)
    ids = topic_ids(settings.kafka.bootstrap, contents(settings.kafka.topics))
    with connect(settings.database, autocommit=True) as connection:
        topics = accept(connection, settings.sink.group, ids)
    if as_json:
        typer.echo(json.dumps({"accepted": topics}))
    else:
        typer.echo(f"accepted {', '.join(topics)}" if topics else "no topic was made again")
