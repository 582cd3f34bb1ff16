"""`pulssi bench`: measure one stage against naive peers in the same run"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import typer

from pulssi.errors import ConfigurationError

_ROOT = Path(__file__).resolve().parents[2]


def names() -> list[str]:
    """The benches of this checkout."""
    found = (_ROOT / "tests" / "bench").glob("[a-z]*.py")
    return sorted(path.stem for path in found if path.stem != "measure")


def bench(context: typer.Context, name: str) -> None:
    """Measure one stage (see `tests/bench`); the last line is one JSON object."""
    if name not in names():
        known = ", ".join(names()) or "none: benches need a checkout of the repository"
        raise ConfigurationError(f"there is no bench {name!r}; known: {known}")
    sys.path.insert(0, str(_ROOT))
    sys.exit(importlib.import_module(f"tests.bench.{name}").main(context.args))
