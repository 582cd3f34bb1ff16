"""processor: the pure core of one partition of `pulssi.vehicles`: delays, on-time share, headways, forecasts, tracks

Every record is worked on by itself, so that the rows are the same however records are batched. The clock is the newest
receive time that was read; it decides who is silent and what is too old, and is never the clock of this machine. Once
in a second of it visits at stops are made and windows given out, so that vehicles whose minute is over share the work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pulssi.errors import PoisonError
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.partitions import Output, Record
from pulssi.quantities import Kind
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from pulssi.topics import Topics
from streams.outputs import dead_letter, descriptions, frames
from streams.transit import events as vehicle_events
from streams.transit import snapshot as snapshots
from streams.transit.bands import bands
from streams.transit.board import Board
from streams.transit.entities import Entities, us
from streams.transit.events import AHEAD_S_MAX, Events
from streams.transit.service import Service
from streams.transit.service_rows import empty_rows, fill_statistics, on_time_rows
from streams.transit.store import (
    DELAY_S,
    EVENT_ID,
    EVENT_TIME,
    RECEIVE_TIME,
    ROUTE,
    VEHICLE,
    Store,
)
from streams.transit.tracks import Tracks
from streams.transit.visits import Visit
from streams.transit.windows import delays

_BEAT_US = US_PER_S


class TransitProcessor:
    """What the events of vehicles mean for vehicles, routes and stops; implements `pulssi.partitions.Processor`.

    Args:
        partition: number of the partition, of the source and of the indicators.
        settings: windows, lateness, band of on-time, limits of silence and standing.
        topics: names of the topics.
        snapshot: what `snapshot()` returned, or None for a new state.

    Raises:
        PoisonError: the snapshot is of another version or other settings, or is damaged.
    """

    def __init__(
        self,
        partition: int,
        settings: StreamsSettings,
        topics: Topics,
        snapshot: bytes | None = None,
    ) -> None:
        self._partition = partition
        self._topics = topics
        self._entities_max = settings.series_max
        self._bands = bands(settings)
        self._channels = tuple(band.channel for band in self._bands)
        self._pane_us = us(settings.pane_s)
        self._lateness_us, self._idle_us = us(settings.lateness_of(Kind.TRANSIT)), us(settings.idle_s)
        self._horizon_us = us(settings.horizon_s)
        self._lengths = np.array([length // settings.pane_s for length in sorted(settings.windows_s)])
        covered_us = self._horizon_us + us(AHEAD_S_MAX) + int(self._lengths.max()) * self._pane_us
        self._board = Board(covered_us // self._pane_us + 3, self._lengths)
        self._entities = Entities(self._channels)
        self._store = Store()
        self._service = Service(settings)
        self._tracks = Tracks(settings)
        self._clock = 0
        self._pruned = 0
        self._infos: list[SeriesInfo] = []
        self._counts = {"events": 0, "late": 0, "duplicates": 0}
        windows = (settings.pane_s, settings.windows_s, settings.service_window_s, settings.service_step_s)
        states = (settings.vanished_after_s, settings.standing_after_s, settings.standing_radius_m)
        self._meaning = repr((windows, settings.horizon_s, self._bands, states)).encode()
        if snapshot is not None:
            self._restore(snapshot)

    def process(self, records: Sequence[Record]) -> list[Output]:
        """Take records in offset order and return what follows from them."""
        outputs: list[Output] = []
        rows: list[Indicators] = []
        for record in records:
            try:
                batch, clock = vehicle_events.read(record.value)
            except PoisonError as error:
                outputs.append(self._dead_letter(record, error))
                continue
            beat = clock // _BEAT_US > self._clock // _BEAT_US
            rows += self._advance(clock, record.offset)
            self._counts["events"] += batch.num_rows
            self._counts["late"] += int(np.count_nonzero(self._is_late(batch.column("event_time").to_numpy())))
            self._take(vehicle_events.with_delay(batch))
            self._tracks.add(batch, self._clock)
            rows += self._judge(record.offset)
            if beat:
                rows += self._settle(record.offset)
                rows += self._due_rows(self._progress(), record.offset)
        return outputs + self._described() + self._frames(rows)

    def tick(self, now: int) -> list[Output]:
        """Windows of what has fallen silent; `now` in us UTC."""
        rows = self._settle(-1) if now - self._clock > self._idle_us else []
        rows += self._due_rows(self._entities.silent(max(now, self._clock), self._idle_us), -1)
        return self._described() + self._frames(rows)

    def noted(self) -> dict[str, int]:
        """What was made of the events, by kind; implements `pulssi.partitions.Counting`."""
        refused = {"vehicles_without_state": self._tracks.refused, "stops_without_state": self._service.refused}
        return {**self._counts, **refused}

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        numbers, names, arrays = self._service.state()
        track_numbers, track_names, track_arrays = self._tracks.state()
        own = [self._clock, self._pruned, self._board.first, len(self._entities), len(names)]
        return snapshots.encode(
            self._meaning,
            [*own, *track_numbers, *numbers],
            self._entities.names + names + track_names,
            {
                "newest": self._entities.newest,
                "received": self._entities.received,
                "route": self._entities.route,
                "changed": self._board.changed,
                "revision": self._board.revision,
                "rows": self._store.all(),
                **arrays,
                **track_arrays,
            },
        )

    def _restore(self, snapshot: bytes) -> None:
        numbers, names, arrays = snapshots.decode(self._meaning, snapshot)
        self._clock, self._pruned, self._board.first, entities, subjects = numbers[:5]
        self._tracks.restore(numbers[5:8], names[entities + subjects :], arrays)
        self._service.restore(numbers[8:], names[entities : entities + subjects], arrays)
        self._entities = Entities(self._channels, names[:entities])
        for column in ("newest", "received", "route"):
            setattr(self._entities, column, arrays[column])
        self._board.changed, self._board.revision = arrays["changed"], arrays["revision"]
        rows = arrays["rows"]
        self._store.fill(rows, rows[EVENT_TIME] // self._pane_us)

    # -- taking events

    def _take(self, events: Events) -> None:
        """Put new events in their panes, and describe series that come up for the first time."""
        events = events.take(~self._is_late(events.event_time))
        if len(events) == 0:
            return
        self._service.add(events)
        known = len(self._entities)
        used = np.unique(np.r_[events.vehicle, events.route[events.route >= 0]])
        index = np.full(len(events.names) + 1, -1, np.int64)
        index[used] = self._entities.index([events.names[one] for one in used.tolist()])
        self._board.grow(len(self._entities))
        rows = np.stack(
            (
                events.event_id,
                events.event_time,
                events.receive_time,
                events.delay_s,
                index[events.vehicle],
                index[events.route],
            ),
        )
        pane = events.event_time // self._pane_us
        new = self._store.add(rows, pane)
        self._counts["duplicates"] += len(pane) - len(new)
        if len(new):
            self._note(rows[:, new], pane[new])
        self._infos += [info for one in range(known, len(self._entities)) for info in self._entities.describe(one)]

    def _is_late(self, event_time: np.ndarray) -> np.ndarray:
        return np.asarray(event_time < self._clock - self._horizon_us)

    def _note(self, rows: np.ndarray, pane: np.ndarray) -> None:
        """Progress of vehicles, and the windows that new rows change."""
        vehicle, route = rows[VEHICLE], rows[ROUTE]
        self._entities.seen(vehicle, route, rows[EVENT_TIME], rows[RECEIVE_TIME])
        for number in np.unique(pane).tolist():
            inside = pane == number
            touched = np.unique(np.r_[vehicle[inside], route[inside]])
            self._board.mark(number, touched[touched >= 0])

    def _advance(self, clock: int, position: int) -> list[Indicators]:
        """Move the clock; rows of the windows that a long silence of all has completed."""
        self._clock = max(self._clock, clock)
        first = (self._clock - self._horizon_us) // self._pane_us
        if first <= self._board.first:
            return []
        rows = self._settle(position) + self._due_rows(self._progress(), position)
        self._forget(first)
        if self._service.overdue(self._clock):
            self._service.forget(self._clock)
        return rows

    def _settle(self, position: int) -> list[Indicators]:
        """Make visits of the events at stops, and mark the windows of their routes; rows of forecasts."""
        changes = self._service.settle()
        if changes is None:
            return []
        names = [self._service.name(one) for one in changes.route.tolist()]
        entity, pane = self._entities.find(names), changes.time_s * US_PER_S // self._pane_us
        for number in np.unique(pane).tolist():
            touched = np.unique(entity[pane == number])
            self._board.mark(number, touched[touched >= 0])
        rows, infos = self._service.foresee(changes, self._clock, position)
        self._infos += infos
        return rows

    def _forget(self, first: int) -> None:
        """Let go of what no late event can change any more, and of vehicles and routes that are long gone."""
        self._board.move(first)
        longest = int(self._lengths.max())
        self._store.drop_before(first - longest)
        if first - self._pruned < longest and len(self._entities) <= self._entities_max:
            return
        self._pruned = first
        rows = self._store.all()
        held = np.unique(rows[[VEHICLE, ROUTE]])
        live = np.flatnonzero(self._entities.received >= self._clock - self._horizon_us)
        routes = self._entities.route[live]
        keep = np.unique(np.r_[held[held >= 0], live, routes[routes >= 0]])
        if len(keep) < len(self._entities):
            self._board.keep(keep)
            self._store.rename(self._entities.keep(keep))

    # -- giving out windows

    def _judge(self, position: int) -> list[Indicators]:
        """Rows of vehicles that have vanished or stand still."""
        rows, infos = self._tracks.settle(self._clock, position)
        self._infos += infos
        return rows

    def _progress(self) -> np.ndarray:
        return self._entities.progress(self._clock, self._idle_us)

    def _due_rows(self, progress: np.ndarray, position: int) -> list[Indicators]:
        """Rows of the windows that are complete now, or were and have changed."""
        names, idle = self._entities.names, self._clock - self._idle_us
        routes = {names[one]: int(progress[one]) for one in np.flatnonzero(self._entities.is_route).tolist()}
        service, infos = self._service.due(self._service.progress(routes, idle), position)
        self._infos += infos
        return service + self._due_delays(progress, position)

    def _due_delays(self, progress: np.ndarray, position: int) -> list[Indicators]:
        due = self._board.due((progress - self._lateness_us) // self._pane_us)
        if len(due) == 0:
            return []
        revision = self._board.give_out(due)
        place = due[:, 0] * len(self._lengths) + due[:, 2]
        found = []
        for one in np.unique(place).tolist():
            chosen = place == one
            end, which = divmod(one, len(self._lengths))
            found += self._window(end, int(self._lengths[which]), due[chosen, 1], revision[chosen], position)
        return found

    def _window(
        self,
        end: int,
        length: int,
        entity: np.ndarray,
        revision: np.ndarray,
        position: int,
    ) -> list[Indicators]:
        """Rows of one window of some entities."""
        rows = self._store.between(end - length, end)
        wanted = np.full(len(self._entities) + 1, -1, np.int64)
        wanted[entity] = revision
        found = []
        for column in (VEHICLE, ROUTE):
            mine = rows[:, wanted[rows[column]] >= 0]
            if mine.shape[1]:
                found.append(self._delay_rows(mine[column], mine, wanted))
        found += self._on_time_rows(entity[self._entities.is_route[entity]], end - length, end, wanted)
        for one in found:
            one.window_start[:] = (end - length) * self._pane_us
            one.window_s[:] = length * self._pane_us // US_PER_S
            one.position[:] = position
        return found

    def _delay_rows(self, key: np.ndarray, rows: np.ndarray, revision: np.ndarray) -> Indicators:
        groups = delays(key, rows[DELAY_S], rows[EVENT_TIME], rows[EVENT_ID], rows[RECEIVE_TIME])
        found = fill_statistics(groups)
        found.series_id[:] = self._entities.delay_series[groups.key]
        found.kind[:], found.completeness[:], found.revision[:] = IndicatorKind.DELAY, 1.0, revision[groups.key]
        return found

    def _on_time_rows(self, routes: np.ndarray, first: int, end: int, revision: np.ndarray) -> list[Indicators]:
        """Rows of the visits in the panes [first, end) of some routes; n 0 where there are none any more."""
        number = np.array([self._service.number(self._entities.names[route]) for route in routes.tolist()], np.int64)
        routes, number = routes[number >= 0], number[number >= 0]
        visits = self._service.visits(number)
        pane = visits[Visit.TIME] * US_PER_S // self._pane_us
        visits = visits[:, (pane >= first) & (pane < end)]
        entity = dict(zip(number.tolist(), routes.tolist(), strict=True))
        key = np.array([entity[one] for one in visits[Visit.ROUTE].tolist()], np.int64)
        gone = empty_rows(np.setdiff1d(routes[revision[routes] > 0], key))
        rows = []
        for which, band in enumerate(self._bands):
            found = Indicators.concat([on_time_rows(key, visits, band), gone])
            route = found.position
            found.series_id[:] = self._entities.on_time_series[route, which]
            found.kind[:], found.completeness[:], found.revision[:] = IndicatorKind.ON_TIME, 1.0, revision[route]
            rows.append(found)
        return rows

    # -- outputs

    def _frames(self, rows: list[Indicators]) -> list[Output]:
        if not rows:
            return []
        return frames(self._topics.indicators, self._partition, Indicators.concat(rows), kinds="window")

    def _described(self) -> list[Output]:
        infos, self._infos = self._infos, []
        return descriptions(self._topics, infos)

    def _dead_letter(self, record: Record, error: PoisonError) -> Output:
        return dead_letter(self._topics, self._topics.vehicles, self._partition, record, error, self._clock)
