"""`pulssi rules`: what is wrong with a file of alert rules, or what it says"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pulssi.commands.options import AsJson, Config
from pulssi.settings import load_settings

app = typer.Typer(help="The alert rules.", no_args_is_help=True)

File = Annotated[Path | None, typer.Argument(help="TOML file; the one of the settings when left out.")]


@app.command()
def check(file: File = None, *, config: Config = None, as_json: AsJson = False) -> None:
    """List the rules of a file; exit 2 and every problem when there are any."""
    from alerts.rules import load_rules

    rules = load_rules(file or load_settings(config).alerts.rules_file)
    if as_json:
        told = [rule.model_dump(mode="json", exclude_defaults=True) | {"version": rule.version} for rule in rules]
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    for rule in rules:
        typer.echo(f"{rule.id:24} {rule.severity:9} {rule.condition:10} {rule.version}")
