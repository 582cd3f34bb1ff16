"""core: the processors of production over records that are there already, driven by the time in them; pure

What a partition gets here is what Kafka would have brought it, in the same order: readings and vehicle events through
`streams`, what devices are compared by through the partition of their group, and what comes of all through `alerts`. A
record is judged by nothing that came after it. Only the ticks of the wall clock are left out until the end: what they
show while records flow depends on when one looks, and records that follow replace it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np

from alerts.board import Limits
from alerts.processor import AlertsProcessor
from alerts.rules import Rule
from pulssi.frames import VEHICLES, IndicatorKind, Indicators, Readings, decode
from pulssi.geography import load_places
from pulssi.messages import AlertTransition, SeriesInfo
from pulssi.partitions import Output, Record
from pulssi.settings import Settings, StreamsSettings
from pulssi.times import US_PER_S
from pulssi.topics import Content
from streams.catalogue import Catalogue
from streams.groups_processor import GroupsProcessor
from streams.readings_processor import ReadingsProcessor
from streams.sensors import load_sensors
from streams.transit.processor import TransitProcessor

NEVER: Final = -(1 << 62)
OF_VEHICLES: Final = frozenset(
    {IndicatorKind.DELAY, IndicatorKind.ON_TIME, IndicatorKind.HEADWAY, IndicatorKind.VEHICLE}
)
"""Indicators that come of vehicle events."""

_NEVER_HIDDEN: Final = OF_VEHICLES | {IndicatorKind.READING}
"""Indicators of which no batch shows less than another: of single readings, and of vehicles, record by record."""


class Frame(NamedTuple):
    """One record as Kafka would hold it: its partition, and the Arrow frame of `pulssi.frames`."""

    content: Content
    partition: int
    value: bytes


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        transitions: steps of alerts, in the order of the records behind them; those of one call by partition.
        readings: how many were taken in.
        vehicle_events: how many were taken in.
        refused: records that streams or alerts could not read, and what met a bound of theirs, by reason.
        first: oldest receive time, us; None when nothing came.
        end: where the clock stood at the end, us.
    """

    transitions: list[AlertTransition] = field(default_factory=list)
    readings: int = 0
    vehicle_events: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    first: int | None = None
    end: int = NEVER


def backtest(
    frames: Iterable[Frame],
    rules: Sequence[Rule],
    settings: Settings,
    catalogue: Catalogue,
    *,
    end: int | None = None,
    seen: Callable[[Indicators], None] = lambda _rows: None,
) -> Outcome:
    """What would have fired.

    Args:
        frames: in order of receipt.
        rules: what to look for.
        settings: of streams, alerts and the topics.
        catalogue: descriptions of the series, which must be there before their first frame; derived ones are added.
        end: where the clock stands after the last frame, us; the newest receive time when None.
        seen: called with all rows of indicators, as they come.
    """
    run = _Run(rules, settings, catalogue, seen)
    for frame in frames:
        run.take(frame)
    return run.finish(end)


class _Run:
    """All partitions, each with the frames that wait for their batch."""

    def __init__(
        self, rules: Sequence[Rule], settings: Settings, catalogue: Catalogue, seen: Callable[[Indicators], None]
    ) -> None:
        self.rules = tuple(rules)
        self.settings = settings
        self.catalogue = catalogue
        self.seen = seen
        self.outcome = Outcome()
        self._lines: dict[int, _Partition] = {}
        self._wanted: dict[int, bool] = {}
        self._single = all(rule.source and rule.source.kind == IndicatorKind.READING for rule in rules)
        self.batching = Batching.of(rules, settings.streams)
        self.sensors = load_sensors(settings.streams.sensors_file)
        self.places = load_places(settings.gateway.places_file)

    def take(self, frame: Frame) -> None:
        line = self._line(frame.partition)
        if frame.content == Content.VEHICLES:
            line.take_vehicles(frame.value)
            return
        readings = Readings.decode(frame.value)
        self._note(len(readings), readings.receive_time)
        if not self._single:
            line.take_readings(frame.value, readings)
            return
        chosen = self._in_scope(readings.series_id)
        if chosen.any():
            line.take_readings(frame.value if chosen.all() else None, readings.take(chosen))

    def take_group(self, output: Output, clock: int) -> None:
        """Hand rows of one partition to that of their group."""
        self._line(output.partition or 0).take_group(output.value, clock)

    def _line(self, number: int) -> _Partition:
        line = self._lines.get(number)
        if line is None:
            line = self._lines[number] = _Partition(self, number)
        return line

    def _note(self, readings: int, receive_time: np.ndarray) -> None:
        self.outcome.readings += readings
        first = self.outcome.first
        oldest = int(receive_time.min())
        self.outcome.first = oldest if first is None else min(first, oldest)
        self.outcome.end = max(self.outcome.end, int(receive_time.max()))

    def note_vehicles(self, receive_time: np.ndarray) -> None:
        """Count vehicle events."""
        self._note(0, receive_time)
        self.outcome.vehicle_events += len(receive_time)

    def _in_scope(self, series_id: np.ndarray) -> np.ndarray:
        """Which readings a rule is about; the others change nothing where each reading is judged by its own series."""
        for one in set(series_id.tolist()) - self._wanted.keys():
            info = self.catalogue.get(one)
            self._wanted[one] = info is not None and any(rule.scope.matches(info) for rule in self.rules)
        return np.fromiter((self._wanted[one] for one in series_id.tolist()), np.bool_, len(series_id))

    def finish(self, end: int | None) -> Outcome:
        for _, line in sorted(self._lines.items()):
            line.flush()
        if end is not None:
            self.outcome.end = max(self.outcome.end, end)
        for _, line in sorted(self._lines.items()):
            line.finish(self.outcome.end)
        return self.outcome


def lean(settings: StreamsSettings, rules: Sequence[Rule]) -> StreamsSettings:
    """The settings without the windows that no rule looks at: a third of the work, or less, for the same rows.

    Readings are checked and scored without windows; the longest one says how long the cadence of a series is learned.
    """
    sources = [rule.source for rule in rules if rule.source]
    wanted = {source.window_s for source in sources if source.kind == IndicatorKind.WINDOW}
    others = any(source.kind not in _NEVER_HIDDEN | {IndicatorKind.WINDOW} for source in sources)
    if others or not wanted <= set(settings.windows_s):
        return settings
    windows = wanted | {max(settings.windows_s)} if wanted else {settings.pane_s}
    return settings.model_copy(update={"windows_s": tuple(sorted(windows)), "long_windows_s": ()})


class Batching(NamedTuple):
    """How many frames may be worked on at once without hiding anything.

    A row of an indicator is a function of the readings up to its position, whatever the batches, but a batch shows the
    last revision only. So what could be revised within a batch must not be in it.

    Attributes:
        rows_max: readings in a batch.
        span_us: of receive time that a batch may cover.
        prompt_us: how far behind its receipt a reading may lie and be with others; None when nothing is revised.
    """

    rows_max: int
    span_us: int
    prompt_us: int | None

    @classmethod
    def of(cls, rules: Sequence[Rule], settings: StreamsSettings) -> Batching:
        """The batches of production at most, and smaller ones as the watched indicators need."""
        sources = [rule.source for rule in rules if rule.source]
        if all(source.kind in _NEVER_HIDDEN for source in sources):
            return cls(settings.batch_readings_max, 1 << 62, None)
        if not all(source.kind in _NEVER_HIDDEN | {IndicatorKind.WINDOW} for source in sources):
            return cls(0, 0, None)
        # What settles changes windows that have closed so long before; a silence of `idle_s` closes panes early.
        span_s = settings.horizon_s - max(source.window_s for source in sources) - 2 * settings.idle_s
        prompt_s = settings.idle_s - settings.pane_s
        return cls(settings.batch_readings_max if span_s > 0 else 0, span_s * US_PER_S, prompt_s * US_PER_S)


class _Partition:
    """One partition of everything: its processors, and readings that wait."""

    def __init__(self, run: _Run, number: int) -> None:
        settings, topics = run.settings, run.settings.kafka.topics
        self._run = run
        self._topics = topics
        streams = lean(settings.streams, run.rules)
        describe = run.catalogue.get
        self._readings = ReadingsProcessor(number, streams, topics, run.catalogue.limits, None, describe, run.sensors)
        self._vehicles = TransitProcessor(number, settings.streams, topics)
        self._groups = GroupsProcessor(number, settings.streams, topics, None, describe, run.sensors, run.places)
        limits = Limits.of(settings.alerts)
        self._alerts = AlertsProcessor(run.rules, number, describe, topics, lambda: self._clock, limits)
        self._clock = NEVER
        self._offsets = Counter[str]()
        self._waiting: list[Record] = []
        self._rows = 0
        self._opened = NEVER
        self._newest: dict[int, int] = {}

    def take_readings(self, frame: bytes | None, readings: Readings) -> None:
        """Take a frame of readings in; `frame` None when it is to be made of them."""
        receive = readings.receive_time
        batching = self._run.batching
        alone = not batching.rows_max or (batching.prompt_us is not None and not self._prompt(readings))
        full = self._rows + len(readings) > batching.rows_max or int(receive.max()) - self._opened > batching.span_us
        if alone or full:
            self.flush()
        if not self._waiting:
            self._opened = int(receive.min())
        self._waiting.append(self._record(self._topics.readings, frame or readings.encode()))
        self._rows += len(readings)
        self._clock = max(self._clock, int(receive.max()))
        if alone:
            self.flush()

    def _prompt(self, readings: Readings) -> bool:
        """Whether every reading is on time and newer than all of its series before it."""
        prompt = True
        late = readings.receive_time - readings.event_time > (self._run.batching.prompt_us or 0)
        for one, time in zip(readings.series_id.tolist(), readings.event_time.tolist(), strict=True):
            if time <= self._newest.get(one, NEVER):
                prompt = False
            else:
                self._newest[one] = time
        return prompt and not late.any()

    def take_vehicles(self, frame: bytes) -> None:
        """Take a frame of vehicle events in."""
        receive = decode(frame, VEHICLES).column("receive_time").to_numpy()
        self._run.note_vehicles(receive)
        self._clock = max(self._clock, int(receive.max()))
        self._pass_on(self._vehicles.process([self._record(self._topics.vehicles, frame)]))

    def take_group(self, frame: bytes, clock: int) -> None:
        """Take rows of a group in, that stood at `clock` where they come from."""
        self._clock = max(self._clock, clock)
        self._pass_on(self._groups.process([self._record(self._topics.groups, frame)]))

    def flush(self) -> None:
        """Work on the readings that wait."""
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if waiting:
            self._pass_on(self._readings.process(waiting))

    def finish(self, end: int) -> None:
        """Let the clock go on to `end` without another record."""
        for processor in (self._readings, self._vehicles):
            for now in (self._clock, end):
                self._pass_on(processor.tick(now))
        last, self._clock = self._clock, end
        for now in (last, end):
            self._hear(self._alerts.tick(now))
        self._run.outcome.refused.update(self._alerts.board.refused)
        if self._readings.counts.without_state:
            self._run.outcome.refused["readings_without_state"] += self._readings.counts.without_state

    def _record(self, topic: str, value: bytes) -> Record:
        offset = self._offsets[topic]
        self._offsets[topic] += 1
        return Record(offset, None, value, {})

    def _pass_on(self, outputs: list[Output]) -> None:
        """Hand what streams said to those who read it, series first, as their shells do."""
        for output in outputs:
            if output.topic == self._topics.series:
                self._run.catalogue.add(msgspec.json.decode(output.value, type=SeriesInfo))
            elif output.topic == self._topics.deadletters:
                self._refused(output)
        records = [
            self._record(output.topic, output.value)._replace(headers=dict(output.headers))
            for output in outputs
            if output.topic == self._topics.indicators
        ]
        if records:
            rows, _ = Indicators.decode_all([record.value for record in records])
            self._run.seen(rows)
            self._hear(self._alerts.process(records))
        for output in outputs:
            if output.topic == self._topics.groups:
                self._run.take_group(output, self._clock)

    def _hear(self, outputs: list[Output]) -> None:
        for output in outputs:
            if output.topic == self._topics.alerts:
                self._run.outcome.transitions.append(msgspec.json.decode(output.value, type=AlertTransition))
            else:
                self._refused(output)

    def _refused(self, letter: Output) -> None:
        self._run.outcome.refused[dict(letter.headers)["reason"].decode()] += 1
