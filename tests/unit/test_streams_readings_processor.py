import numpy as np

from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.partitions import Record
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import no_limits
from streams.readings_processor import ReadingsProcessor

T0 = 1_700_000_000_000_000


def frame(series, seconds, values, quality=0):
    n = len(series)
    times = T0 + np.array(seconds, np.int64) * 1_000_000
    return Readings(
        np.array(series, np.int64),
        times,
        times + 50_000,
        np.array(values, np.float64),
        np.full(n, quality, np.uint16),
        np.arange(n, dtype=np.int64),
    ).encode()


def processor(snapshot=None, lookup=no_limits, **settings):
    return ReadingsProcessor(2, StreamsSettings(**settings), Topics(), lookup, snapshot)


def test_each_reading_becomes_one_row_in_the_partition_of_its_source():
    outputs = processor().process([Record(7, None, frame([1, 2], [0, 1], [5.0, 6.0]), {})])
    (output,) = [one for one in outputs if dict(one.headers)["kinds"] == b"reading"]
    rows = Indicators.decode(output.value)
    assert (output.topic, output.partition) == ("pulssi.indicators", 2)
    assert dict(output.headers)["flagged"] == b"0"
    assert rows.series_id.tolist() == [1, 2]
    assert rows.value.tolist() == [5.0, 6.0]
    assert set(rows.kind) == {IndicatorKind.READING}
    assert rows.position.tolist() == [7, 7]
    assert rows.window_s.tolist() == [0, 0]
    assert (rows.window_start - T0).tolist() == [0, 1_000_000]


def test_what_is_no_frame_becomes_a_dead_letter_and_the_rest_goes_on():
    outputs = processor().process(
        [Record(1, b"air-1", b"not arrow", {}), Record(2, None, frame([1], [0], [1.0]), {})],
    )
    dead, good = outputs[0], outputs[1]
    said = dict(dead.headers)
    assert (dead.topic, dead.key, dead.value) == ("pulssi.deadletters", b"air-1", b"not arrow")
    assert (said["reason"], said["offset"], said["partition"]) == (b"bad_frame", b"1", b"2")
    assert len(Indicators.decode(good.value)) == 1


def test_a_value_that_is_not_finite_is_poison():
    outputs = processor().process([Record(1, None, frame([1], [0], [float("nan")]), {})])
    assert dict(outputs[0].headers)["reason"] == b"not_finite"
