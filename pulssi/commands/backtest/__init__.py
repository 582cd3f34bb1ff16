"""`pulssi backtest`: what a rule or the detector would have said of stored or recorded data"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulssi.commands.options import AsJson, Config

if TYPE_CHECKING:
    from pulssi.commands.backtest.report import Report


def backtest(
    rule: Annotated[
        str,
        typer.Argument(
            help="Name of a rule, `anomaly` (with --score: the bare detector), or a rule in TOML such as "
            "'threshold = { above = 50, clear = 40 }'.",
        ),
    ],
    data: Annotated[list[str], typer.Argument(help="`hfp` or `epa` (shipped recordings), files, or `db:`.")],
    *,
    rules_file: Annotated[
        Path | None, typer.Option("--rules", help="TOML file; that of the settings by default.")
    ] = None,
    score: Annotated[float | None, typer.Option(help="Score at which the bare detector fires, such as 0.9999.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="hfp, tms, epa, uci, beijing or csv; told by each file by default.")
    ] = None,
    quantity: Annotated[str, typer.Option(help="What CSV files measure that do not say.")] = "value",
    series: Annotated[
        list[str] | None, typer.Option(help="Only DEVICE/QUANTITY[/CHANNEL], shell patterns; may be repeated.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="ISO 8601 with a zone: leave out what is older.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The same: leave out what is newer.")] = None,
    language: Annotated[str, typer.Option(help="Of the sentences: fi, sv or en.")] = "en",
    plot: Annotated[Path | None, typer.Option(help="Draw into this file (.png or .svg).")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Run a rule or the detector over stored or recorded data and tell what would have fired."""
    from pulssi.commands.backtest.run import Options, run
    from pulssi.settings import load_settings

    options = Options(
        rule=rule,
        data=data,
        rules_file=rules_file,
        score=score,
        form=form,
        quantity=quantity,
        series=tuple(series or ()),
        start=start,
        end=end,
        language=language,
        plot=plot,
    )
    _say(run(options, load_settings(config)), as_json=as_json)


def _say(report: Report, *, as_json: bool) -> None:
    for note in report.notes:
        typer.echo(f"pulssi: {note}", err=True)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False))
        return
    table = report.table()
    if len(table) > 1:
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            typer.echo("  ".join(cells).rstrip())
    typer.echo(report.summary())
