"""which format a recording has, by what its file begins with"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Final

from pulssi.errors import ConfigurationError
from simulators.recordings.base import open_text
from simulators.recordings.series import EPA, UCI

_LINE_CHARACTERS: Final = 4096
_HFP_LINE = re.compile(r"\d{4}-\d{2}-\d{2}T\S+ /hfp/")


def form_of(path: Path) -> str:
    """The format of a file.

    Raises:
        ConfigurationError: the file cannot be read, or nothing tells its format.
    """
    try:
        with open_text(path) as file:
            lines = [file.readline(_LINE_CHARACTERS) for _ in range(EPA.header_lines + 1)]
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    first, seventh = (set(next(csv.reader([line]), [])) for line in (lines[0], lines[-1]))
    signs = {
        "tms": lines[0].lstrip().startswith("{"),
        "hfp": _HFP_LINE.match(lines[0]) is not None,
        "csv": "value" in first and bool(first & {"time", "timestamp"}),
        "beijing": {"year", "month", "day", "hour"} <= first,
        "uci": {"Date", "Time"} <= first and bool(first & set(UCI.columns)),
        "epa": "Time" in seventh and bool(seventh & set(EPA.columns)),
    }
    for form, there in signs.items():
        if there:
            return form
    raise ConfigurationError(f"{path}: nothing tells its format; --format is one of {', '.join(signs)}")
