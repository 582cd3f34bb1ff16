"""Minutes of pairs come out as a slow reckoning says that sorts everything first, whoever comes when and how often."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.traffic.pair_minutes import SIGNALS, PairMinutes, Told

PAIRS, APART_MIN = 3, 6
T0 = 29_000_000


def told(rows):
    """Columns of (pair, signal, minute, value, receive_time, position)."""
    columns = np.array(rows, np.float64).reshape(-1, 6).T
    whole = columns.astype(np.int64)
    return Told(whole[0], whole[1], whole[2], columns[3].copy(), whole[4], whole[5])


def rows_of(whole):
    return [
        (int(whole.pair[i]), int(whole.minute[i]), *whole.value[:, i].tolist(), int(whole.receive_time[i]))
        for i in range(len(whole.pair))
    ]


def run(rows, cuts=(), minutes=None):
    """What comes out of rows taken in batches that begin at `cuts`."""
    minutes = minutes or PairMinutes(PAIRS, APART_MIN)
    found = []
    bounds = [0, *sorted(cuts), len(rows)]
    for begin, end in itertools.pairwise(bounds):
        found += rows_of(minutes.take(told(rows[begin:end])))
    return found, minutes


def by_pair(found):
    return [[one for one in found if one[0] == pair] for pair in range(PAIRS)]


def slowly(rows):
    """The minutes of each pair that all its signals have told, of signals that go forward."""
    cells = {}
    for pair, signal, minute, value, receive_time, _ in rows:
        cells.setdefault((pair, minute), {}).setdefault(signal, (value, receive_time))
    return [
        (pair, minute, *(cell[signal][0] for signal in range(SIGNALS)), max(time for _, time in cell.values()))
        for (pair, minute), cell in sorted(cells.items())
        if len(cell) == SIGNALS
    ]


def one_at_a_time(rows):
    """The rule as it is written, on single rows: what comes out after which row."""
    newest, cells, found = {}, {}, []
    for number, (pair, signal, minute, value, receive_time, _) in enumerate(rows):
        of_pair = max(newest.get((pair, one), -1) for one in range(SIGNALS))
        if minute > newest.get((pair, signal), -1):
            newest[pair, signal] = minute
            if minute > of_pair - APART_MIN:
                cells.setdefault((pair, minute), {})[signal] = (value, receive_time)
        cell = cells.get((pair, minute), {})
        if len(cell) == SIGNALS:
            values = [cell[one][0] for one in range(SIGNALS)]
            found.append((number, (pair, minute, *values, max(time for _, time in cell.values()))))
            del cells[pair, minute]
    return found


@st.composite
def tellings(draw):
    """What the signals tell: each goes forward more or less, with gaps, repeats and steps back."""
    rows = []
    for minute in range(draw(st.integers(4, 14))):
        for pair in range(PAIRS):
            for signal in range(SIGNALS):
                if draw(st.integers(0, 9)) == 0:
                    continue
                shift = draw(st.sampled_from([0] * 12 + [-1, -2, 1, -6, 9]))
                rows.append((pair, signal, T0 + minute + shift, len(rows) + 1.0, len(rows) * 7 % 101, len(rows)))
    return rows


@given(rows=tellings(), data=st.data())
@settings(derandomize=True, max_examples=150, deadline=None)
def test_any_batches_give_what_single_rows_give_and_the_same_state(rows, data):
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=6))
    expected = one_at_a_time(rows)
    found, minutes = run(rows, cuts)
    assert by_pair(found) == by_pair([row for _, row in expected])
    _, other = run(rows)
    for name, column in minutes.arrays().items():
        np.testing.assert_array_equal(column, other.arrays()[name])


@given(rows=tellings())
@settings(derandomize=True, max_examples=60, deadline=None)
def test_a_minute_comes_out_as_soon_as_the_rule_allows(rows):
    minutes = PairMinutes(PAIRS, APART_MIN)
    found = [(number, row) for number, one in enumerate(rows) for row in rows_of(minutes.take(told([one])))]
    assert found == one_at_a_time(rows)


@given(data=st.data())
@settings(derandomize=True, max_examples=80, deadline=None)
def test_partitions_may_take_turns_in_any_way_within_the_bound(data):
    sources = [[], []]  # upstream and downstream stations are in different partitions
    for minute in range(data.draw(st.integers(6, 14))):
        for pair in range(PAIRS):
            for signal in range(SIGNALS):
                if data.draw(st.integers(0, 7)):
                    value = 100.0 * minute + 10 * pair + signal
                    sources[signal // 2].append((pair, signal, T0 + minute, value, minute * 5 + signal, 0))
    places, rows = [0, 0], []
    while any(place < len(source) for place, source in zip(places, sources, strict=True)):
        fits = [
            which
            for which in (0, 1)
            if places[which] < len(sources[which])
            and all(
                places[other] == len(sources[other])
                or sources[which][places[which]][2] - sources[other][places[other]][2] < APART_MIN
                for other in (0, 1)
            )
        ]
        chosen = data.draw(st.sampled_from(fits))
        rows.append(sources[chosen][places[chosen]])
        places[chosen] += 1
    assert by_pair(run(rows)[0]) == by_pair(slowly(rows))


@given(rows=tellings(), data=st.data())
@settings(derandomize=True, max_examples=80, deadline=None)
def test_what_comes_again_changes_nothing(rows, data):
    _found, minutes = run(rows)
    state = minutes.arrays()
    again = [(*row[:3], row[3] + 0.5, *row[4:]) for row in rows[data.draw(st.integers(0, len(rows))) :]]
    assert rows_of(minutes.take(told(again))) == []
    for name, column in minutes.arrays().items():
        np.testing.assert_array_equal(column, state[name])


def test_what_is_kept_is_bounded_while_a_signal_is_silent():
    minutes = PairMinutes(1, APART_MIN)
    for minute in range(1000):
        minutes.take(told([(0, signal, T0 + minute, 1.0, 0, 0) for signal in range(3)]))
    assert len(minutes.arrays()["minute"]) == 3 * APART_MIN


def test_what_a_signal_has_skipped_is_not_waited_for():
    minutes = PairMinutes(1, 10_000)
    for minute in range(100):
        signals = range(4) if minute % 2 else range(3)
        minutes.take(told([(0, signal, T0 + minute, 1.0, 0, 0) for signal in signals]))
        assert len(minutes.arrays()["minute"]) == (0 if minute % 2 else 3)


def test_who_is_too_far_behind_is_counted():
    minutes = PairMinutes(1, APART_MIN)
    minutes.take(told([(0, 0, T0 + 10, 1.0, 0, 0), (0, 1, T0 + 4, 1.0, 0, 0), (0, 1, T0 + 5, 1.0, 0, 0)]))
    assert minutes.too_late == 1
