"""what one read of the MQTT connection brought, and when it may be acknowledged"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

Asked = tuple[str, int, bytes]
"""A receipt that a message asks for: the device's topic for receipts, the seq, the properties of the PUBLISH."""


@dataclass(slots=True, eq=False)
class Train:
    """The PUBLISH packets of one read; they are acknowledged together, so nothing is kept per message.

    Attributes:
        epoch: number of the connection that they came over; packet ids mean nothing on another one.
        receive_time: us UTC.
        mids: packet ids in receive order; QoS 0 has none.
        messages: how many packets.
        size: their bytes.
        waiting: Kafka records that hold something of it and are not yet confirmed.
        asked: receipts to give when it is confirmed.
    """

    epoch: int
    receive_time: int
    mids: list[int]
    messages: int
    size: int
    waiting: int = 0
    asked: list[Asked] = field(default_factory=list)


class AckQueue:
    """Trains in receive order, of all epochs; the oldest one that is not confirmed holds back the rest.

    That is what makes a PUBACK mean "everything up to here": a series that an earlier train announced is in Kafka too.
    """

    def __init__(self) -> None:
        self._trains: deque[Train] = deque()
        self.messages = 0
        """Messages taken and not yet released."""
        self.size = 0
        """Their bytes."""

    def __len__(self) -> int:
        return len(self._trains)

    def add(self, train: Train) -> None:
        """Take a train in, in receive order."""
        self._trains.append(train)
        self.messages += train.messages
        self.size += train.size

    def release(self) -> list[Train]:
        """The trains that are confirmed and have nothing unconfirmed before them, oldest first."""
        released = []
        while self._trains and not self._trains[0].waiting:
            train = self._trains.popleft()
            self.messages -= train.messages
            self.size -= train.size
            released.append(train)
        return released
