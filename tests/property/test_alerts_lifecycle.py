"""The alert core against slow obvious programs, however its input is cut, repeated or interrupted."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import state
from alerts.board import Board
from alerts.lifecycle import Layer, Levels, Room
from alerts.rules import Rule
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import AlertState, AlertTransition, SeriesInfo
from pulssi.quality import Quality
from pulssi.series import series_id

S = 1_000_000
T0 = 1_790_000_000 * S

observations = st.lists(
    st.tuples(st.integers(1, 400), st.sampled_from([0.0, 5.0, 8.0, 9.0, 10.0, 10.5, 11.0, 20.0])), max_size=60
)
some_levels = st.builds(
    lambda gap, held, clear, rest: Levels(1.0, 10.0, 10.0 - gap, held * S, clear * S, rest * S),
    st.sampled_from([0.0, 1.0, 2.0, 5.0]),
    st.sampled_from([0, 100, 600]),
    st.sampled_from([0, 100, 600]),
    st.sampled_from([0, 300]),
)


def expected(seen: list[tuple[int, float]], levels: Levels) -> list[tuple[str, int, int, int]]:
    """(state, onset, sequence, time) of every step, by looking ahead in the whole history."""
    steps, i, quiet = [], 0, 0
    while i < len(seen):
        onset, value = seen[i]
        if value <= levels.fire or onset < quiet:
            i += 1
            continue
        life = [("pending", onset)] if levels.for_us else []
        held = next((j for j in range(i, len(seen)) if seen[j][0] - onset >= levels.for_us), len(seen))
        broken = next((j for j in range(i, len(seen)) if seen[j][1] <= levels.fire), len(seen))
        if broken <= held:
            end = broken
        else:
            life.append(("firing", seen[held][0]))
            end = end_of_firing(seen, held + 1, levels)
        if end < len(seen):
            life.append(("resolved", seen[end][0]))
            if broken > held:
                quiet = seen[end][0] + levels.refractory_us
        steps += [(word, onset, number, time) for number, (word, time) in enumerate(life)]
        i = end + 1
    return steps


def end_of_firing(seen: list[tuple[int, float]], start: int, levels: Levels) -> int:
    for k in range(start, len(seen)):
        run = k
        while run > start and seen[run - 1][1] <= levels.clear:
            run -= 1
        if seen[k][1] <= levels.clear and seen[k][0] - seen[run][0] >= levels.clear_for_us:
            return k
    return len(seen)


@given(observations, some_levels, st.sampled_from([1.0, -1.0]), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_layer_takes_the_steps_that_the_whole_history_says(gaps, levels, sign, rng):
    times = np.cumsum([T0] + [gap * S for gap, _ in gaps])[1:].tolist()
    seen = list(zip(times, [value for _, value in gaps], strict=True))
    layer = Layer({0: levels._replace(sign=sign)}, Room(10))
    layer.add_series([(), (0,)])
    steps, at = [], 0
    while at < len(seen):
        part = seen[at : at + rng.randint(1, 20)]
        at += len(part)
        again = [*part, *part[: rng.randint(0, len(part))]]  # a replay, which is old by now
        time = np.array([t for t, _ in again], np.int64)
        value = np.array([v * sign for _, v in again])
        steps += layer.see(np.ones(len(again), np.int64), time, time, value)
    assert [(s.state.value, s.onset, s.sequence, s.time) for s in steps] == expected(seen, levels)
    assert layer.room.open == sum(layer.busy)


RULES = tuple(
    Rule.model_validate(one)
    for one in [
        {"id": "high", "severity": "warning", "threshold": {"above": 10, "clear": 8, "for_s": 60, "clear_for_s": 60}},
        {"id": "low", "severity": "critical", "scope": {"device": ["d0", "d1"]}, "threshold": {"below": 2}},
        {
            "id": "hour",
            "severity": "warning",
            "threshold": {"on": "window", "window_s": 300, "above": 10, "completeness_min": 0.5, "statistic": "max"},
        },
        {"id": "odd", "severity": "info", "anomaly": {"score": 0.9, "clear_for_s": 60, "refractory_s": 120}},
        {"id": "silent", "severity": "warning", "scope": {"device": ["d0", "d2"]}, "no_data": {"after_s": 100}},
    ]
)
INFOS = {
    series_id(device, quantity): SeriesInfo(
        series_id=series_id(device, quantity), device_id=device, quantity=quantity, unit="ug/m3", kind="air"
    )
    for device in ("d0", "d1", "d2")
    for quantity in ("no2", "o3")
}


def random_rows(rng: random.Random, n: int) -> Indicators:
    """A city in disorder: readings and windows, late, flagged, revised, not finite."""
    rows = Indicators.empty(n)
    clock = T0
    for i in range(n):
        clock += rng.choice([0, 1, 20, 90]) * S
        rows.series_id[i] = rng.choice(list(INFOS))
        rows.value[i] = rows.max[i] = rng.choice([0.0, 1.0, 5.0, 9.0, 11.0, 20.0, np.nan])
        rows.last[i] = rng.choice([0.0, 0.5, 0.95, np.nan])
        rows.receive_time[i] = clock - rng.choice([0, 0, 0, 50]) * S
        rows.position[i] = i
        if rng.random() < 0.7:
            rows.kind[i] = IndicatorKind.READING
            rows.window_start[i] = clock - rng.choice([0, 0, 0, 200]) * S
            rows.flags[i] = rng.choice([0, 0, 0, Quality.SPIKE, Quality.STUCK])
        else:
            rows.kind[i] = IndicatorKind.WINDOW
            rows.window_s[i] = rng.choice([300, 900])
            rows.window_start[i] = (clock // S // 60 - rng.choice([0, 0, 1, 5])) * 60 * S
            rows.revision[i] = rng.randint(0, 2)
            rows.completeness[i] = rng.choice([0.2, 1.0])
    return rows


def facts(transitions: list[AlertTransition]) -> list[tuple]:
    """What a transition says, without the time at which it was decided; sorted, each once."""
    said = {(t.alert_id, t.sequence): t for t in transitions}
    assert all(said[t.alert_id, t.sequence].texts == t.texts for t in transitions)
    return sorted(
        (
            t.alert_id,
            t.sequence,
            t.state,
            t.rule,
            t.series_id,
            t.onset_time,
            t.event_time,
            str(t.value),
            str(t.evidence),
        )
        for t in said.values()
    )


def one_by_one(rows: Indicators) -> list[AlertTransition]:
    board = Board(RULES, INFOS.get)
    return [t for i in range(len(rows)) for t in board.see(rows.take(np.array([i])), 0)]


@pytest.mark.parametrize("seed", range(25))
def test_batches_replays_and_restarts_change_no_transition(seed):
    rng = random.Random(seed)
    rows = random_rows(rng, 300)
    reference = one_by_one(rows)
    cuts = sorted({0, len(rows), *(rng.randrange(len(rows)) for _ in range(rng.randint(1, 40)))})
    board = Board(RULES, INFOS.get)
    said: list[AlertTransition] = []
    saved, saved_at = state.save(board), 0
    for start, end in pairwise(cuts):
        said += board.see(rows.take(np.arange(start, end)), end)
        if rng.random() < 0.2:  # streams was killed: the same rows come again in later records
            said += board.see(rows.take(np.arange(rng.randint(0, start), end)), end)
        if rng.random() < 0.3:
            saved, saved_at = state.save(board), end
        if rng.random() < 0.2:  # we were killed: back to the snapshot, and the records after it once more
            board = Board(RULES, INFOS.get)
            state.restore(board, saved, end)
            said += board.see(rows.take(np.arange(saved_at, end)), -end)
    assert facts(said) == facts(reference)
    assert len(reference) > 10


@pytest.mark.parametrize("seed", range(10))
def test_a_snapshot_is_exact(seed):
    rows = random_rows(random.Random(seed), 200)
    board, twin = Board(RULES, INFOS.get), Board(RULES, INFOS.get)
    board.see(rows.take(np.arange(150)), 0)
    state.restore(twin, state.save(board), 0)
    assert state.save(twin) == state.save(board)
    rest = rows.take(np.arange(150, 200))
    assert facts(twin.see(rest, 0)) == facts(board.see(rest, 0))


@pytest.mark.parametrize("seed", range(10))
def test_each_life_is_in_order_and_ends_once(seed):
    lives: dict[str, list[AlertTransition]] = {}
    for one in one_by_one(random_rows(random.Random(seed), 300)):
        lives.setdefault(one.alert_id, []).append(one)
    for life in lives.values():
        assert [one.sequence for one in life] == list(range(len(life)))
        words = [one.state for one in life]
        assert words in [[AlertState(word) for word in way.split()] for way in WAYS]
        assert all(one.event_time >= one.onset_time for one in life)


WAYS = [
    "pending",
    "pending resolved",
    "pending firing",
    "pending firing resolved",
    "firing",
    "firing resolved",
]
