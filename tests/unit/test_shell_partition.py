"""One owned partition: nothing is fed twice or skipped, and what is saved covers exactly what was given out."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulssi.errors import PoisonError
from pulssi.partitions import Record
from pulssi.shell.partition import GapError, Partition, StateSizeError
from pulssi.shell.snapshots import Slot, Snapshot, decode, pack
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
        self.outputs += outputs
        self.number += len(outputs)

    async def confirmed(self, number):
        await self.open.wait()
        self.confirmations.append(number)


def records(start, stop):
    return [Record(offset, None, b"%d" % offset, {}) for offset in range(start, stop)]


def partition(next_offset=0):
    return Partition(SLOT, TOPICS, Chain("t.readings", 6, None, TOPICS.indicators), next_offset)


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
    assert snapshot.state() == whole(snapshot.next_offset)[1]
    assert snapshot.generation == 3


def test_an_unchanged_state_is_not_saved_again():
    outbox, one = FakeOutbox(), partition()

    async def run():
        await one.feed(Batch(records(0, 5), 0, 0), outbox)
        assert await one.save(1, outbox) > 0
        assert await one.save(1, outbox) == 0
        await one.tick(0, outbox)
        assert await one.save(1, outbox) == 0

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
    good = Snapshot(7, 1, pack(b"state" * 100)).encode()
    assert decode(good).state() == b"state" * 100
    with pytest.raises(PoisonError):
        decode(b"PLS0" + good[4:])
    with pytest.raises(PoisonError):
        decode(good[:-3] + b"xxx").state()


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

    written = asyncio.run(run())
    moment[0] = 102.0 + written / 10 - 0.1
    assert not one.due(2.0)
    moment[0] += 0.2
    assert one.due(2.0)


def test_a_state_too_large_for_a_record_is_refused_and_work_goes_on(monkeypatch):
    monkeypatch.setattr("pulssi.shell.partition.STATE_BYTES_MAX", 4100)
    one, outbox = partition(), FakeOutbox()

    async def run():
        await one.feed(Batch(records(0, 5), 0, 0), outbox)
        given = list(outbox.outputs)
        with pytest.raises(StateSizeError, match=r"t\.readings/6 takes"):
            await one.save(1, outbox)
        assert outbox.outputs == given
        assert await one.feed(Batch(records(5, 7), 0, 0), outbox) == 2

    asyncio.run(run())
