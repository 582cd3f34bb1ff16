"""rules: what is watched, where, when it counts as an alert, how much it matters; read from TOML

One rule has a scope (which series), exactly one condition (`threshold`, `no_data` or `anomaly`), a severity and, when
wanted, sentences of its own. A rule that is wrong in any way stops the start, with every problem of every rule told.
"""

from __future__ import annotations

import json
import tomllib
from fnmatch import fnmatchcase
from functools import cached_property
from math import inf, nan, nextafter
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import xxhash
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from alerts.lifecycle import Levels
from alerts.texts import Language, template_problem
from pulssi.errors import ConfigurationError
from pulssi.frames import IndicatorKind
from pulssi.geography import districts
from pulssi.messages import SeriesInfo, Severity
from pulssi.quality import EXCLUDED, Quality
from pulssi.quantities import QUANTITIES, Kind
from pulssi.times import US_PER_S

SHIPPED = Path(__file__).parent / "data" / "rules.toml"
SECONDS_MAX = 30 * 24 * 3600
Seconds = Annotated[int, Field(ge=0, le=SECONDS_MAX)]
Glob = Annotated[str, Field(min_length=1, max_length=64)]


def _word(text: str) -> str:
    if text not in QUANTITIES:
        raise ValueError(f"quantity {text!r} is not in the vocabulary")
    return text


def _code(text: str) -> str:
    if all(district.code != text for district in districts()):
        raise ValueError(f"there is no district {text!r}")
    return text


def _sentence(text: str) -> str:
    problem = template_problem(text)
    if problem:
        raise ValueError(problem)
    return text


def _flag(text: str) -> str:
    if text.upper() not in Quality.__members__:
        raise ValueError(f"there is no quality flag {text!r}")
    return text


# Each field is checked by itself, so that a problem in one hides none in another.
Word = Annotated[str, AfterValidator(_word)]
Code = Annotated[str, AfterValidator(_code)]
Flag = Annotated[str, AfterValidator(_flag)]
Sentence = Annotated[str, AfterValidator(_sentence)]

Statistic = Literal["value", "mean", "min", "max", "std", "last", "p50", "p95", "p99", "n", "class_"]
_INDICATORS = {
    "reading": IndicatorKind.READING,
    "window": IndicatorKind.WINDOW,
    "delay": IndicatorKind.DELAY,
    "on_time": IndicatorKind.ON_TIME,
    "air_index": IndicatorKind.AIR_INDEX,
    "traffic": IndicatorKind.TRAFFIC,
    "headway": IndicatorKind.HEADWAY,
    "vehicle": IndicatorKind.VEHICLE,
}


class Source(NamedTuple):
    """Which rows of the indicator frames a condition looks at, and which of their columns; `window_s` 0 = any."""

    kind: IndicatorKind
    window_s: int
    column: str
    completeness_min: float = 0.0
    excluded: int = int(EXCLUDED)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Scope(_Part):
    """Which series a rule is about; an empty field allows all, a filled one must match."""

    kind: tuple[Kind, ...] = ()
    """Kinds of device."""
    quantity: tuple[Word, ...] = ()
    """Words of the vocabulary."""
    district: tuple[Code, ...] = ()
    """District codes such as `04`."""
    device: tuple[Glob, ...] = ()
    """Shell patterns of device ids, such as `tms-*`."""
    channel: tuple[str, ...] = ()
    """Shell patterns of channels; a series without a channel has the empty one."""

    def matches(self, info: SeriesInfo) -> bool:
        """Whether a series is in scope."""
        return (
            (not self.kind or info.kind in self.kind)
            and (not self.quantity or info.quantity in self.quantity)
            and (not self.district or info.district in self.district)
            and (not self.device or any(fnmatchcase(info.device_id, glob) for glob in self.device))
            and (not self.channel or any(fnmatchcase(info.channel or "", glob) for glob in self.channel))
        )


class Threshold(_Part):
    """A value beyond a limit, held for a time; over when it is back behind the clear level, held for a time."""

    on: Literal["reading", "window", "delay", "on_time", "air_index", "traffic", "headway", "vehicle"] = "reading"
    """Single readings, or which indicator."""
    window_s: Annotated[int, Field(ge=1, le=SECONDS_MAX)] | None = None
    """Length of the window, for indicators; states of vehicles have one length only, so it can be left out there."""
    statistic: Statistic = "value"
    """Column that is compared; `value` is the reading, the mean of a window, the median of delays."""
    completeness_min: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Windows with a smaller share of the expected readings are passed over."""
    without: tuple[Flag, ...] = ()
    """Readings with one of these quality flags are passed over, besides those that no indicator counts."""
    above: float | None = None
    """Begins when the value is greater than this."""
    below: float | None = None
    """Begins when the value is less than this."""
    clear: float | None = None
    """Is over when the value is at or behind this; the limit itself when empty."""
    for_s: Seconds = 0
    """How long it must hold, in event time, before the alert fires."""
    clear_for_s: Seconds = 0
    """How long it must be over before the alert is resolved."""
    refractory_s: Seconds = 0
    """How long after its end no new alert begins."""

    @model_validator(mode="after")
    def _consistent(self) -> Threshold:
        problems = []
        if (self.above is None) == (self.below is None):
            problems.append("exactly one of above and below is needed")
        elif self.above is not None and self.clear is not None and self.clear > self.above:
            problems.append(f"clear = {self.clear:g} lies beyond above = {self.above:g}")
        elif self.below is not None and self.clear is not None and self.clear < self.below:
            problems.append(f"clear = {self.clear:g} lies beyond below = {self.below:g}")
        if self.on == "reading" and self.window_s is not None:
            problems.append("a reading has no window_s")
        if self.on == "reading" and self.statistic != "value":
            problems.append(f"a reading has no {self.statistic}")
        if self.on != "reading" and self.without:
            problems.append("flags of single readings are not known on a window")
        if self.on not in {"reading", "vehicle"} and self.window_s is None:
            problems.append(f"window_s is needed on {self.on}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Anomaly(_Part):
    """A reading that its own past does not explain."""

    score: Annotated[float, Field(gt=0, le=1)]
    """Begins when the anomaly score of a reading is at or above this."""
    clear: Annotated[float, Field(ge=0, le=1)] | None = None
    """Is over when the score is below this; `score` when empty."""
    for_s: Seconds = 0
    """How long it must hold before the alert fires."""
    clear_for_s: Seconds = 300
    """How long it must be over before the alert is resolved."""
    refractory_s: Seconds = 900
    """How long after its end no new alert begins."""

    @model_validator(mode="after")
    def _consistent(self) -> Anomaly:
        if self.clear is not None and self.clear > self.score:
            raise ValueError(f"clear = {self.clear:g} lies beyond score = {self.score:g}")
        return self


class NoData(_Part):
    """No reading of a device in scope for a time."""

    after_s: Annotated[int, Field(ge=1, le=SECONDS_MAX)]
    """Silence after which the alert fires, in receive time."""


class Rule(_Part):
    """One rule."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    """Its name: part of the identity of its alerts, so changing it makes other alerts."""
    severity: Severity
    """info, warning or critical."""
    scope: Scope = Scope()
    threshold: Threshold | None = None
    anomaly: Anomaly | None = None
    no_data: NoData | None = None
    texts: dict[Language, Sentence] = {}
    """Sentence of the firing alert by language; the shipped one for its condition when empty."""

    @model_validator(mode="after")
    def _consistent(self) -> Rule:
        given = [self.threshold, self.anomaly, self.no_data]
        if sum(condition is not None for condition in given) != 1:
            raise ValueError("exactly one of threshold, anomaly and no_data is needed")
        return self

    @cached_property
    def condition(self) -> str:
        """threshold, anomaly or no_data."""
        return "threshold" if self.threshold else "anomaly" if self.anomaly else "no_data"

    @cached_property
    def version(self) -> str:
        """A hash of everything that the rule says: 16 hexadecimal digits."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return xxhash.xxh3_64_hexdigest(json.dumps(content, sort_keys=True, ensure_ascii=False).encode())

    @cached_property
    def source(self) -> Source | None:
        """The column that the condition looks at; None for silence, which has no column."""
        if self.anomaly:
            return Source(IndicatorKind.READING, 0, "last")
        if self.threshold:
            return Source(
                _INDICATORS[self.threshold.on],
                self.threshold.window_s or 0,
                self.threshold.statistic,
                self.threshold.completeness_min,
                int(EXCLUDED | sum(Quality[flag.upper()] for flag in self.threshold.without)),
            )
        return None

    @cached_property
    def levels(self) -> Levels:
        """The condition as numbers for the state machine.

        Raises:
            ValueError: the rule is about silence.
        """
        if self.anomaly:
            # "At or above" is "greater than the next smaller number": the machine knows one comparison only.
            fire, clear = self.anomaly.score, self.anomaly.clear or self.anomaly.score
            # A single reading is unusual by chance all the time, so its pending is not worth a word.
            return Levels(1.0, nextafter(fire, -inf), nextafter(clear, -inf), *_times(self.anomaly), told=False)
        if self.threshold is None:
            raise ValueError(f"rule {self.id} has no levels")
        sign = 1.0 if self.threshold.above is not None else -1.0
        clear = self.limit if self.threshold.clear is None else self.threshold.clear
        return Levels(sign, sign * self.limit, sign * clear, *_times(self.threshold))

    @cached_property
    def limit(self) -> float:
        """The number that is exceeded: threshold or score; the seconds of a silence."""
        if self.no_data:
            return float(self.no_data.after_s)
        if self.anomaly:
            return self.anomaly.score
        above, below = (self.threshold.above, self.threshold.below) if self.threshold else (None, None)
        return above if above is not None else below if below is not None else nan


def _times(condition: Threshold | Anomaly) -> tuple[int, int, int]:
    return tuple(s * US_PER_S for s in (condition.for_s, condition.clear_for_s, condition.refractory_s))  # type: ignore[return-value]


def load_rules(path: Path | None = None) -> tuple[Rule, ...]:
    """Rules of a TOML file, in its order; the rules shipped with Pulssi when no path is given.

    Raises:
        ConfigurationError: every problem of every rule.
    """
    path = path or SHIPPED
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # unreadable, not UTF-8 or not TOML
        raise ConfigurationError(f"{path}: {error}") from error
    problems = [f"{path}: {word!r} is not known; rules are written as [[rule]]" for word in content if word != "rule"]
    given = content.get("rule", [])
    if not isinstance(given, list):
        raise ConfigurationError([*problems, f"{path}: rules are written as [[rule]]"])
    rules: list[Rule] = []
    for number, one in enumerate(given, start=1):
        name = one.get("id", f"number {number}") if isinstance(one, dict) else f"number {number}"
        try:
            rules.append(rule_of(one, f"{path}: rule {name}"))
        except ConfigurationError as error:
            problems += error.problems
    ids = [rule.id for rule in rules]
    problems += [f"{path}: rule {name}: the id is used twice" for name in sorted({i for i in ids if ids.count(i) > 1})]
    if problems:
        raise ConfigurationError(problems)
    return tuple(rules)


def rule_of(table: object, where: str) -> Rule:
    """One rule from what TOML holds.

    Raises:
        ConfigurationError: every problem of it, each beginning with `where`.
    """
    try:
        return Rule.model_validate(table)
    except ValidationError as error:
        raise ConfigurationError([f"{where}: {_problem(detail)}" for detail in error.errors()]) from error


def _problem(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
