"""What is sent is bounded in flight, confirmed in order, and retried until it is stored."""

import asyncio

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
)
from prometheus_client import CollectorRegistry

from pulssi.metrics import Metrics
from pulssi.partitions import Output
from pulssi.shell import outbox as module
from pulssi.shell.outbox import Outbox, Tombstone
from pulssi.topics import Content, Topics, headers

TOPICS = Topics("t", 4)


class FakeProducer:
    def __init__(self):
        self.client = self
        self.answers = True
        self.futures = []
        self.refusals = []

    async def fetch_all_metadata(self):
        if not self.answers:
            raise KafkaConnectionError

    async def send(self, *_, **__):
        if self.refusals:
            raise self.refusals.pop(0)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


class FakeLog:
    def __init__(self):
        self.lines = []

    def warning(self, event, **_):
        self.lines.append(event)

    info = warning


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_RETRY_S", (0.0, 0.001))


def make(limit=1000):
    made = Outbox("nowhere", TOPICS, limit, Metrics("test", CollectorRegistry()), FakeLog())
    made._producer = FakeProducer()
    return made


def output(size=10, topic=TOPICS.indicators, **more):
    return Output(topic, 0, None, bytes(size), headers(Content.INDICATORS, **more))


def value(made, name, **labels):
    return made._metrics.registry.get_sample_value(name, {"component": "test", **labels})


async def soon():
    for _ in range(5):
        await asyncio.sleep(0.002)


def test_confirmed_waits_for_an_output_and_all_before_it():
    async def run():
        made = make()
        await made.send([output(), output(), output()])
        waiting = asyncio.create_task(made.confirmed(2))
        made._producer.futures[1].set_result(None)
        await soon()
        assert not waiting.done()
        made._producer.futures[0].set_result(None)
        await waiting
        assert value(made, "pulssi_sent_total", target=TOPICS.indicators, what="records") == 2

    asyncio.run(run())


def test_sending_waits_while_too_much_is_on_its_way():
    async def run():
        made = make(limit=25)
        sending = asyncio.gather(made.send([output() for _ in range(5)]))
        for confirmed, handed_over in enumerate([3, 4, 5]):
            await soon()
            assert len(made._producer.futures) == handed_over
            made._producer.futures[confirmed].set_result(None)
        await sending

    asyncio.run(run())


def test_a_full_producer_and_a_lost_leader_are_retried_visibly():
    async def run():
        made = make()
        made._producer.refusals = [KafkaTimeoutError(), KafkaConnectionError()]
        await made.send([output()])
        made._producer.futures[0].set_exception(NotLeaderForPartitionError())
        waiting = asyncio.create_task(made.confirmed(1))
        await soon()
        made._producer.futures[1].set_result(None)
        await waiting
        assert made._presence._log.lines == ["away", "back"]

    asyncio.run(run())


class Where:  # what aiokafka tells of a stored record
    def __init__(self, offset):
        self.offset = offset


def test_a_record_whose_offset_must_be_known_is_sent_again_when_kafka_has_forgotten_it():
    async def run():
        made = make()
        storing = asyncio.create_task(made.stored(output()))
        await soon()
        made._producer.futures[0].set_result(Where(-1))
        await soon()
        assert not storing.done()
        assert made.stored_number == 1
        made._producer.futures[1].set_result(Where(7))
        assert await storing == 7
        assert made.stored_number == made.number == 2

    asyncio.run(run())


def test_a_tombstone_is_sent_without_a_value():
    async def run():
        made, sent = make(), []
        give = made._producer.send

        async def send(*place, **record):
            sent.append((*place, record))
            return await give()

        made._producer.send = send
        await made.send([Tombstone(TOPICS.state, 3, b"key")])
        made._producer.futures[0].set_result(None)
        await made.confirmed(1)
        assert sent == [(TOPICS.state, {"value": None, "key": b"key", "partition": 3, "headers": None})]

    asyncio.run(run())


def test_what_waiting_does_not_cure_is_raised():
    async def run():
        made = make()
        made._producer.refusals = [MessageSizeTooLargeError()]
        with pytest.raises(MessageSizeTooLargeError):
            await made.send([output()])
        await made.send([output()])
        made._producer.futures[0].set_exception(MessageSizeTooLargeError())
        with pytest.raises(MessageSizeTooLargeError):
            await made.confirmed(1)

    asyncio.run(run())


def test_dead_letters_are_counted_by_reason():
    async def run():
        made = make()
        await made.send([output(topic=TOPICS.deadletters, reason="bad_frame")])
        made._producer.futures[0].set_result(None)
        await made.watch()
        assert value(made, "pulssi_dropped_total", reason="bad_frame") == 1

    asyncio.run(run())


def test_an_idle_worker_notices_that_kafka_is_away_and_back_and_says_each_once():
    async def run():
        made = make()
        for answers in (True, False, False, True, True):
            made._producer.answers = answers
            await made.watch()
        assert made._presence._log.lines == ["away", "back"]
        assert value(made, "pulssi_connected", target="kafka") == 1

    asyncio.run(run())
