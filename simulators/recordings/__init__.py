"""readers of recordings: each turns a file into records that can be set to another time and sent"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pulssi.errors import ConfigurationError
from pulssi.quantities import QUANTITIES
from simulators.recordings.base import DATA, Record, Recording, open_text
from simulators.recordings.hfp import read_lines
from simulators.recordings.rebase import Rebase, rebased
from simulators.recordings.series import BEIJING, EPA, UCI, SeriesFormat, read_rows, read_table
from simulators.recordings.sniff import form_of
from simulators.recordings.tms import read_answer

FORMATS = ("hfp", "tms", "epa", "uci", "beijing", "csv")
SHIPPED = {
    "hfp": ("hfp", [DATA / "hsl_hfp" / "hfp_all_unique.txt.gz"]),
    "epa": ("epa", [DATA / "epa_sensortoolkit" / f"toco_toucan_RT0{i}_raw.csv.gz" for i in (1, 2, 3)]),
}
"""Recordings that come with Pulssi: format and files by name."""

_SERIES: dict[str, SeriesFormat] = {"epa": EPA, "uci": UCI, "beijing": BEIJING}

__all__ = ["FORMATS", "SHIPPED", "Rebase", "Record", "Recording", "form_of", "open_text", "read", "rebased", "shipped"]


def shipped(name: str) -> Recording:
    """A recording that comes with Pulssi."""
    form, paths = SHIPPED[name]
    return read(paths, form)


def read(paths: Sequence[Path], form: str, *, quantity: str = "pm2_5") -> Recording:
    """All records of some files of one format, in order of receipt.

    Args:
        paths: one or several files; packed with gzip when they end so.
        form: one of `FORMATS`.
        quantity: what the values of format `csv` are where the file does not say.

    Raises:
        ConfigurationError: a file cannot be read, or is not of this format.
    """
    if form not in FORMATS:
        raise ConfigurationError(f"there is no format {form!r}; known: {', '.join(FORMATS)}")
    if quantity not in QUANTITIES:
        raise ConfigurationError(f"there is no quantity {quantity!r}")
    parts = [_read_file(path, form, quantity) for path in paths]
    return Recording(list(heapq.merge(*parts, key=lambda record: record.time)), squeeze=form == "hfp")


def _read_file(path: Path, form: str, quantity: str) -> list[Record]:
    try:
        with open_text(path) as file:
            return sorted(_reader(path, form, quantity)(file), key=lambda record: record.time)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _reader(path: Path, form: str, quantity: str) -> Callable[..., Iterator[Record]]:
    if form == "hfp":
        return read_lines
    if form == "tms":
        return lambda file: read_answer(file.read().encode())
    if form == "csv":
        return lambda file: read_table(file, device_id(path, form), quantity)
    return lambda file: read_rows(file, _SERIES[form], device_id(path, form))


def device_id(path: Path, form: str) -> str:
    """A device for a file of one: the format and the stem, in the letters that ids may have."""
    stem = path.name.split(".")[0]
    if form == "epa":
        stem = stem.removeprefix("toco_toucan_").removesuffix("_raw")
    return f"{form}-{re.sub(r'[^A-Za-z0-9_.:-]', '-', stem)}"[:64]
