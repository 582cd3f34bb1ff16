"""texts: what an alert says in Finnish, Swedish and English, as plain text

Templates are jinja2 in a sandbox, since rules bring their own; nothing here is HTML, whoever makes HTML of it escapes.
Numbers have the decimal sign of the language, times are those of Helsinki's clocks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment

from pulssi.geography import districts
from pulssi.messages import AlertState, AlertTransition
from pulssi.times import US_PER_S, us_datetime

Language = Literal["fi", "sv", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
ZONE = ZoneInfo("Europe/Helsinki")
TEXT_LENGTH_MAX = 500

_REMEMBERED = 1024
"""Times and names that are kept as they are written."""

_NO_BREAK = "\u00a0"
_MINUS = "\u2212"
_US_PER_MINUTE = 60 * US_PER_S
_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
_TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, ArithmeticError)


@cache
def _words() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "data" / "texts.toml").read_text(encoding="utf-8"))


@cache
def _template(text: str) -> Template:
    return _ENVIRONMENT.from_string(text)


@cache
def _pattern(text: str) -> str | None:
    """The template for `str.format_map`, when it is but words of ours in a text: rendering it takes a tenth."""
    pattern = ""
    for output in _ENVIRONMENT.parse(text).body:
        for node in getattr(output, "nodes", [output]):
            if isinstance(node, nodes.TemplateData):
                pattern += node.data.replace("{", "{{").replace("}", "}}")
            elif isinstance(node, nodes.Name) and node.name in _WORDS:
                pattern += f"{{{node.name}}}"
            else:
                return None
    return pattern


def number(value: float, language: Language) -> str:
    """A number as the language writes it: one decimal below 100, none above, thousands apart."""
    text = f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"
    text = text.removesuffix(".0")
    if text == "-0":
        text = "0"
    if language == "en":
        return text
    return text.replace(",", _NO_BREAK).replace(".", ",").replace("-", _MINUS)


def duration(seconds: float, language: Language) -> str:
    """A length of time in minutes, in seconds below two minutes, in hours and minutes from two hours."""
    sign = "" if seconds >= 0 else "-" if language == "en" else _MINUS
    whole = round(abs(seconds))
    if whole < 120:
        return f"{sign}{whole}{_NO_BREAK}s"
    minutes = round(whole / 60)
    if minutes < 120:
        return f"{sign}{minutes}{_NO_BREAK}min"
    rest = f"{_NO_BREAK}{minutes % 60}{_NO_BREAK}min" if minutes % 60 else ""
    return f"{sign}{minutes // 60}{_NO_BREAK}h{rest}"


def local_time(time: int, language: Language) -> str:
    """Date and minute on Helsinki's clocks, as the language writes them."""
    return _local_minute(time // _US_PER_MINUTE, language)


@lru_cache(_REMEMBERED)
def _local_minute(minute: int, language: Language) -> str:
    moment = us_datetime(minute * _US_PER_MINUTE).astimezone(ZONE)
    if language == "en":
        return f"{moment.day} {_MONTHS[moment.month - 1]} {moment:%Y %H:%M}"
    return f"{_date(moment)} {'klo' if language == 'fi' else 'kl.'} {moment.hour}.{moment:%M}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _date(moment: datetime) -> str:
    return f"{moment.day}.{moment.month}.{moment.year}"


def measured(value: float | None, unit: str, language: Language) -> str:
    """A value with its unit; seconds as a length of time; a dash when there is none."""
    if value is None:
        return "\u2013"
    if unit == "s":
        return duration(value, language)
    sign = _words()["units"].get(unit, {}).get(language, unit)
    return f"{number(value, language)}{_NO_BREAK}{sign}".rstrip(_NO_BREAK)


@lru_cache(_REMEMBERED)
def district_name(code: str | None, language: Language) -> str:
    """Name of a district, Finnish but in Swedish; empty outside Helsinki."""
    for district in districts():
        if district.code == code:
            return district.name_sv if language == "sv" else district.name_fi
    return ""


def quantity_name(quantity: str, language: Language) -> str:
    """What people call a quantity."""
    word: str = _words()["quantities"].get(quantity, {}).get(language, quantity)
    return word


def render(transition: AlertTransition, own: dict[Language, str], *, below: bool) -> dict[str, str]:
    """The sentence of one step in every language.

    Args:
        transition: the step; its own `texts` are not looked at.
        own: templates that the rule brings for its firing state, by language.
        below: whether the limit is passed downwards.
    """
    return {language: _sentence(transition, own, language, below=below) for language in LANGUAGES}


def _sentence(transition: AlertTransition, own: dict[Language, str], language: Language, *, below: bool) -> str:
    if transition.state is AlertState.FIRING and language in own:
        try:
            return _said(own[language], transition, language)
        except _TEMPLATE_ERRORS:
            pass  # it rendered when the rules were read, but not with these values; the shipped sentence always does
    shipped: str = _words()["sentences"][_which(transition, below=below)][language]
    return _said(shipped, transition, language)


def _said(text: str, transition: AlertTransition, language: Language) -> str:
    words = _Words(transition, language)
    pattern = _pattern(text)
    if pattern is not None:
        return pattern.format_map(words)
    return _template(text).render({name: words[name] for name in _WORDS})


_WORDS: dict[str, Callable[[AlertTransition, Language], str]] = {
    "place": lambda step, _: step.name or step.device_id,
    "device": lambda step, _: step.device_id,
    "district": lambda step, language: district_name(step.district, language),
    "quantity": lambda step, language: quantity_name(step.quantity, language),
    "value": lambda step, language: measured(step.value, step.unit, language),
    "limit": lambda step, language: measured(step.threshold, step.unit, language),
    "since": lambda step, language: local_time(step.onset_time, language),
    "time": lambda step, language: local_time(step.event_time, language),
    "lasted": lambda step, language: duration((step.event_time - step.onset_time) / US_PER_S, language),
}


class _Words(dict[str, str]):
    """The words that a template may use, made when they are asked for."""

    def __init__(self, transition: AlertTransition, language: Language) -> None:
        self._of = (transition, language)

    def __missing__(self, name: str) -> str:
        return _WORDS[name](*self._of)


def _which(transition: AlertTransition, *, below: bool) -> str:
    state = transition.state.value
    if transition.evidence.get("withdrawn"):
        return "resolved_withdrawn"
    if transition.state is AlertState.RESOLVED and not transition.evidence.get("fired", 1):
        state = "cancelled"
    if transition.condition != "threshold":
        return f"{state}_{transition.condition}"
    return f"{state}_{'below' if below else 'above'}"


def template_problem(text: str) -> str | None:
    """What is wrong with a template of a rule, None when it renders."""
    if len(text) > TEXT_LENGTH_MAX:
        return f"longer than {TEXT_LENGTH_MAX} characters"
    try:
        _ENVIRONMENT.from_string(text).render(dict.fromkeys(_WORDS, "x"))
    except _TEMPLATE_ERRORS as error:
        return f"{error}; known words are {', '.join(_WORDS)}"
    return None
