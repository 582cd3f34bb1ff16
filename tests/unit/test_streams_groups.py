"""Rows that a group needs go once to its partition; there, what cannot be read becomes a dead letter."""

from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.partitions import Record
from pulssi.series import partition_of, series_id
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.groups import Interest, Router
from streams.groups_processor import GroupsProcessor

MINUTE_US = 60_000_000
T0 = 1_790_000_000_000_000 // MINUTE_US * MINUTE_US


def info(device, quantity, channel=None):
    return SeriesInfo(
        series_id=series_id(device, quantity, channel),
        device_id=device,
        quantity=quantity,
        unit="",
        kind="traffic",
        channel=channel,
    )


def windows(rows):
    """WINDOW rows of (description, window_s, start, value)."""
    found = Indicators.empty(len(rows))
    for i, (one, window_s, start, value) in enumerate(rows):
        found.series_id[i], found.window_s[i], found.window_start[i] = one.series_id, window_s, start
        found.mean[i] = found.value[i] = value
    found.kind[:] = IndicatorKind.WINDOW
    return found


A, B, OTHER = info("a", "flow"), info("b", "flow"), info("c", "no2")
BY_LETTER = Interest(60, lambda one: f"flow:{one.device_id}" if one.quantity == "flow" else None)


def test_each_row_goes_once_to_the_partition_of_its_group():
    catalogue = {one.series_id: one for one in (A, B, OTHER)}
    rows = windows([(A, 60, T0, 1.0), (B, 60, T0, 2.0), (OTHER, 60, T0, 3.0), (A, 300, T0, 4.0), (B, 60, T0 + 1, 5.0)])
    rows = Indicators.concat([rows, windows([(A, 60, T0 + MINUTE_US, 6.0)])])
    rows.kind[5] = IndicatorKind.READING
    for partitions in (1, 2, 5):
        found = dict(Router([BY_LETTER], partitions, catalogue.get).route(rows))
        expected = {}
        for letter, value in (("a", 1.0), ("b", 2.0)):
            expected.setdefault(partition_of(f"flow:{letter}", partitions), []).append(value)
        assert {one: part.value.tolist() for one, part in found.items()} == expected


def test_a_series_is_asked_for_until_it_is_described():
    asked, catalogue = [], {}

    def describe(one):
        asked.append(one)
        return catalogue.get(one)

    router = Router([BY_LETTER], 2, describe)
    rows = windows([(A, 60, T0, 1.0), (A, 60, T0 + MINUTE_US, 2.0)])
    assert router.route(rows) == []
    catalogue[A.series_id] = A
    assert [len(part) for _, part in router.route(rows)] == [2]
    assert [len(part) for _, part in router.route(rows)] == [2]
    assert len(asked) == 2


def test_what_cannot_be_read_becomes_a_dead_letter_and_the_rest_is_read():
    processor = GroupsProcessor(1, StreamsSettings(), Topics(), None, lambda _: None)
    rows = windows([(A, 60, T0, 1.0)])
    rows.receive_time[:] = T0
    records = [Record(7, None, rows.encode(), {}), Record(8, b"x", b"broken", {})]
    (letter,) = processor.process(records)
    said = dict(letter.headers)
    assert (letter.topic, letter.key, letter.value) == ("pulssi.deadletters", b"x", b"broken")
    assert (said["topic"], said["partition"], said["offset"]) == (b"pulssi.groups", b"1", b"8")


def test_the_state_is_restored_exactly():
    processor = GroupsProcessor(0, StreamsSettings(), Topics(), None, lambda _: None)
    rows = windows([(A, 60, T0, 1.0)])
    rows.receive_time[:] = T0
    processor.process([Record(0, None, rows.encode(), {})])
    saved = processor.snapshot()
    assert GroupsProcessor(0, StreamsSettings(), Topics(), saved, lambda _: None).snapshot() == saved
