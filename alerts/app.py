"""the alert processor: indicators in, alert transitions out, under the Faust shell"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from alerts.board import Limits
from alerts.processor import AlertsProcessor
from alerts.rules import Rule, load_rules
from alerts.series_table import Lookup
from pulssi.logs import setup
from pulssi.messages import AlertState, AlertTransition
from pulssi.metrics import Metrics
from pulssi.settings import AlertsSettings, Settings
from pulssi.shell import run_faust
from pulssi.shell.series import SeriesDirectory
from pulssi.times import US_PER_S, now_us
from pulssi.topics import Topics


def run(settings: Settings) -> None:
    """Judge every indicator by the rules until SIGTERM.

    Raises:
        ConfigurationError: the rules are wrong.
    """
    log = setup("alerts", level=settings.log.level, as_json=settings.log.as_json)
    rules = load_rules(settings.alerts.rules_file)
    log.info("rules", rules={rule.id: rule.version for rule in rules})
    metrics = Metrics("alerts")
    metrics.serve(settings.metrics.host, settings.metrics.alerts)
    topics = settings.kafka.topics
    series = SeriesDirectory(settings.kafka.bootstrap, topics.series, metrics, log)
    partitions = Partitions(rules, settings.alerts, topics, series.get, metrics)
    run_faust(
        settings.alerts.group,
        settings.kafka,
        {topics.indicators: partitions.make},
        snapshot_interval_s=settings.alerts.snapshot_interval_s,
        batch_bytes_max=settings.alerts.batch_bytes_max,
        metrics=metrics,
        log=log,
    )


class Partitions:
    """Makes the processors of this worker and shows how they fare."""

    def __init__(
        self, rules: Sequence[Rule], settings: AlertsSettings, topics: Topics, lookup: Lookup, metrics: Metrics
    ) -> None:
        self._rules = rules
        self._limits = Limits.of(settings)
        self._topics = topics
        self._lookup = lookup
        self._metrics = metrics
        self._living: weakref.WeakSet[AlertsProcessor] = weakref.WeakSet()
        for what in ("open_max", "series_max", "waiting_rows_max"):
            metrics.limit(f"{what.removesuffix('_max')}_per_partition", getattr(settings, what))

    def make(self, partition: int, snapshot: bytes | None) -> AlertsProcessor:
        """A `pulssi.partitions.Factory`."""
        made = AlertsProcessor(
            self._rules, partition, self._lookup, self._topics, now_us, self._limits, snapshot, self._seen
        )
        self._living.add(made)
        return made

    def _seen(self, processor: AlertsProcessor, transitions: Sequence[AlertTransition]) -> None:
        """Count what a processor did just now."""
        for one in transitions:
            self._metrics.sent("alerts", one.state)
            if one.state is AlertState.FIRING and one.condition != "no_data":
                self._metrics.latency("decide", max(0.0, (one.decided_time - one.receive_time) / US_PER_S))
        self._metrics.in_flight("alerts", sum(one.board.room.open for one in self._living))
        self._metrics.in_flight("waiting_rows", sum(len(one.board.waiting) for one in self._living))
        for kind, n in processor.board.refused.items():
            self._metrics.error(kind, n)
        processor.board.refused.clear()
