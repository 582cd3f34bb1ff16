"""processor: indicator frames of one partition in, alert transitions out; a `pulssi.partitions.Processor`"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alerts import state
from alerts.board import Board, Limits, Transitions
from alerts.rules import Rule
from alerts.series_table import Lookup
from pulssi.errors import PoisonError
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import to_json
from pulssi.partitions import Output, Record
from pulssi.times import US_PER_S, Clock, iso
from pulssi.topics import Content, Topics, headers


class AlertsProcessor:
    """The rules on one partition.

    Args:
        rules: in any order.
        partition: of the indicators, and of the alerts that follow.
        lookup: describes a series.
        topics: where alerts and dead letters go.
        clock: for `decided_time` and the time of dead letters only.
        limits: bounds.
        snapshot: what `snapshot` returned, to go on from there.
        seen: called with what was decided, after each call of `process` and `tick`.

    Raises:
        PoisonError: the snapshot cannot be read.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        partition: int,
        lookup: Lookup,
        topics: Topics,
        clock: Clock,
        limits: Limits | None = None,
        snapshot: bytes | None = None,
        seen: Callable[[AlertsProcessor, Transitions], None] = lambda _processor, _transitions: None,
    ) -> None:
        self.board = Board(rules, lookup, limits)
        self._partition = partition
        self._topics = topics
        self._clock = clock
        self._seen = seen
        self._quiet_from: int | None = None
        self._kinds = {b"reading": True, b"window": any(s.kind != IndicatorKind.READING for s in self.board.layers)}
        if snapshot is not None:
            state.restore(self.board, snapshot, clock())

    def process(self, records: Sequence[Record]) -> list[Output]:
        """Judge the rows of some records, in offset order."""
        self._quiet_from = None
        wanted = [record for record in records if self._kinds.get(record.headers.get("kinds", b""), True)]
        outputs: list[Output] = []
        try:
            rows, _ = Indicators.decode_all([record.value for record in wanted])
        except PoisonError:
            rows, outputs = self._one_by_one(wanted)
        return outputs + self._outputs(self.board.see(rows, self._clock()))

    def _one_by_one(self, records: Sequence[Record]) -> tuple[Indicators, list[Output]]:
        """The rows of the good records, and the dead letters of the others."""
        frames: list[Indicators] = []
        letters: list[Output] = []
        for record in records:
            try:
                frames.append(Indicators.decode(record.value))
            except PoisonError as error:
                letters.append(self._dead_letter(record, error))
        return Indicators.concat(frames) if frames else Indicators.empty(), letters

    def tick(self, now: int) -> list[Output]:
        """Judge silence by the wall clock, once the whole partition has been quiet for `quiet_s`."""
        if self._quiet_from is None:
            self._quiet_from = now
        quiet = now - self._quiet_from >= self.board.limits.quiet_s * US_PER_S
        return self._outputs(self.board.tick(now if quiet else None, self._clock()))

    def snapshot(self) -> bytes:
        """The whole state."""
        return state.save(self.board)

    def _outputs(self, transitions: Transitions) -> list[Output]:
        self._seen(self, transitions)
        return [
            Output(self._topics.alerts, self._partition, one.alert_id.encode(), to_json(one), headers(Content.ALERT))
            for one in transitions
        ]

    def _dead_letter(self, record: Record, error: PoisonError) -> Output:
        more = headers(
            Content.DEADLETTER,
            reason=str(error.reason),
            detail=error.detail,
            source="kafka",
            topic=self._topics.indicators,
            partition=self._partition,
            offset=record.offset,
            time=iso(self._clock()),
        )
        return Output(self._topics.deadletters, None, b"", record.value, more)
