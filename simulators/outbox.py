"""the outbox: what the devices of one connection still owe, until somebody has answered for it

waiting -> in flight (the broker has not acknowledged) -> unanswered (no receipt yet) -> done. Messages of foreign
formats are done at the broker's PUBACK; those with a `seq` when a receipt of the gateway names them. A lost connection
puts everything back in line, in the old order. Pure: no clock and no socket.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from pulssi.messages import Receipt
from simulators.messages import NO_SEQ, Message
from simulators.wire import FAILURE, NO_SUBSCRIBERS, PACKET_ID_MAX

TIMEOUT_DOUBLINGS_MAX = 4
"""A message that goes unanswered again waits twice as long, so that devices do not bury a gateway that is behind."""


class Outbox:
    """Messages of the devices behind one connection.

    Args:
        receipt_timeout_us: how long a message with a `seq` waits for its receipt before it is sent again; doubles with
            each time.
        retry_us: how long a message that the broker did not deliver waits before it is sent again.
    """

    def __init__(self, *, receipt_timeout_us: int, retry_us: int) -> None:
        self._receipt_timeout = receipt_timeout_us
        self._retry = retry_us
        self._waiting: deque[Message] = deque()
        self._in_flight: dict[int, Message] = {}
        self._owed: dict[str, dict[int, Message]] = {}
        self._owed_count = 0
        self._plain_count = 0
        self._unanswered: list[tuple[int, int, Message]] = []
        self._again_at: deque[tuple[int, Message]] = deque()
        self._next_id = 0
        self.window = PACKET_ID_MAX
        self.resent = 0

    def __len__(self) -> int:
        """Messages that are not done."""
        return self._owed_count + self._plain_count

    @property
    def backlog(self) -> int:
        """Messages that have not left, cheap to ask."""
        return len(self._waiting)

    @property
    def owed(self) -> int:
        """Messages with a `seq` that no receipt has named, cheap to ask."""
        return self._owed_count

    def put(self, messages: Iterable[Message]) -> None:
        """Take messages to send, in this order."""
        for message in messages:
            if message.seq != NO_SEQ:
                self._owed.setdefault(message.device_id, {})[message.seq] = message
                self._owed_count += 1
            else:
                self._plain_count += 1
            self._waiting.append(message)

    def take(self, now: int, limit: int) -> list[tuple[int, Message]]:
        """At most `limit` messages that leave now, with packet ids, as far as the window allows."""
        out: list[tuple[int, Message]] = []
        while self._waiting and len(out) < limit and len(self._in_flight) < self.window:
            message = self._waiting.popleft()
            if message.seq != NO_SEQ:
                if not self._is_owed(message):
                    continue
                wait = self._receipt_timeout << min(message.tries, TIMEOUT_DOUBLINGS_MAX)
                message.tries += 1
                message.overdue_time = now + wait
                heapq.heappush(self._unanswered, (message.overdue_time, message.number, message))
            packet_id = self._free_id()
            self._in_flight[packet_id] = message
            out.append((packet_id, message))
        return out

    def puback(self, packet_id: int, reason: int, now: int) -> Message | None:
        """The broker has answered; returns the message when that was all it was waiting for."""
        message = self._in_flight.pop(packet_id, None)
        if message is None:
            return None
        if reason == NO_SUBSCRIBERS or reason >= FAILURE:
            message.tries, message.overdue_time = 0, -1  # no gateway has it, so none is behind
            self._again_at.append((now + self._retry, message))
            return None
        if message.seq != NO_SEQ:
            return None
        self._plain_count -= 1
        return message

    def give_up(self, packet_id: int) -> None:
        """This one can never be delivered: nobody waits for its answer any more."""
        message = self._in_flight.pop(packet_id)
        if message.seq == NO_SEQ:
            self._plain_count -= 1
        elif self._owed[message.device_id].pop(message.seq, None) is not None:
            self._owed_count -= 1

    def receipt(self, device_id: str, receipt: Receipt) -> tuple[list[Message], list[tuple[Message, str]]]:
        """The gateway has answered: the messages now accepted, and those refused with the reason."""
        owed = self._owed.get(device_id, {})
        accepted = [message for first, last in receipt.accepted for message in _pop(owed, first, last)]
        refused: list[tuple[Message, str]] = []
        for refusal in receipt.refused:
            message = owed.pop(refusal.seq, None) if refusal.seq is not None else None
            if message is not None:
                refused.append((message, refusal.reason))
        self._owed_count -= len(accepted) + len(refused)
        return accepted, refused

    def due(self, now: int) -> list[Message]:
        """What has waited too long for an answer; it stands in line again."""
        again: list[Message] = []
        while self._unanswered and self._unanswered[0][0] <= now:
            overdue_time, _, message = heapq.heappop(self._unanswered)
            if message.overdue_time == overdue_time and self._is_owed(message):
                again.append(message)
        while self._again_at and self._again_at[0][0] <= now:
            message = self._again_at.popleft()[1]
            if message.seq == NO_SEQ or self._is_owed(message):
                again.append(message)
        self._waiting.extend(again)
        self.resent += len(again)
        return again

    def lost(self) -> list[Message]:
        """The connection is gone: all that nobody has answered for stands in line again, and is returned."""
        unanswered = {id(message): message for _, _, message in self._unanswered if self._is_owed(message)}
        for message in (*self._in_flight.values(), *(message for _, message in self._again_at)):
            if message.seq == NO_SEQ or self._is_owed(message):
                unanswered[id(message)] = message
        for message in self._waiting:
            unanswered.pop(id(message), None)
        again = sorted(unanswered.values(), key=lambda message: message.number)
        for message in again:
            message.tries = 0
        self._waiting.extendleft(reversed(again))
        self._in_flight.clear()
        self._unanswered.clear()
        self._again_at.clear()
        self.resent += len(again)
        return again

    def _is_owed(self, message: Message) -> bool:
        return self._owed.get(message.device_id, {}).get(message.seq) is message

    def _free_id(self) -> int:
        while True:
            self._next_id = self._next_id % PACKET_ID_MAX + 1
            if self._next_id not in self._in_flight:
                return self._next_id


def _pop(owed: dict[int, Message], first: int, last: int) -> list[Message]:
    """Take out the messages with seqs in [first, last], by the shorter way."""
    if last - first < len(owed):
        found = (owed.pop(seq, None) for seq in range(first, last + 1))
        return [message for message in found if message is not None]
    seqs = [seq for seq in owed if first <= seq <= last]
    return [owed.pop(seq) for seq in seqs]
