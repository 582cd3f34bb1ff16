"""options that many commands share"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.", envvar="PULSSI_CONFIG")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for a machine.")]

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """Seconds of a duration such as `90s`, `5m`, `1.5h` or `20`.

    Raises:
        typer.BadParameter: no duration.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|m|h|d|)", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 90s, 5m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]


Duration = Annotated[float | None, typer.Option("--for", help="How long, such as 90s or 5m.", parser=seconds)]
