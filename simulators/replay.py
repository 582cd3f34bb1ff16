"""replay: a recording is sent again as if it happened now

The recording is moved in time so that it ends when the replay ends; at speed 60 a minute of it passes in a second.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pulssi.times import US_PER_S, now_us
from simulators.fleet import Fleet, Seqs
from simulators.messages import NO_SEQ, Message
from simulators.recordings import Rebase, Recording, rebased

MAX_SPEED: Final = float("inf")
SQUEEZE_S: Final = 900
_TICK_S: Final = 0.05
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a recording is sent.

    Attributes:
        speed: seconds of the recording in one second; `MAX_SPEED` sends as fast as it is taken.
        for_s: end after so long, with the end of the recording; None = the whole recording.
        backlog: with `for_s`, send what lies before that span at once, as devices do that were away; else leave it out.
        loop: begin again at the end.
        squeeze: cut silences longer than `SQUEEZE_S`; None = as the recording says.
    """

    speed: float = 1.0
    for_s: float | None = None
    backlog: bool = False
    loop: bool = False
    squeeze: bool | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """When each record leaves: `wall` is never decreasing."""

    wall: list[int]
    moved: list[Rebase]


def plan(recording: Recording, options: ReplayOptions, start: int) -> Plan:
    """Lay a recording into the time that begins at `start` (us UTC)."""
    squeeze = recording.squeeze if options.squeeze is None else options.squeeze
    squeeze_s = SQUEEZE_S if squeeze else None
    still = rebased(recording.records, start, squeeze_s=squeeze_s)
    if not still:
        return Plan([], [])
    span = still[-1].time - still[0].time
    lasting = span / options.speed
    if options.for_s is not None and options.speed != MAX_SPEED:
        lasting = min(lasting, options.for_s * US_PER_S)
    end = start + round(lasting)
    moved = rebased(recording.records, end, squeeze_s=squeeze_s)
    wall = [end - round((moved[-1].time - one.time) / options.speed) for one in moved]
    first = bisect.bisect_left(wall, start)
    if options.backlog:
        return Plan([start] * first + wall[first:], moved)
    return Plan(wall[first:], moved[first:])


def batches(plan: Plan) -> Iterator[tuple[int, list[Rebase]]]:
    """The records with the time at which they leave, in groups of one tick."""
    at = 0
    while at < len(plan.wall):
        end = bisect.bisect_right(
            plan.wall, plan.wall[at] + int(_TICK_S * US_PER_S), lo=at, hi=min(at + _BATCH, len(plan.wall))
        )
        yield plan.wall[end - 1], plan.moved[at:end]
        at = end


async def replay(recording: Recording, fleet: Fleet, options: ReplayOptions) -> int:
    """Send a recording and return how many messages left; with `loop` it ends only by cancellation."""
    start = now_us()
    seqs = Seqs(start)
    sent = 0
    while True:
        for wall, moved in batches(plan(recording, options, start)):
            await asyncio.sleep(max(wall - now_us(), 0) / US_PER_S)
            await fleet.send([_message(one, seqs) for one in moved])
            sent += len(moved)
        if not options.loop:
            return sent
        start = now_us()


def _message(one: Rebase, seqs: Seqs) -> Message:
    seq = NO_SEQ if one.record.kind is None else seqs.next(one.record.device_id)
    return one.record.message(one.shift_us, seq)
