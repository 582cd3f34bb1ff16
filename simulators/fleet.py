"""the fleet: all simulated devices of one process, on a few connections, with one ledger

Nothing leaves before the ledger has it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pulssi.logs import Log
from pulssi.series import partition_of
from pulssi.settings import MqttSettings
from pulssi.times import US_PER_S, now_us
from simulators.ledger import Ledger
from simulators.link import Link
from simulators.messages import Message
from simulators.outbox import Outbox

_HOUSEKEEPING_S = 0.2
_RETRY_S = 1.0


@dataclass(slots=True)
class Counts:
    """Messages of one fleet so far."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    sent_again: int = 0


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """Bounds of a fleet.

    Attributes:
        links: connections to the broker.
        pending_max: messages that have not left or wait for a receipt; over it devices stop measuring.
        receipt_timeout_s: how long a device waits for a receipt before it sends again.
    """

    links: int = 2
    pending_max: int = 50_000
    receipt_timeout_s: float = 10.0


class Fleet:
    """Sends messages of many devices and writes down what became of them; an async context manager.

    Args:
        name: of the run; part of the MQTT client ids.
        mqtt: where the broker is.
        ledger: of this process.
        log: its logger.
        hearing: (kind, device id) of the devices that wait for receipts.
        options: bounds.
    """

    def __init__(
        self,
        name: str,
        mqtt: MqttSettings,
        ledger: Ledger,
        log: Log,
        hearing: Collection[tuple[str, str]] = (),
        options: FleetOptions | None = None,
    ) -> None:
        self._options = options or FleetOptions()
        self._ledger = ledger
        self.counts = Counts()
        self._links: list[Link] = []
        for number in range(self._options.links):
            outbox = Outbox(
                receipt_timeout_us=int(self._options.receipt_timeout_s * US_PER_S), retry_us=int(_RETRY_S * US_PER_S)
            )
            filters = [f"pulssi/v1/{kind}/{device}/receipts" for kind, device in hearing if self._at(device) == number]
            self._links.append(Link(mqtt, f"{name}-{number}", filters, outbox, self, log))
        self._tasks: list[asyncio.Task[None]] = []
        self._answered = asyncio.Event()

    def _at(self, device_id: str) -> int:
        """The connection of a device: always the same, so that its messages keep their order."""
        return partition_of(device_id, self._options.links)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(link.run()) for link in self._links]
        self._tasks.append(asyncio.create_task(self._keep_house()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._ledger.flush()

    async def send(self, messages: Sequence[Message]) -> None:
        """Wait for room, write messages into the ledger and send them, those of a device in this order."""
        await self._until(lambda: self.room)
        originals = [message for message in messages if not message.copy]
        self._ledger.sent(originals)
        self.counts.sent += len(originals)
        parts: list[list[Message]] = [[] for _ in self._links]
        for message in messages:
            parts[self._at(message.device_id)].append(message)
        for link, part in zip(self._links, parts, strict=True):
            link.outbox.put(part)
            link.pump()

    @property
    def up(self) -> bool:
        """Whether every connection stands."""
        return all(link.up for link in self._links)

    @property
    def pending(self) -> int:
        """Messages without an answer."""
        return sum(len(link.outbox) for link in self._links)

    @property
    def room(self) -> bool:
        """Whether more messages may be taken; devices that find no room do not measure."""
        return sum(link.outbox.backlog + link.outbox.owed for link in self._links) < self._options.pending_max

    @property
    def reconnects(self) -> int:
        """Connections made again."""
        return sum(max(link.connects - 1, 0) for link in self._links)

    async def settle(self, timeout_s: float) -> bool:
        """Wait until every message has its answer; False when some had none in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._until(lambda: not self.pending), timeout_s)
        return not self.pending

    async def _until(self, state: Callable[[], bool]) -> None:
        """Wait for a state that answers bring about."""
        while not state():
            self._answered.clear()
            await self._answered.wait()

    def accepted(self, messages: list[Message]) -> None:
        """Answers of the broker or of receipts."""
        self._ledger.accepted(messages)
        self._answered.set()
        self.counts.accepted += sum(not message.copy for message in messages)

    def refused(self, message: Message, reason: str) -> None:
        """A receipt refused this one."""
        self._ledger.refused(message, reason)
        self._answered.set()
        self.counts.refused += 1

    def sent_again(self, messages: list[Message]) -> None:
        """These leave once more."""
        self._ledger.sent_again(messages)
        self.counts.sent_again += len(messages)

    async def _keep_house(self) -> None:
        """Send again what waited too long, and write the answers down."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            now = now_us()
            for link in self._links:
                again = link.outbox.due(now)
                if again:
                    self.sent_again(again)
                    link.pump()
            self._ledger.flush()
            self._answered.set()


class Seqs:
    """Numbers for the messages of devices, without gaps for each, never used again by another run.

    Two runs that share the numbers of a device would take each other's receipts for their own.

    Args:
        start: the first number: the start of the run in microseconds, which no run before it has reached unless its
            devices sent a million messages a second each.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self._next: dict[str, int] = {}

    def next(self, device_id: str) -> int:
        """The next number of a device."""
        seq = self._next.get(device_id, self._start)
        self._next[device_id] = seq + 1
        return seq
