"""decoders against slow oracles and arbitrary bytes; trains against every order of confirmation"""

import json
import math
from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.acks import AckQueue, Train
from ingest.decoders import digitraffic, hsl_hfp, pulssi_v1
from ingest.decoders.base import SEQ_MAX, SEQ_NONE, Source
from ingest.decoders.shapes import SHAPES_MAX, Shapes
from ingest.framing import Framer, encode_readings
from ingest.receipts import ranges
from pulssi.errors import PoisonError
from pulssi.frames import Readings
from pulssi.quantities import QUANTITIES, Kind
from pulssi.topics import Content

NOW = 1_764_000_000_000_000
DEVICE = Source("dev-1", Kind.AIR)
STATION = Source("tms-1", Kind.TRAFFIC, "flow/1")
HFP_TOPIC = "/hfp/v2/journey/ongoing/vp/bus/0012/01913/4400/1/Vantaankoski/15:21/1130110/4/60;24/19/72/15"
FORMATS = {
    "own": lambda payload: pulssi_v1.decode(DEVICE, payload, NOW),
    "digitraffic": lambda payload: digitraffic.decode(STATION, payload, NOW),
    "hfp": lambda payload: hsl_hfp.decode(HFP_TOPIC, payload, NOW),
}
VALID = [
    b'{"t":1764000000000,"pm2_5":7.1,"no2/a":18,"seq":812}',
    b'{"t":"2025-11-24T16:00:00.123+02:00","o3":-1.5e-3,"device":"dev-1"}',
    b'[{"bn":"dev-1:","bt":1764000000,"bu":"Cel","n":"temperature","v":1},{"n":"humidity","u":"%RH","v":55.5,"t":-1}]',
    b'{"value":108,"time":1667972911,"start":1667966400,"end":1667970000}',
    b'{"VP":{"desi":"400","dir":"1","veh":1913,"tst":"2023-10-29T13:24:10.684Z","lat":60.1,"long":24.9,"dl":-112}}',
]
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(10**6), 10**6)
quantities = st.sampled_from(sorted(QUANTITIES))


def checked(decode, payload):
    """Rows of sound types, or a refusal; nothing else."""
    try:
        found = decode(payload)
    except PoisonError:
        return
    if isinstance(found, tuple):
        assert len(found) == 23
        return
    assert found
    for measure, event_time, value, seq in found:
        assert (type(measure), type(event_time), type(value), type(seq)) == (str, int, float, int)
        assert math.isfinite(value)
        assert SEQ_NONE <= seq <= SEQ_MAX


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=200, derandomize=True, deadline=None)
@given(payload=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_decoded(name, payload):
    checked(FORMATS[name], payload)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=300, derandomize=True, deadline=None)
@given(valid=st.sampled_from(VALID), at=st.integers(0, 10**6), cut=st.integers(0, 3), new=st.binary(max_size=3))
def test_spoilt_payloads_are_refused_or_decoded(name, valid, at, cut, new):
    at %= len(valid)
    checked(FORMATS[name], valid[:at] + new + valid[at + cut :])


scalars = st.none() | st.booleans() | numbers | st.text(max_size=5)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=200, derandomize=True, deadline=None)
@given(document=documents)
def test_any_json_is_refused_or_decoded(name, document):
    checked(FORMATS[name], json.dumps(document).encode())


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    values=st.dictionaries(quantities, numbers, min_size=1, max_size=6),
    time_ms=st.integers(0, 2**42),
    seq=st.none() | st.integers(0, SEQ_MAX),
    indent=st.sampled_from([None, 1]),
)
def test_short_form_gives_back_what_went_in(values, time_ms, seq, indent):
    body = {"t": time_ms, **values} | ({} if seq is None else {"seq": seq})
    rows = pulssi_v1.decode(DEVICE, json.dumps(body, indent=indent).encode(), NOW)
    expected_seq = SEQ_NONE if seq is None else seq
    assert rows == [(name, time_ms * 1000, float(value), expected_seq) for name, value in values.items()]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(values=st.dictionaries(quantities, numbers, min_size=1, max_size=4), data=st.data())
def test_a_key_given_twice_never_passes(values, data):
    pairs = [*values.items(), ("t", NOW // 1000)]
    again = data.draw(st.sampled_from(pairs))
    pairs.insert(data.draw(st.integers(0, len(pairs))), again)
    text = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"
    with pytest.raises(PoisonError, match="duplicate_key"):
        pulssi_v1.decode(DEVICE, text.encode(), NOW)


@st.composite
def packs(draw):
    """SenML records whose numbers are whole, so that the oracle's sums are exact."""
    records = []
    for index in range(draw(st.integers(1, 6))):
        record = {"n": draw(quantities), "v": draw(st.integers(-1000, 1000))}
        if index == 0 or draw(st.booleans()):
            record["bt"] = draw(st.integers(2**30, 2**31))
        if draw(st.booleans()):
            record["t"] = draw(st.integers(-1000, 1000))
        if draw(st.booleans()):
            record["bv"] = draw(st.integers(-10, 10))
        if draw(st.booleans()):
            record["seq"] = draw(st.integers(0, 99))
        if draw(st.booleans()):
            record["bn"] = draw(st.sampled_from(["", "dev-1:", "urn:dev:x:dev-1/"]))
        records.append(dict(draw(st.permutations(list(record.items())))))
    return records


@settings(max_examples=200, derandomize=True, deadline=None)
@given(packs())
def test_senml_resolves_like_the_slow_oracle(records):
    base, expected = {}, []
    for record in records:
        base |= {key: value for key, value in record.items() if key in ("bt", "bv", "seq")}
        time_s = base["bt"] + record.get("t", 0)
        value = float(record["v"] + base.get("bv", 0))
        expected.append((record["n"], time_s * 1_000_000, value, base.get("seq", SEQ_NONE)))
    assert pulssi_v1.decode(DEVICE, json.dumps(records).encode(), NOW) == expected


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    trains=st.lists(st.lists(st.integers(0, 2), max_size=8), min_size=1, max_size=12),
    rows_max=st.integers(1, 5),
    data=st.data(),
)
def test_trains_are_released_in_order_once_everything_before_is_confirmed(trains, rows_max, data):
    """Rows of trains go to three partitions; records are confirmed in any order."""
    framer = Framer(
        "t", Content.READINGS, encode_readings, partitions=3, rows_max=rows_max, delay_us=10, delay_us_max=10
    )
    queue, made, records = AckQueue(), [], []
    for number, partitions in enumerate(trains):
        train = Train(1, number, [number], len(partitions), 1)
        queue.add(train)
        made.append(train)
        for place, partition in enumerate(partitions):
            framer.frames[partition].rows.append((number, place, 0, 0.0, -1))
        records += framer.join(train)
    records += framer.flush()
    assert all(1 <= record.units <= rows_max for record in records)
    rows = [row for record in records for row in Readings.decode(record.value).series_id.tolist()]
    assert sorted(rows) == sorted(number for number, partitions in enumerate(trains) for _ in partitions)
    order = data.draw(st.permutations(range(len(records))))
    waiting, released = deque(records[at] for at in order), []
    while True:
        released += queue.release()
        held = {id(train) for record in waiting for train in record.trains}
        assert released == made[: len(released)]
        assert all(id(train) not in held for train in released)
        if len(released) < len(made):
            assert id(made[len(released)]) in held
        if not waiting:
            break
        for train in waiting.popleft().trains:
            train.waiting -= 1
    assert released == made
    assert (queue.messages, queue.size) == (0, 0)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=30))
def test_ranges_cover_exactly_the_seqs(seqs):
    found = ranges(seqs)
    assert [seq for first, last in found for seq in range(first, last + 1)] == sorted(set(seqs))
    assert all(b[0] > a[1] + 1 for a, b in pairwise(found))


shapes_of = st.fixed_dictionaries(
    {"t": st.integers(NOW // 1000 - 10**6, NOW // 1000) | st.just("2025-11-24T16:00:00.123+02:00") | st.just(1.5)},
    optional={
        "device": st.sampled_from(["dev-1", "dev-1", "dev-2"]),
        "seq": st.integers(-1, 3) | st.just(2**63 - 1) | st.just(2**63) | st.just(1.0),
        "pm2_5": numbers | st.just("1") | st.just(10**400),
        "no2/a": numbers,
        "o3": numbers | st.none(),
    },
)
disguises = st.sampled_from(
    [
        lambda payload: payload,
        lambda payload: payload,
        lambda payload: b" " + payload + b"\r\n ",
        lambda payload: payload.replace(b'"t"', b'"\\u0074"'),
        lambda payload: payload.replace(b"{", b'{"pm2_5": 1, ', 1),
        lambda payload: payload.replace(b"}", b',"t":1}', 1),
        lambda payload: payload.replace(b"dev-1", b'dev\\"1'),
        lambda payload: payload + b"{}",
        lambda payload: payload[:-1],
        lambda payload: b"[" + payload + b"]",
    ]
)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.lists(st.tuples(shapes_of, disguises), min_size=1, max_size=4))
def test_messages_read_together_are_what_each_is_alone_or_nothing(messages):
    payloads = [disguise(json.dumps(body).encode()) for body, disguise in messages]
    alone = []
    for payload in payloads:
        try:
            alone.append(pulssi_v1.decode(DEVICE, payload, NOW))
        except PoisonError:
            alone.append(None)
    shapes = Shapes()
    for payload, rows in zip(payloads, alone, strict=True):
        shape = shapes.of(payload)
        if shape is None:
            continue
        if rows is not None:
            assert shape.read([payload], [DEVICE.device_id]) is not None  # else its topic would never settle
        found = shape.read(payloads, [DEVICE.device_id] * len(payloads))
        if found is None:
            continue
        seqs = found.seqs or [SEQ_NONE] * len(payloads)
        for at, expected in enumerate(alone):
            values = [(measure, column[at]) for measure, column in zip(shape.measures, found.values, strict=True)]
            assert sorted(expected) == sorted((m, found.event_times[at], v, seqs[at]) for m, v in values)
            assert all(type(value) is float for _, value in values)


def test_shapes_are_bounded():
    shapes = Shapes()
    bodies = [b'{"t":1,"o3/%d":1}' % number for number in range(SHAPES_MAX + 1)]
    assert all(shapes.of(body) for body in bodies[:-1])
    assert shapes.of(bodies[-1]) is None
    assert shapes.of(bodies[0]) is shapes.of(b'{"o3/0":2,"t":2}')
    assert shapes.of(json.dumps({"t": 1} | {f"o3/x{n}": 1 for n in range(33)}).encode()) is None
