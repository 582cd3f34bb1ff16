"""run: one backtest from its options to its report"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np

from alerts.rules import Rule, load_rules, rule_of
from alerts.texts import LANGUAGES, Language
from pulssi.commands.backtest import plot, recorded, stored
from pulssi.commands.backtest.core import OF_VEHICLES, Frame, backtest
from pulssi.commands.backtest.report import Alarm, Report, alarms
from pulssi.commands.backtest.series_filter import SeriesFilter, name_of
from pulssi.commands.backtest.trace import Trace
from pulssi.errors import ConfigurationError
from pulssi.frames import IndicatorKind
from pulssi.logs import setup
from pulssi.messages import AlertTransition, SeriesInfo
from pulssi.quantities import QUANTITIES
from pulssi.settings import Settings
from pulssi.times import parse_iso_us
from simulators.recordings import Record
from storage.database import Connection
from streams.catalogue import Catalogue
from streams.season import Calendar

DATABASE: Final = "db:"


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for, as it was written; meanings stand in the help of the command."""

    rule: str
    data: list[str]
    rules_file: Path | None = None
    score: float | None = None
    form: str | None = None
    quantity: str = "value"
    series: tuple[str, ...] = ()
    start: str | None = None
    end: str | None = None
    language: str = "en"
    plot: Path | None = None


class Problems:
    """Keeps the ConfigurationErrors of the blocks that it manages, so that all can be told at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __enter__(self) -> None:
        """Begin a block."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """Keep what was wrong in it."""
        if isinstance(error, ConfigurationError):
            self.found += error.problems
        return isinstance(error, ConfigurationError)

    def check(self) -> None:
        """End with all of them, if there is any.

        Raises:
            ConfigurationError: there is.
        """
        if self.found:
            raise ConfigurationError(self.found)


def chosen_rule(name: str, file: Path | None, score: float | None) -> Rule:
    """The rule that is meant: by name, the bare detector, or what is written as a rule.

    Raises:
        ConfigurationError: there is none of this name, or it is wrong.
    """
    if score is not None:
        if name != "anomaly":
            raise ConfigurationError(f"--score: is of the detector, which is called anomaly, not {name!r}")
        return rule_of({"id": "anomaly", "severity": "info", "anomaly": {"score": score}}, "--score")
    if "=" in name:
        try:
            table = tomllib.loads(name)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"the rule {name!r} is no TOML: {error}") from error
        return rule_of({"id": "inline", "severity": "warning"} | table, "the rule")
    rules = {rule.id: rule for rule in load_rules(file)}
    if name not in rules:
        raise ConfigurationError(f"there is no rule {name!r}; known are {', '.join(rules)}; and anomaly with --score")
    return rules[name]


def run(options: Options, settings: Settings) -> Report:
    """Run it, and draw the plot when there is to be one.

    Raises:
        ConfigurationError: every problem of the options, the rule and the data.
    """
    problems = Problems()
    problems.found += _wrong_words(options)
    with problems:
        rule = chosen_rule(options.rule, options.rules_file or settings.alerts.rules_file, options.score)
        problems.found += _unseen_window(rule, settings)
    with problems:
        wanted = SeriesFilter(options.series)
    span = _Span()
    with problems:
        span.start = _time("--from", options.start)
    with problems:
        span.end = _time("--to", options.end)
    if span.start is not None and span.end is not None and span.start >= span.end:
        problems.found.append("--from: is not before --to")
    with ExitStack() as stack:
        with problems:
            if options.data == [DATABASE]:
                database = stack.enter_context(stored.open_database(settings.database))
            elif DATABASE in options.data:
                raise ConfigurationError(f"{DATABASE} stands alone, without files")
            else:
                records = recorded.load(options.data, options.form, options.quantity)
        problems.check()
        catalogue = Catalogue(settings.streams.lateness_of)
        refused = Counter[str]()
        if options.data == [DATABASE]:
            stored.describe(database, catalogue)
            frames = _stored_frames(database, settings, catalogue, rule, wanted, span)
        else:
            log = setup("backtest", level=settings.log.level, as_json=settings.log.as_json)
            frames = recorded.frames(span.cut(records), settings, catalogue, refused, log)
        return _report(options, settings, rule, wanted, frames, catalogue, refused, span.end)


def _stored_frames(
    database: Connection, settings: Settings, catalogue: Catalogue, rule: Rule, wanted: SeriesFilter, span: _Span
) -> Iterator[Frame]:
    """What the rule needs: vehicle events, the series of its scope, or every reading."""
    kind = rule.source.kind if rule.source else None
    if kind in OF_VEHICLES:
        return stored.vehicle_frames(database, settings, span.start, span.end)

    def in_scope(info: SeriesInfo) -> bool:
        return rule.scope.matches(info) and wanted.matches(info)

    # Windows close by the clock of all readings, and indicators of stations need all their series.
    alone = in_scope if kind == IndicatorKind.READING else None
    return stored.reading_frames(database, settings, catalogue, alone, span.start, span.end)


def _wrong_words(options: Options) -> list[str]:
    found = plot.problems(options.plot) if options.plot else []
    if options.language not in LANGUAGES:
        found.append(f"--language: {options.language!r} is none of {', '.join(LANGUAGES)}")
    if options.quantity not in QUANTITIES:
        found.append(f"--quantity: there is no quantity {options.quantity!r}")
    return found


def _unseen_window(rule: Rule, settings: Settings) -> list[str]:
    """A rule on windows that streams does not make would never fire."""
    source = rule.source
    made = sorted({*settings.streams.windows_s, *settings.streams.long_windows_s})
    if source is None or source.kind != IndicatorKind.WINDOW or source.window_s in made:
        return []
    lengths = ", ".join(map(str, made))
    return [f"rule {rule.id}: window_s = {source.window_s} is none of the windows that streams makes: {lengths}"]


def _time(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_iso_us(text)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from error


@dataclass(slots=True)
class _Span:
    """From `start` on, before `end`; us UTC, None = no bound."""

    start: int | None = None
    end: int | None = None

    def cut(self, records: list[Record]) -> list[Record]:
        """Those received in it."""
        times = [record.time for record in records]
        first = 0 if self.start is None else bisect_left(times, self.start)
        return records[first : None if self.end is None else bisect_left(times, self.end)]


def _report(
    options: Options,
    settings: Settings,
    rule: Rule,
    wanted: SeriesFilter,
    frames: Iterable[Frame],
    catalogue: Catalogue,
    refused: Counter[str],
    end: int | None,
) -> Report:
    def in_scope(series_id: int) -> bool:
        info = catalogue.get(series_id)
        return info is not None and rule.scope.matches(info) and wanted.matches(info)

    def name(step: AlertTransition) -> str:
        info = catalogue.get(step.series_id)
        return name_of(info) if info else step.device_id

    kept = options.plot is not None or rule.anomaly is not None
    calendar = Calendar(settings.streams.zone, settings.streams.holidays)
    trace = Trace(rule, in_scope, keep=kept, calendar=calendar)
    outcome = backtest(frames, [rule], settings, catalogue, end=end, seen=trace.see)
    steps = [one for one in outcome.transitions if wanted.matches_alert(one, catalogue.get(one.series_id))]
    found = alarms(steps, rule)
    if rule.anomaly:
        _explain(found, trace)
    report = Report(
        rule=rule,
        data=options.data,
        alarms=found,
        start=outcome.first,
        end=outcome.end,
        readings=outcome.readings,
        vehicle_events=outcome.vehicle_events,
        series=len(trace.series),
        refused=refused + outcome.refused,
        name_of=name,
        notes=[],
        language=cast("Language", options.language),
    )
    if report.refused:
        reasons = ", ".join(f"{n} {reason}" for reason, n in report.refused.most_common())
        report.notes.append(f"refused: {reasons}")
    if not report.series:
        report.notes.append(f"{rule.id} looked at nothing in these data")
    if options.plot:
        _draw(options.plot, report, trace, catalogue)
    return report


def _explain(found: list[Alarm], trace: Trace) -> None:
    """The readings at the onsets of anomalies, and what was expected there."""
    by_series: dict[int, list[Alarm]] = {}
    for alarm in found:
        by_series.setdefault(alarm.first.series_id, []).append(alarm)
    for series_id, expected in trace.expected(list(by_series)).items():
        points = trace.points(series_id)
        for alarm in by_series[series_id]:
            alarm.value = float(points.value[np.searchsorted(points.time, alarm.onset)])
            alarm.expected = expected.at(alarm.onset) or (None, None)


def _draw(path: Path, report: Report, trace: Trace, catalogue: Catalogue) -> None:
    """Series with most alarms first; a silence is drawn on every series of its device."""
    by_subject: dict[int | str, list[Alarm]] = {}
    for alarm in report.alarms:
        subject = alarm.first.device_id if report.rule.no_data else alarm.first.series_id
        by_subject.setdefault(subject, []).append(alarm)
    shown = [info for info in map(catalogue.get, trace.rows) if info is not None]
    if not shown:
        report.notes.append(f"{path} is not drawn")
        return
    own = {
        info.series_id: by_subject.get(info.device_id if report.rule.no_data else info.series_id, []) for info in shown
    }
    shown.sort(key=lambda info: (-len(own[info.series_id]), name_of(info)))
    drawn = shown[: plot.PANELS_MAX]
    if len(drawn) < len(shown):
        report.notes.append(f"{path} shows {len(drawn)} of {len(shown)} series: choose with --series")
    expected = trace.expected([info.series_id for info in drawn]) if report.rule.anomaly else {}
    panels = [
        plot.Panel(
            name_of(info), info.unit, trace.points(info.series_id), own[info.series_id], expected.get(info.series_id)
        )
        for info in drawn
    ]
    plot.draw(path, report.summary(), panels, report.rule, report.end)
