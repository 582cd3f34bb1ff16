"""The outbox: whatever is lost on the way, every message is answered for in the end, and nothing is forgotten."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pulssi.messages import Receipt, Refusal
from simulators.messages import NO_SEQ, Message
from simulators.outbox import Outbox
from simulators.wire import NO_SUBSCRIBERS, PACKET_ID_MAX

LIMIT = 50


def message(number, seq=NO_SEQ, device="a"):
    return Message(0, device, b"t", b"p", seq, number=number)


def outbox():
    return Outbox(receipt_timeout_us=1000, retry_us=100)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 7))
def test_everything_is_answered_for_over_a_bad_connection(seed, count, window):
    """Acks and receipts get lost, come twice or late, connections break, receivers are away: all is done at last."""
    chance = random.Random(seed)
    box, now = outbox(), 0
    box.window = window
    messages = [message(i + 1, i if i % 2 else NO_SEQ, f"d{i % 3}") for i in range(count)]
    box.put(messages)
    done, delivered = set(), set()
    for _ in range(5000):
        if not len(box):
            break
        now += 300
        flight = box.take(now, LIMIT)
        assert len(flight) <= window
        for packet_id, sent in flight:
            if chance.random() < 0.3:
                continue  # the broker never saw it, or its answer was lost
            reason = NO_SUBSCRIBERS if chance.random() < 0.2 else 0
            finished = box.puback(packet_id, reason, now)
            if reason == 0:
                delivered.add(sent.number)
                if finished is not None:
                    done.add(finished.number)
                if sent.seq != NO_SEQ and chance.random() < 0.5:  # a gateway that was killed tells nothing, ever
                    accepted, _ = box.receipt(sent.device_id, Receipt(accepted=[(sent.seq, sent.seq)]))
                    done |= {one.number for one in accepted}
            else:
                assert finished is None
        box.due(now)
        if chance.random() < 0.3:
            box.lost()
    assert not len(box)
    assert done == delivered == {one.number for one in messages}


@given(st.lists(st.integers(0, 60), unique=True, min_size=1), st.integers(0, 60), st.integers(0, 60))
def test_a_range_accepts_exactly_the_seqs_in_it(seqs, first, last):
    box = outbox()
    box.put([message(i + 1, seq) for i, seq in enumerate(seqs)])
    accepted, refused = box.receipt("a", Receipt(accepted=[(first, last)]))
    assert sorted(one.seq for one in accepted) == sorted(seq for seq in seqs if first <= seq <= last)
    assert not refused
    assert box.owed == len(seqs) - len(accepted)


def test_a_lost_connection_sends_again_in_the_old_order():
    box = outbox()
    box.put([message(i, i) for i in range(1, 6)])
    flight = box.take(0, 3)
    box.puback(flight[0][0], 0, 0)  # the broker has it; no receipt has come
    box.receipt("a", Receipt(accepted=[(2, 2)]))
    assert [one.number for one in box.lost()] == [1, 3]
    assert [one.number for _, one in box.take(1, LIMIT)] == [1, 3, 4, 5]


def test_without_a_receipt_in_time_a_message_is_sent_again_and_once_only():
    box = outbox()
    box.put([message(1, 7)])
    ((packet_id, _),) = box.take(0, LIMIT)
    box.puback(packet_id, 0, 1)
    assert box.due(999) == []
    assert [one.number for one in box.due(1000)] == [1]
    assert box.due(5000) == []
    assert [one.number for _, one in box.take(5000, LIMIT)] == [1]


def test_a_gateway_that_is_behind_is_not_buried():
    """Each further try waits twice as long, up to sixteen times."""
    box, now, times = outbox(), 0, []
    box.put([message(1, 7)])
    while len(times) < 8:
        if box.take(now, LIMIT):
            times.append(now)
        now += 1000
        box.due(now)
    assert [b - a for a, b in pairwise(times)] == [1000, 2000, 4000, 8000, 16_000, 16_000, 16_000]


def test_a_receipt_before_the_puback_is_enough():
    box = outbox()
    box.put([message(1, 7)])
    ((packet_id, _),) = box.take(0, LIMIT)
    box.receipt("a", Receipt(accepted=[(7, 7)]))
    assert not len(box)
    assert box.puback(packet_id, 0, 1) is None
    assert box.due(10_000) == []


def test_a_receipt_for_another_device_or_an_unknown_seq_changes_nothing():
    box = outbox()
    box.put([message(1, 7)])
    assert box.receipt("b", Receipt(accepted=[(0, 100)])) == ([], [])
    assert box.receipt("a", Receipt(refused=[Refusal(reason="bad_json")])) == ([], [])
    assert len(box) == 1


def test_packet_ids_are_never_used_twice_at_once():
    box = outbox()
    box.put([message(i + 1) for i in range(PACKET_ID_MAX + 10)])
    first = [packet_id for packet_id, _ in box.take(0, PACKET_ID_MAX)]
    assert len(set(first)) == len(first) == PACKET_ID_MAX
    assert box.take(0, LIMIT) == []
    box.puback(first[5], 0, 0)
    assert [packet_id for packet_id, _ in box.take(0, LIMIT)] == [first[5]]


def test_what_can_never_be_delivered_is_given_up():
    box = outbox()
    box.put([message(1), message(2, 5)])
    for packet_id, _ in box.take(0, LIMIT):
        box.give_up(packet_id)
    assert not len(box)
    assert box.lost() == []


def test_what_the_broker_could_give_to_nobody_is_soon_sent_again_and_never_waits_longer_for_it():
    box = outbox()
    box.put([message(1, 7)])
    now = 0
    for _ in range(6):
        ((packet_id, _),) = box.take(now, LIMIT)
        box.puback(packet_id, NO_SUBSCRIBERS, now)
        now += 100
        assert [one.number for one in box.due(now)] == [1]
    ((packet_id, _),) = box.take(now, LIMIT)
    box.puback(packet_id, 0, now)
    assert [one.number for one in box.due(now + 1000)] == [1]


def test_a_new_connection_forgets_how_often_a_message_was_sent():
    box, now = outbox(), 0
    box.put([message(1, 7)])
    for _ in range(4):
        assert box.take(now, LIMIT)
        box.lost()
    box.take(now, LIMIT)
    assert [one.number for one in box.due(1000)] == [1]
