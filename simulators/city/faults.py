"""faults, planted at seeded places and times: each is written into the ledger, so that detection can be scored

A plan is made for each stretch of time; what it does to samples and messages is deterministic too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from pulssi.times import US_PER_S
from simulators.city.malformed import KINDS, malformed
from simulators.city.noise import key_of, uniform
from simulators.city.sample import Sample
from simulators.ledger import Truth
from simulators.messages import NO_SEQ, Message

STRETCH_S: Final = 600
"""One fault of each kind and place in such a stretch, or in the whole run when that is shorter."""
_EDGE: Final = 0.1
"""Part of a stretch at its start and end that stays free of faults."""


class FaultKind(StrEnum):
    """What goes wrong."""

    DROPOUT = "dropout"  # the device is silent
    DUPLICATE = "duplicate"  # it sends each message twice
    REORDER = "reorder"  # some of its messages leave seconds late
    CLOCK_SKEW = "clock_skew"  # its clock is wrong, by less than the door refuses
    CLOCK_AHEAD = "clock_ahead"  # its clock is so far ahead that the door refuses
    STUCK = "stuck"  # one value stands still
    DRIFT = "drift"  # one value moves away
    SPIKE = "spike"  # one reading is far off
    MALFORMED = "malformed"  # it sends bad input of every kind


_OF_VALUES: Final = {FaultKind.STUCK: "no2", FaultKind.DRIFT: "o3", FaultKind.SPIKE: "no2"}
"""Faults of a value, and of which; none that a rule for fresh particles would alert on."""
_SKEW_S: Final = -47.25
_AHEAD_S: Final = 1200.0
_LATE_S: Final = (2.0, 9.0)
_DRIFT_PER_S: Final = 0.4
_SPIKE: Final = 180.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault during [start, end), us UTC."""

    kind: FaultKind
    device_id: str
    start: int
    end: int
    key: int

    def truth(self) -> Truth:
        """For the ledger."""
        quantity = _OF_VALUES.get(self.kind)
        return Truth(
            f"fault:{self.kind}", self.device_id, self.start, self.end, {"quantity": quantity} if quantity else {}
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Devices that faults may strike: of our own format, of foreign ones, and vehicles."""

    own: list[str]
    foreign: list[str]
    vehicles: list[str]


def plan(seed: int, start: int, end: int, places: Places) -> list[Fault]:
    """The faults of one stretch: each kind at a device of its own where there are enough."""
    free = sorted(places.own, key=lambda device: key_of(seed, "own", start, device))
    others = sorted(places.foreign, key=lambda device: key_of(seed, "foreign", start, device))
    vehicles = sorted(places.vehicles, key=lambda device: key_of(seed, "vehicle", start, device))
    chosen: list[tuple[FaultKind, str]] = []
    for i, kind in enumerate(FaultKind):
        if free:
            chosen.append((kind, free[i % len(free)]))
    for pool in (others, vehicles):
        kinds = (FaultKind.DROPOUT, FaultKind.DUPLICATE, FaultKind.REORDER)
        chosen += zip(kinds, pool, strict=False)
    return [_fault(seed, kind, device, start, end) for kind, device in chosen]


def _fault(seed: int, kind: FaultKind, device: str, start: int, end: int) -> Fault:
    key = key_of(seed, "fault", kind, device, start)
    begin, length = uniform(key, np.arange(2))
    span = (end - start) * (1 - 2 * _EDGE)
    lasting = span * (0.2 + 0.3 * length)
    at = int(start + (end - start) * _EDGE + begin * (span - lasting))
    return Fault(kind, device, at, int(at + lasting), key)


class Faults:
    """Puts planted faults on samples and messages that come in order of time."""

    def __init__(self) -> None:
        self._by_device: dict[str, list[Fault]] = {}
        self._malformed: list[Message] = []
        self._held: list[tuple[int, int, Message]] = []
        self._count = 0
        self._first: dict[int, float] = {}

    def plant(self, faults: Iterable[Fault]) -> None:
        """The faults from now on; those before are over."""
        self._by_device, self._first = {}, {}
        for fault in faults:
            self._by_device.setdefault(fault.device_id, []).append(fault)
            if fault.kind is FaultKind.MALFORMED:
                step = (fault.end - fault.start) // len(KINDS)
                self._malformed += [malformed(i, fault.device_id, fault.start + i * step) for i in range(len(KINDS))]
        self._malformed.sort(key=lambda message: message.send_time, reverse=True)

    def sample(self, sample: Sample) -> Sample | None:
        """What the sick device makes of a sample; None when it is silent."""
        for fault in self._by_device.get(sample.device_id, ()):
            if fault.start <= sample.send_time < fault.end:
                changed = self._apply(fault, sample)
                if changed is None:
                    return None
                sample = changed
        return sample

    def _apply(self, fault: Fault, sample: Sample) -> Sample | None:
        if fault.kind is FaultKind.DROPOUT:
            return None
        if fault.kind in {FaultKind.CLOCK_SKEW, FaultKind.CLOCK_AHEAD}:
            skew_s = _SKEW_S if fault.kind is FaultKind.CLOCK_SKEW else _AHEAD_S
            return replace(sample, event_time=sample.event_time + int(skew_s * US_PER_S), fault=fault.kind)
        name = _OF_VALUES.get(fault.kind)
        if name is None or name not in sample.values:
            return sample
        value = sample.values[name]
        if fault.kind is FaultKind.STUCK:
            value = self._first.setdefault(fault.key, value)
        elif fault.kind is FaultKind.DRIFT:
            value = round(value + _DRIFT_PER_S * (sample.send_time - fault.start) / US_PER_S, 1)
        elif fault.key not in self._first:  # the first reading of the fault is the spike
            self._first[fault.key] = value
            value = round(value + _SPIKE, 1)
        else:
            return sample
        return replace(sample, values={**sample.values, name: value}, fault=fault.kind)

    def messages(self, messages: Iterable[Message], end: int) -> Iterator[Message]:
        """What leaves before `end`, in order: copies and bad input come in, late ones wait for their time."""
        for message in messages:
            for sent in self._sent(message):
                self._hold(sent)
        while self._malformed and self._malformed[-1].send_time < end:
            self._hold(self._malformed.pop())
        while self._held and self._held[0][0] < end:
            yield heapq.heappop(self._held)[2]

    def rest(self) -> list[Message]:
        """What is still held back, in order."""
        return [heapq.heappop(self._held)[2] for _ in range(len(self._held))]

    def _hold(self, message: Message) -> None:
        self._count += 1
        heapq.heappush(self._held, (message.send_time, self._count, message))

    def _sent(self, message: Message) -> Iterator[Message]:
        copied = False
        for fault in self._by_device.get(message.device_id, ()):
            if not fault.start <= message.send_time < fault.end:
                continue
            if fault.kind is FaultKind.DROPOUT and message.event is not None:
                return
            if fault.kind is FaultKind.DUPLICATE:
                copied, message.fault = True, fault.kind
            elif fault.kind is FaultKind.REORDER:
                chance, late = uniform(fault.key, message.content + np.arange(2))
                if chance < 0.3:
                    message.send_time += int((_LATE_S[0] + (_LATE_S[1] - _LATE_S[0]) * late) * US_PER_S)
                    message.fault = fault.kind
        yield message
        if copied:
            yield replace(message, seq=NO_SEQ, copy=True)
