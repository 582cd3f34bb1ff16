"""When the shell fetches, and what it makes of a fetch; Faust's consumer and aiokafka's fetcher are stood in for here,
the real ones run in tests/service/test_shell_faults.py."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from types import SimpleNamespace

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP

from pulssi.shell.transport import Fetching, ShellConsumer, _Thread

KafkaRecord = namedtuple("KafkaRecord", "offset key value headers timestamp")  # noqa: PYI024  aiokafka's is one too
FETCHING = Fetching(batch_bytes_max=1000, fetch_bytes_max=1000, gather_s_max=0.0)
A0, A1, B0 = TP("a", 0), TP("a", 1), TP("b", 0)


def records(first, count, size=10):
    return [KafkaRecord(offset, None, b"x" * size, (), 1000 + offset) for offset in range(first, first + count)]


@pytest.fixture
def consumer(monkeypatch):
    """A consumer whose next fetches are in `coming`, on partitions that end at `ends`."""
    made = ShellConsumer.__new__(ShellConsumer)
    made.coming, made.ends = [], {}
    made.assignments = SimpleNamespace(epoch=1, worked_s=0.0)
    made.fetching = FETCHING
    made.flow_active = True
    made._thread = _Thread.__new__(_Thread)
    monkeypatch.setattr(_Thread, "highwater", lambda _self, tp: made.ends.get(tp))

    async def fetched(_self, _partitions, _timeout):
        return made.coming.pop(0)

    monkeypatch.setattr(Consumer, "_getmany", fetched)
    return made


def test_what_a_fetch_brings_of_a_topic_is_one_message(consumer):
    consumer.coming = [{A0: records(5, 3), B0: records(7, 1), A1: records(0, 150), TP("a", 2): []}]
    given = asyncio.run(consumer._getmany(None, 1.0))
    assert list(given) == [A0, B0]
    assert all(len(fetches) == 1 for fetches in given.values())
    [of_a] = given[A0]
    cut = [(tp, [record.offset for record in batch.records]) for tp, batch in of_a.batches]
    assert cut == [(A0, [5, 6, 7]), (A1, list(range(100))), (A1, list(range(100, 150)))]
    assert [tp for tp, _ in given[B0][0].batches] == [B0]


def test_nothing_is_fetched_before_the_last_fetch_is_processed(consumer):
    consumer.coming = [{A0: records(0, 1), B0: records(0, 1)}, {A0: records(1, 1)}]

    async def scenario():
        first = await consumer._getmany(None, 1.0)
        second = asyncio.ensure_future(consumer._getmany(None, 1.0))
        for [fetch] in first.values():
            await asyncio.sleep(0.01)
            assert not second.done()
            assert len(consumer.coming) == 1
            fetch.done.set()
        return await second

    assert list(asyncio.run(scenario())) == [A0]


@pytest.mark.parametrize("swept_by", ["assignment", "pause of the flow"])
def test_a_fetch_that_a_rebalance_has_swept_away_is_not_waited_for(consumer, swept_by, monkeypatch):
    monkeypatch.setattr("pulssi.shell.transport._LOOK_S", 0.01)
    consumer.coming = [{A0: records(0, 1)}, {}]

    async def scenario():
        await consumer._getmany(None, 1.0)
        second = asyncio.ensure_future(consumer._getmany(None, 1.0))
        await asyncio.sleep(0.03)
        assert not second.done()
        if swept_by == "assignment":
            consumer.assignments.epoch += 1
        else:
            consumer.flow_active = False
        return await second

    assert asyncio.run(scenario()) == {}


@pytest.mark.parametrize(("end", "behind"), [(4, False), (5, True), (None, False)])
def test_a_fetch_is_behind_when_its_partition_had_more(consumer, end, behind):
    consumer.ends = {A0: end, A1: 3}
    consumer.coming = [{A1: records(0, 3), A0: records(0, 4)}]
    [[fetch]] = asyncio.run(consumer._getmany(None, 1.0)).values()
    assert fetch.behind is behind


class StandInFetcher:
    """What `_Thread` touches of aiokafka's fetcher: it would fetch whenever it is asked what to do."""

    _wait_consume_future = None

    def _get_actions_per_node(self, _assignment):
        return ["fetch"], {}, 0.2, False, []

    def _notify(self, _future):
        self.asked = self._get_actions_per_node(None)


@pytest.mark.parametrize(("end", "in_advance"), [(3, []), (9, ["fetch"])])
def test_in_advance_is_fetched_only_while_there_is_more(consumer, monkeypatch, end, in_advance):
    thread, fetcher = consumer._thread, StandInFetcher()
    consumer.ends = {A0: end}

    async def fetched(_self, _consumer, *_arguments, **_more):
        assert fetcher.asked[0] == ["fetch"]  # woken up, and free to fetch
        return {A0: records(0, 3)}

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetched)
    for _ in range(2):
        asyncio.run(thread._fetch_records(SimpleNamespace(_fetcher=fetcher), {A0}, timeout=1.0))
        assert fetcher._get_actions_per_node(None) == (in_advance, {}, 0.2, False, [])
