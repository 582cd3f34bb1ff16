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
from pulssi.frames import Indicators
from pulssi.messages import AlertState, AlertTransition
from tests.fixtures.alert_rows import INFOS, RULES, T0, S, facts, random_rows

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
