"""payload formats, one module each; a new one is a file here with `FORMATS` and its test

A decoder is a pure function of topic, payload and receive time that returns readings or a vehicle event, or raises
`PoisonError`. It is found by its topic filter.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache

from ingest.decoders.base import Format


@cache
def formats() -> tuple[Format, ...]:
    """Every format of every module in this package, in the order of the module names."""
    found: list[Format] = []
    for module in pkgutil.iter_modules(__path__):
        found += getattr(importlib.import_module(f"{__name__}.{module.name}"), "FORMATS", ())
    return tuple(found)


def format_of(levels: Sequence[str]) -> Format | None:
    """The format whose filter matches the levels of a topic; None when nobody knows it."""
    for one in formats():
        if matches(one.filter.split("/"), levels):
            return one
    return None


def matches(topic_filter: Sequence[str], levels: Sequence[str]) -> bool:
    """Whether a topic matches an MQTT topic filter, both split at `/` (MQTT 5, section 4.7)."""
    for index, wanted in enumerate(topic_filter):
        if wanted == "#":
            return True
        if index >= len(levels) or wanted not in ("+", levels[index]):
            return False
    return len(topic_filter) == len(levels)
