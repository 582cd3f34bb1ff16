"""A backtest runs what compares devices too, across partitions, and does not mind where they are."""

import numpy as np
import pytest

from alerts.rules import load_rules
from pulssi.commands.backtest.core import backtest
from pulssi.frames import IndicatorKind, Indicators
from pulssi.settings import load_settings
from streams.catalogue import Catalogue
from tests.fixtures.corridor import INCIDENT, INFOS, MINUTE_US, STATIONS, frames

RULES = [rule for rule in load_rules() if rule.id == "traffic-incident"]


def run(partitions):
    """Steps, and the values of `incident` rows by series and minute."""
    catalogue, said = Catalogue(), {}
    for one in INFOS.values():
        catalogue.add(one)

    def seen(rows: Indicators):
        ours = (rows.kind == IndicatorKind.TRAFFIC) & (rows.window_s == 60)
        for i in np.flatnonzero(ours).tolist():
            said[int(rows.series_id[i]), int(rows.window_start[i])] = repr(float(rows.value[i]))

    settings = load_settings(None, kafka={"partitions": partitions})
    outcome = backtest(frames(0, partitions), RULES, settings, catalogue, seen=seen)
    assert not outcome.refused
    steps = [(one.device_id, one.state.value, one.onset_time, one.event_time) for one in outcome.transitions]
    return steps, said


@pytest.fixture(scope="module")
def alone():
    return run(1)


def test_the_incident_fires_at_its_upstream_station_and_is_resolved(alone):
    (first, fired, onset, _), (second, resolved, same, end) = alone[0]
    assert (first, fired, second, resolved) == (STATIONS[1], "firing", STATIONS[1], "resolved")
    assert onset == same
    assert INCIDENT[1] <= onset // MINUTE_US <= INCIDENT[8]
    assert INCIDENT[-1] < end // MINUTE_US <= INCIDENT[-1] + 20


@pytest.mark.parametrize("partitions", [2, 4])
def test_the_number_of_partitions_makes_no_difference(alone, partitions):
    assert run(partitions) == alone
