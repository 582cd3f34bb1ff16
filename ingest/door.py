"""the door: every message is checked here and leaves as rows, as a dead letter, or as something that is not for us

No client library and no clock. After the door there is no object per reading, only columns.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from ingest.acks import Train
from ingest.decoders import format_of
from ingest.decoders.base import SEQ_NONE, Reading, Source, VehicleFormat, split_measure
from ingest.decoders.shapes import Shape, Shapes
from ingest.framing import Framer, Record, encode_readings, encode_vehicles
from ingest.mqtt_packets import RETAIN, Publish
from ingest.receipts import Receipts
from ingest.series import SeriesRegistry
from pulssi.errors import PoisonError, Reason
from pulssi.frames import VEHICLES
from pulssi.logs import Log
from pulssi.messages import Refusal
from pulssi.series import partition_of
from pulssi.settings import GatewaySettings
from pulssi.times import US_PER_MS, US_PER_S, iso
from pulssi.topics import Content, Topics, headers

DETAIL_MAX = 200
ALIKE_MIN = 4
"""Fewer messages of one shape in a train are read one by one."""
CHANCES = 8
"""How often a topic may change its shape before its messages are always read one by one."""
_VEHICLE, _ROUTE, _EVENT_TIME = (VEHICLES.get_field_index(name) for name in ("vehicle", "route", "event_time"))
_SEQ = re.compile(rb'"seq"\s*:\s*([0-9]{1,18})')


@dataclass(frozen=True, slots=True)
class Limits:
    """What the door lets in; see GatewaySettings."""

    payload_bytes_max: int
    event_age_us_max: int
    event_ahead_us_max: int
    frame_readings: int
    frame_delay_us: int
    frame_delay_us_max: int
    topics_max: int
    ends_after_s: Callable[[str, str], int] = lambda _kind, _device_id: 0

    @classmethod
    def of(cls, settings: GatewaySettings) -> Limits:
        """The limits of the settings."""
        return cls(
            payload_bytes_max=settings.payload_bytes_max,
            event_age_us_max=settings.event_age_s_max * US_PER_S,
            event_ahead_us_max=settings.event_ahead_s_max * US_PER_S,
            frame_readings=settings.frame_readings,
            frame_delay_us=settings.frame_delay_ms * US_PER_MS,
            frame_delay_us_max=settings.frame_delay_ms_max * US_PER_MS,
            topics_max=settings.series_max,
            ends_after_s=settings.ends_after_s,
        )


class _Route:
    """What we know of one topic: who publishes there, how it is read, where its rows go."""

    __slots__ = ("answers", "append", "chances", "decode", "ids", "interval_us", "rows", "series", "shape", "source")

    def __init__(
        self,
        source: Source,
        decode: Callable[[Source, bytes, int], list[Reading]],
        rows: list[Any],
        chances: int,
        interval_us: int,
    ) -> None:
        self.source = source
        self.interval_us = interval_us
        self.answers = source.answers
        self.decode = decode
        self.rows = rows
        self.append = rows.append
        self.series: dict[str, int] = {}
        self.shape: Shape | None = None
        self.ids: tuple[int, ...] = ()
        self.chances = chances

    def settle(self, shape: Shape | None) -> None:
        """Read the next messages with others of this shape, whose series are known by now; None = one by one."""
        self.chances = max(0, self.chances - 1)
        self.shape = shape
        self.ids = tuple(self.series[measure] for measure in shape.measures) if shape else ()


class Door:
    """Checks messages; what comes out waits in `readings`, `vehicles` and the records that `take` returns."""

    def __init__(self, topics: Topics, limits: Limits, series: SeriesRegistry, receipts: Receipts, log: Log) -> None:
        self._topics = topics
        self._limits = limits
        self._series = series
        self._receipts = receipts
        self._log = log
        self._routes: dict[bytes, _Route] = {}
        frame = {
            "partitions": topics.partitions,
            "rows_max": limits.frame_readings,
            "delay_us": limits.frame_delay_us,
            "delay_us_max": limits.frame_delay_us_max,
        }
        self.readings = Framer(topics.readings, Content.READINGS, encode_readings, **frame)
        self.vehicles = Framer(topics.vehicles, Content.VEHICLES, encode_vehicles, **frame)
        self._out: list[Record] = []
        self._shapes = Shapes()
        self.received: Counter[str] = Counter()
        """Units taken in since the last look, by what they are."""
        self.refused: Counter[Reason] = Counter()
        """Messages refused since the last look."""

    def take(self, publishes: Sequence[Publish], train: Train) -> list[Record]:
        """Check the messages of one train.

        Args:
            publishes: the messages, in receive order.
            train: what they came with; its `waiting` and `asked` are filled in.

        Returns:
            Records to hand over at once: full frames, dead letters and announcements of new series.
        """
        get = self._routes.get
        groups: defaultdict[Shape, list[Publish]] = defaultdict(list)
        others: list[Publish] = []
        for publish in publishes:
            route = get(publish[1])
            if route is None or route.shape is None:
                others.append(publish)
            else:
                groups[route.shape].append(publish)
        for shape, group in groups.items():
            if len(group) < ALIKE_MIN or not self._take_alike(shape, group, train):
                self._take_each(group, train, failed=len(group) >= ALIKE_MIN)
        self._take_each(others, train)  # last: it may forget routes
        out, self._out = self._out, []
        return out + self.readings.join(train) + self.vehicles.join(train)

    def _take_alike(self, shape: Shape, publishes: Sequence[Publish], train: Train) -> bool:
        """Messages of one shape; False when one of them needs a closer look, and nothing has been done."""
        now = train.receive_time
        routes = [self._routes[publish[1]] for publish in publishes]
        payloads = [publish[2] for publish in publishes]
        if any(first & RETAIN for first in {publish[4] for publish in publishes}):
            return False
        if max(map(len, payloads)) > self._limits.payload_bytes_max:
            return False
        alike = shape.read(payloads, [route.source.device_id for route in routes])
        if alike is None:
            return False
        times, columns, seqs = alike
        if min(times) < now - self._limits.event_age_us_max or max(times) > now + self._limits.event_ahead_us_max:
            return False
        for at, values in enumerate(columns):
            ids = [route.ids[at] for route in routes]
            rows = zip(ids, times, repeat(now), values, seqs or repeat(SEQ_NONE))
            for route, row in zip(routes, rows, strict=False):
                route.append(row)
        if seqs:
            answers = [route.answers for route in routes]
            train.asked += zip(answers, seqs, [publish[3] for publish in publishes], strict=True)
        self.received["readings"] += len(columns) * len(times)
        return True

    def _take_each(self, publishes: Sequence[Publish], train: Train, *, failed: bool = False) -> None:
        """Messages of any shape and format; `failed`: they could not be read together."""
        now = train.receive_time
        routes = self._routes
        earliest = now - self._limits.event_age_us_max
        latest = now + self._limits.event_ahead_us_max
        size_max = self._limits.payload_bytes_max
        asked = train.asked
        taken = 0
        for publish in publishes:
            _, topic, payload, properties, first = publish
            route = routes.get(topic) or self._find(publish, train)
            if route is None:
                continue
            before = len(route.rows)
            try:
                if first & RETAIN or len(payload) > size_max:
                    raise _unwanted(publish)
                found = route.decode(route.source, payload, now)
                for measure, event_time, value, seq in found:
                    if not earliest <= event_time <= latest:
                        raise _outside(event_time, now)
                    series = route.series.get(measure)
                    if series is None:
                        series = self._learn(route, measure, train)
                    route.append((series, event_time - route.interval_us, now, value, seq))
            except Exception as error:  # noqa: BLE001  whatever one message does, the others go on
                del route.rows[before:]
                self._refuse(publish, train, error, route.source)
                route.settle(None)
                continue
            taken += len(found)
            seqs = {seq} if len(found) == 1 else {row[3] for row in found}
            asked += [(route.answers, one, properties) for one in seqs if one != SEQ_NONE]
            if route.chances and (failed or route.shape is None):
                self._settle(route, payload)
        self.received["readings"] += taken

    def _settle(self, route: _Route, payload: bytes) -> None:
        """Read what comes next on this topic as it was with this message, now that its series are known."""
        shape = self._shapes.of(payload)
        if shape is None or shape is not route.shape:
            route.settle(shape)

    def flush(self) -> list[Record]:
        """Records of everything that still waits in a frame."""
        return self.readings.flush() + self.vehicles.flush()

    def due(self, now: int) -> list[Record]:
        """Records of the frames that have waited long enough."""
        return self.readings.due(now) + self.vehicles.due(now)

    def deadline(self) -> int | None:
        """When the next frame is due, us UTC."""
        found = [one for one in (self.readings.deadline(), self.vehicles.deadline()) if one is not None]
        return min(found, default=None)

    def _find(self, publish: Publish, train: Train) -> _Route | None:
        """The route of a topic that carries readings; anything else is dealt with here."""
        try:
            topic = _topic(publish[1])
            levels = topic.split("/")
            form = format_of(levels)
            if form is None:
                raise PoisonError(Reason.UNKNOWN_FORMAT, "no decoder for this topic")
            if isinstance(form, VehicleFormat):
                self._take_vehicle(form, topic, publish, train.receive_time)
                return None
            source = form.source_of(levels)
        except Exception as error:  # noqa: BLE001  whatever one message does, the others go on
            self._refuse(publish, train, error, None)
            return None
        if source is None:
            self.received["ignored"] += 1
            return None
        if len(self._routes) >= self._limits.topics_max:
            self._routes.clear()
        rows = self.readings.frames[partition_of(source.device_id, self._topics.partitions)].rows
        interval_us = self._limits.ends_after_s(source.kind, source.device_id) * US_PER_S
        chances = CHANCES if form.alike and not interval_us else 0
        route = self._routes[publish[1]] = _Route(source, form.decode, rows, chances, interval_us)
        return route

    def _take_vehicle(self, form: VehicleFormat, topic: str, publish: Publish, now: int) -> None:
        if publish[4] & RETAIN or len(publish[2]) > self._limits.payload_bytes_max:
            raise _unwanted(publish)
        row: tuple[Any, ...] = form.decode(topic, publish[2], now)
        event_time = row[_EVENT_TIME]
        if not now - self._limits.event_age_us_max <= event_time <= now + self._limits.event_ahead_us_max:
            raise _outside(event_time, now)
        partition = partition_of(row[_ROUTE] or row[_VEHICLE], self._topics.partitions)
        self.vehicles.frames[partition].rows.append(row)
        self.received["vehicles"] += 1

    def _learn(self, route: _Route, measure: str, train: Train) -> int:
        """The id of a series that this topic has not had yet; announced when the world does not know it."""
        source = route.source
        quantity, channel = split_measure(measure)
        series, announcement = self._series.learn(source.device_id, source.kind, quantity, channel, train.receive_time)
        if announcement is not None:
            self._hand_out(
                Record(
                    self._topics.series,
                    0,
                    str(series).encode(),
                    announcement,
                    headers(Content.SERIES),
                    str(Content.SERIES),
                    1,
                    train.receive_time,
                    [train],
                )
            )
        route.series[measure] = series
        return series

    def _refuse(self, publish: Publish, train: Train, error: Exception, source: Source | None) -> None:
        """One dead letter with the original bytes, and word to the device."""
        _, topic, payload, properties, _ = publish
        if not isinstance(error, PoisonError):
            self._log.error("decoder failed", topic=_shown(topic), exc_info=error)
            error = PoisonError(Reason.BAD_RECORD, f"the decoder failed: {type(error).__name__}")
        detail = error.detail[:DETAIL_MAX]
        self.refused[error.reason] += 1
        device = source.device_id if source else ""
        known = {"device": device} if device else {}
        self._hand_out(
            Record(
                self._topics.deadletters,
                0,
                device.encode(),
                payload,
                headers(
                    Content.DEADLETTER,
                    reason=error.reason,
                    detail=detail.encode("utf-8", "backslashreplace").decode(),
                    source="mqtt",
                    mqtt_topic=_shown(topic),
                    time=iso(train.receive_time),
                    **known,
                ),
                str(Content.DEADLETTER),
                1,
                train.receive_time,
                [train],
            )
        )
        if source is not None and source.answers:
            seq = _SEQ.search(payload)
            refusal = Refusal(reason=error.reason, detail=detail, seq=int(seq[1]) if seq else None)
            self._receipts.refuse(source.answers, properties, refusal)

    def _hand_out(self, record: Record) -> None:
        for train in record.trains:
            train.waiting += 1
        self._out.append(record)


def _topic(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise PoisonError(Reason.BAD_ENCODING, "the topic is not UTF-8") from error


def _shown(topic: bytes) -> str:
    return topic.decode("utf-8", "backslashreplace")


def _unwanted(publish: Publish) -> PoisonError:
    if publish[4] & RETAIN:
        return PoisonError(Reason.RETAINED, "the broker kept it: it is not news")
    return PoisonError(Reason.TOO_LARGE, f"{len(publish[2])} bytes")


def _outside(event_time: int, now: int) -> PoisonError:
    """The event time cannot be true; most often seconds and milliseconds were confused."""
    away = (event_time - now) // US_PER_S
    if away < 0:
        return PoisonError(Reason.TIME_PAST, f"{-away} s ago")
    return PoisonError(Reason.TIME_FUTURE, f"{away} s ahead")
