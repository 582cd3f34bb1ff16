"""One owned partition: nothing is fed twice or skipped, and what is saved covers exactly what was given out."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulssi.errors import PoisonError
from pulssi.partitions import Record
from pulssi.shell.partition import GapError, Partition, StateSizeError
from pulssi.shell.saver import Saver
from pulssi.shell.snapshots import PART_BYTES, Slot, Snapshot, decode, decode_part, encode_part, pack, unpack
from pulssi.shell.transport import Batch, batches
from pulssi.topics import Topics
from tests.service.shell_worker import Chain

TOPICS = Topics("t", 4)
SLOT = Slot("group", "t.readings", 6)


class FakeOutbox:
    """Takes everything; Kafka confirms when the test says so."""

    def __init__(self):
        self.outputs = []
        self.number = 0
        self.confirmations = []
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, outputs):
        given = list(outputs)
        self.outputs += given
        self.number += len(given)

    async def stored(self, output):
        await self.send([output])
        await self.confirmed(self.number)
        return self.number

    async def confirmed(self, number):
        await self.open.wait()
        self.confirmations.append(number)


def records(start, stop):
    return [Record(offset, None, b"%d" % offset, {}) for offset in range(start, stop)]


def partition(next_offset=0, state_bytes_max=1 << 20):
    return Partition(Saver(SLOT, TOPICS), Chain("t.readings", 6, None, TOPICS.indicators), next_offset, state_bytes_max)


def whole(stop):
    chain = Chain("t.readings", 6, None, TOPICS.indicators)
    return chain.process(records(0, stop)), chain.snapshot()


@settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), max_size=20))
def test_batches_that_overlap_in_any_way_give_what_one_batch_gives(steps):
    outbox, one, reached = FakeOutbox(), partition(), 0

    async def feed():
        nonlocal reached
        for back, length in steps:
            start = max(0, reached - back)
            await one.feed(Batch(records(start, start + length), 0, 0), outbox)
            reached = max(reached, start + length)

    asyncio.run(feed())
    outputs, state = whole(reached)
    assert outbox.outputs == outputs
    assert one.processor.snapshot() == state
    assert one.next_offset == reached


@pytest.mark.parametrize("missing", [records(1, 3), [*records(0, 2), *records(3, 5)], [*records(0, 1), *records(0, 1)]])
def test_a_gap_is_never_stepped_over(missing):
    one = partition()
    with pytest.raises(GapError):
        asyncio.run(one.feed(Batch(missing, 0, 0), FakeOutbox()))
    assert one.next_offset == 0


def test_a_batch_fetched_under_another_assignment_is_ignored():
    one, outbox = partition(), FakeOutbox()
    one.epoch = 2
    assert asyncio.run(one.feed(Batch(records(0, 3), 1, 0), outbox)) == 0
    assert outbox.outputs == []


def test_a_snapshot_waits_for_the_outputs_that_it_covers_and_says_where_to_go_on():
    outbox, one = FakeOutbox(), partition()

    async def run():
        await one.feed(Batch(records(0, 5), 0, 0), outbox)
        outbox.open.clear()
        saving = asyncio.create_task(one.save(3, outbox))
        await one.feed(Batch(records(5, 7), 0, 0), outbox)
        await asyncio.sleep(0.05)
        assert all(output.topic != TOPICS.state for output in outbox.outputs)
        outbox.open.set()
        await saving

    asyncio.run(run())
    assert outbox.confirmations[0] in {5, 7}
    saved = outbox.outputs[-1]
    assert (saved.topic, saved.partition, saved.key) == (TOPICS.state, 2, b"group/t.readings/6")
    snapshot = decode(saved.value)
    assert unpack(snapshot.packed) == whole(snapshot.next_offset)[1]
    assert snapshot.generation == 3


def test_an_unchanged_state_is_not_saved_again():
    outbox, one = FakeOutbox(), partition()

    async def run():
        await one.feed(Batch(records(0, 5), 0, 0), outbox)
        saved = await one.save(1, outbox)
        assert saved.written > 0
        assert 0 <= saved.pause_s <= saved.took_s
        assert await one.save(1, outbox) is None
        await one.tick(0, outbox)
        assert await one.save(1, outbox) is None

    asyncio.run(run())


class KafkaRecord:  # what aiokafka gives
    def __init__(self, offset, size):
        self.offset, self.key, self.value, self.headers, self.timestamp = offset, None, bytes(size), (), offset


@settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_a_fetch_is_cut_into_batches_within_their_bound_and_in_order(sizes, limit):
    cut = list(batches([KafkaRecord(offset, size) for offset, size in enumerate(sizes)], 1, limit))
    assert [record.offset for batch in cut for record in batch.records] == list(range(len(sizes)))
    for batch in cut:
        assert batch.newest_ms == batch.records[-1].offset
        assert len(batch.records) == 1 or sum(len(record.value) for record in batch.records) <= limit


def test_a_damaged_snapshot_is_poison():
    state = b"state" * 100
    good = Snapshot(7, 1, len(state), pack(state)).encode()
    assert unpack(decode(good).packed) == state
    for damaged in (b"PLS0" + good[4:], good[:20], Snapshot(7, 1, 9, parts=(3, 4)).encode()[:-1]):
        with pytest.raises(PoisonError):
            decode(damaged)
    with pytest.raises(PoisonError):
        unpack(decode(good[:-3] + b"xxx").packed)
    with pytest.raises(PoisonError):
        unpack(pack(bytes(PART_BYTES + 1)))


def test_a_part_of_another_snapshot_or_place_is_poison():
    head = Snapshot(7, 1, 9, parts=(3, 4), identity=b"12345678")
    assert bytes(decode_part(head, 1, encode_part(head.identity, 1, b"packed"))) == b"packed"
    for value in (encode_part(b"87654321", 1, b"packed"), encode_part(head.identity, 0, b"packed"), b""):
        with pytest.raises(PoisonError):
            decode_part(head, 1, value)


def test_a_large_state_is_saved_less_often(monkeypatch):
    moment = [100.0]
    monkeypatch.setattr("pulssi.shell.partition.time.monotonic", lambda: moment[0])
    monkeypatch.setattr("pulssi.shell.partition._SAVED_BYTES_PER_S", 10)
    one, outbox = partition(), FakeOutbox()
    assert not one.due(2.0)
    moment[0] = 102.0
    assert one.due(2.0)

    async def run():
        await one.feed(Batch(records(0, 1), 0, 0), outbox)
        return await one.save(1, outbox)

    saved = asyncio.run(run())
    moment[0] = 102.0 + saved.written / 10 - 0.1
    assert not one.due(2.0)
    moment[0] += 0.2
    assert one.due(2.0)


def test_a_state_that_keeps_the_worker_waiting_is_saved_less_often(monkeypatch):
    moment = [100.0]
    monkeypatch.setattr("pulssi.shell.partition.time.monotonic", lambda: moment[0])
    one, outbox = partition(), FakeOutbox()
    take = one.processor.snapshot

    def slowly():
        moment[0] += 3.0
        return take()

    monkeypatch.setattr(one.processor, "snapshot", slowly)

    async def run():
        await one.feed(Batch(records(0, 1), 0, 0), outbox)
        return await one.save(1, outbox)

    assert asyncio.run(run()).pause_s == 3.0
    moment[0] = 159.9  # a twentieth of the time
    assert not one.due(2.0)
    moment[0] = 160.1
    assert one.due(2.0)


def test_a_state_that_is_too_large_is_refused_and_work_goes_on():
    one, outbox = partition(state_bytes_max=20), FakeOutbox()

    async def run():
        await one.feed(Batch(records(0, 5), 0, 0), outbox)
        given = list(outbox.outputs)
        with pytest.raises(StateSizeError, match=r"t\.readings/6 is .* the most is .*kafka\.state_bytes_max"):
            await one.save(1, outbox)
        assert outbox.outputs == given
        assert await one.feed(Batch(records(5, 7), 0, 0), outbox) == 2

    asyncio.run(run())


def test_a_snapshot_that_was_told_to_stop_is_taken_again():
    one, outbox = partition(), FakeOutbox()

    async def run():
        await one.feed(Batch(records(0, 5), 0, 0), outbox)
        outbox.open.clear()
        saving = asyncio.create_task(one.save(1, outbox))
        await asyncio.sleep(0.05)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        outbox.open.set()
        assert (await one.save(1, outbox)).written > 0

    asyncio.run(run())


class Counted(Chain):
    def noted(self):
        return {"records": self.count, "odd": self.count % 2 and 1}


def test_what_a_processor_counts_is_told_once_and_what_it_counted_before_is_not():
    old = Chain("t.readings", 6, None, TOPICS.indicators)
    old.process(records(0, 4))
    one = Partition(Saver(SLOT, TOPICS), Counted("t.readings", 6, old.snapshot(), TOPICS.indicators), 4, 1 << 20)
    told = []

    async def run():
        told.append(one.noted())
        await one.feed(Batch(records(4, 7), 0, 0), FakeOutbox())
        told.extend([one.noted(), one.noted()])

    asyncio.run(run())
    assert told == [{"records": 0, "odd": 0}, {"records": 3, "odd": 1}, {"records": 0, "odd": 0}]


def test_a_processor_need_not_count():
    assert partition().noted() == {}
