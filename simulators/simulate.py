"""simulate: the seeded city lives in real time; first its devices upload what they measured while they were away"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from typing import Final

from pulssi.times import US_PER_S, now_us
from simulators.city.city import City
from simulators.fleet import Fleet
from simulators.ledger import Ledger
from simulators.messages import Message

_SPAN_US: Final = US_PER_S
"""Made at once: the cost of a span hardly depends on its length."""
_TICK_S: Final = 0.02
_BATCH: Final = 1000

_send_time = attrgetter("send_time")


async def simulate(city: City, fleet: Fleet, ledger: Ledger) -> None:
    """Send the backlog, then every message at its time, until the end of the run."""
    options = city.options
    ledger.truth(city.truths())
    for batch in _batched(city.backlog()):
        await fleet.send(batch)
    end = None if options.for_s is None else options.start + int(options.for_s * US_PER_S)
    at = options.start
    while end is None or at < end:
        until = at + _SPAN_US if end is None else min(at + _SPAN_US, end)
        messages = list(city.between(at, until))
        ledger.truth(city.new_truths())
        await _send_in_time(messages, until, fleet)
        at = until
    await fleet.send(city.rest())


async def _send_in_time(messages: list[Message], until: int, fleet: Fleet) -> None:
    """Send messages, which are in order of time, when their time has come; return at `until`."""
    sent = 0
    while (now := now_us()) < until or sent < len(messages):
        due = min(bisect.bisect_right(messages, now, lo=sent, key=_send_time), sent + _BATCH)
        if due > sent:
            await fleet.send(messages[sent:due])
            sent = due
        else:
            await asyncio.sleep(_TICK_S)


def _batched(messages: Iterable[Message]) -> Iterator[list[Message]]:
    messages = iter(messages)
    while batch := list(islice(messages, _BATCH)):
        yield batch
