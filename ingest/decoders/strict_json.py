"""why a JSON payload is refused, and the one thing that fast parsers let pass: a key given twice"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from pulssi.errors import PoisonError, Reason

DEPTH_MAX = 8
"""Nesting that any of our formats could need, with room."""
_DIGITS_MAX = 400
"""More digits than the largest double has."""
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_unique(payload: bytes, quotes: int) -> None:
    """Refuse an object that gives a key twice.

    Every pair has at least two quotation marks for its key and two for a string value, so when a payload has exactly
    as many as its parsed form needs, no pair was lost to a later one of the same key. Otherwise it is read again.

    Args:
        payload: JSON that a strict parser has accepted.
        quotes: quotation marks that the parsed form needs: two for every key and two for every string value.

    Raises:
        PoisonError: a key stands twice in one object.
    """
    if payload.count(b'"') != quotes:
        read(payload)


def refusal(payload: bytes, error: Exception) -> PoisonError:
    """The reason for which a strict parser has failed on `payload`; `error` is what it raised."""
    try:
        read(payload)
    except PoisonError as found:
        return found
    return PoisonError(Reason.BAD_SCHEMA, str(error))


def check_text(text: str) -> None:
    """Refuse what a database or terminal would choke on.

    Raises:
        PoisonError: a control character.
    """
    if _CONTROL.search(text):
        raise PoisonError(Reason.CONTROL_CHARACTER, "a string holds a control character")


def read(payload: bytes) -> Any:
    """Read JSON with every check there is; slow, so only for what looks wrong.

    Raises:
        PoisonError: the first thing that is wrong.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise PoisonError(Reason.BAD_ENCODING, f"not UTF-8 at byte {error.start}") from error
    _check_depth(payload)
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float, parse_int=_int)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Invalid control character"):
            raise PoisonError(Reason.CONTROL_CHARACTER, f"at character {error.pos}") from error
        raise PoisonError(Reason.BAD_JSON, f"{error.msg} at character {error.pos}") from error


def _check_depth(payload: bytes) -> None:
    depth = 0
    for token in _TOKEN.finditer(payload):
        first = payload[token.start()]
        if first in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise PoisonError(Reason.TOO_DEEP, f"more than {DEPTH_MAX} levels")
        elif first in b"]}":
            depth -= 1


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise PoisonError(Reason.DUPLICATE_KEY, f"{twice[:64]!r} is given twice")
    for key, value in pairs:
        _check_string(key)
        if isinstance(value, str):
            _check_string(value)
    return found


def _check_string(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PoisonError(Reason.BAD_ENCODING, "a lone surrogate") from error
    check_text(text)


def _constant(name: str) -> NoReturn:
    raise PoisonError(Reason.NOT_FINITE, f"{name} is no number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise PoisonError(Reason.NOT_FINITE, f"{text[:32]} is too large")
    return value


def _int(text: str) -> float:
    if len(text) > _DIGITS_MAX:
        raise PoisonError(Reason.NOT_FINITE, f"an integer of {len(text)} digits")
    return _float(text)
