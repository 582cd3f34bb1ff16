"""tracks: which vehicles have vanished or stand still, judged every `STEP_S` of the partition's clock

A vehicle is heard when an event newer than all before it comes. Whoever is on a journey and is not heard while others
are, has vanished; silence of all counts for nobody, since that may be ours. Time of silence is time of receipt. Steps
are judged `lateness_s_max` after their end, from the set of events received in them: neither order nor repetition
within that bound can be seen in the result, and what is told is never revised.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pyarrow as pa

from pulssi.frames import Indicators
from pulssi.messages import SeriesInfo
from pulssi.quantities import Kind
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.transit.entities import us
from streams.transit.sightings import COLUMNS, NONE, UNITS_PER_DEGREE, Names, Sighting, no_sightings, sightings
from streams.transit.track_rows import STATES, Step, route_rows, vehicle_rows

STEP_S = 30
"""Length of a step."""
SEEN_S_MIN = 60
"""A journey shorter than this so far may be a mistake of the driver or of the system; its end is missed by nobody."""
_STEP_US = STEP_S * US_PER_S
_M_PER_UNIT = 6_371_008.8 * np.pi / 180 / UNITS_PER_DEGREE
"""Metres of a unit of latitude on a sphere of the Earth's mean radius."""


class Track(IntEnum):
    """Rows of the matrix of vehicles, int64 of shape (14, vehicles)."""

    NEWEST = 0  # us UTC, time of the newest event
    NEWEST_ID = 1
    RECEIVED = 2  # us UTC
    ROUTE = 3  # number, -1 out of service
    TRIP = 4
    JOINED = 5  # us UTC, first event of this trip
    LAT = 6  # where it began to stand
    LON = 7
    SINCE = 8  # us UTC since when it has not moved, NONE where it does or is excused
    UNTIL = 9  # us UTC when it was last seen there
    SILENT = 10  # steps in which only others were heard
    TOLD_ROUTE = 11  # of the last step
    TOLD_VANISHED = 12  # 1 where it had
    TOLD_STANDING = 13  # 1 where it did


def _no_tracks(count: int = 0) -> np.ndarray:
    tracks = np.full((len(Track), count), NONE)
    tracks[[Track.ROUTE, Track.TOLD_ROUTE]] = -1
    tracks[[Track.SILENT, Track.TOLD_VANISHED, Track.TOLD_STANDING]] = 0
    return tracks


class Tracks:
    """Vehicles of one partition and what was last seen of each.

    Args:
        settings: limits of silence and of standing.

    Attributes:
        refused: events of vehicles beyond `settings.series_max`.
    """

    def __init__(self, settings: StreamsSettings) -> None:
        self._names_max = settings.series_max
        self._lateness_us, self._horizon_us = us(settings.lateness_of(Kind.TRANSIT)), us(settings.horizon_s)
        self._silent_steps = -(-settings.vanished_after_s // STEP_S)
        self._given_up_us = self._horizon_us + us(settings.vanished_after_s)
        self._standing_us, self._radius_m = us(settings.standing_after_s), settings.standing_radius_m
        self._vehicles, self._routes = Names(), Names()
        self._tracks = _no_tracks()
        self._waiting: list[pa.RecordBatch] = []
        self._pending = no_sightings()
        self._next = 0
        self.refused = 0

    def add(self, batch: pa.RecordBatch, clock: int) -> None:
        """Take all events of a frame; those beyond the horizon are passed over."""
        fresh = batch.column("event_time").to_numpy() >= clock - self._horizon_us
        if fresh.any():
            batch = batch.select(COLUMNS)
            self._waiting.append(batch if fresh.all() else batch.filter(pa.array(fresh)))

    def settle(self, clock: int, position: int) -> tuple[list[Indicators], list[SeriesInfo]]:
        """Judge the steps that are over; their rows, and descriptions of series that begin to say something.

        Args:
            clock: newest receive time that was read, us UTC.
            position: offset of the record that is being worked on.
        """
        end = (clock - self._lateness_us) // _STEP_US
        if end <= self._next:
            return [], []
        self._absorb()
        step = np.maximum(self._pending[Sighting.RECEIVE_TIME] // _STEP_US, self._next)
        rows: list[Indicators] = []
        infos: list[SeriesInfo] = []
        for number in np.unique(step[step < end]).tolist():
            news = self._news(self._pending[:, step == number])
            if news.shape[1]:
                self._follow(news)
                window = Step(number * _STEP_US, STEP_S, int(news[Sighting.RECEIVE_TIME].max()), position)
                found, described = self._judge(window)
                rows, infos = rows + found, infos + described
        self._pending, self._next = self._pending[:, step >= end], end
        self._forget(end * _STEP_US)
        return rows, infos

    def _absorb(self) -> None:
        """Turn the events that wait into numbers, all at once."""
        if not self._waiting:
            return
        batch = pa.concat_batches(self._waiting)
        self._waiting = []
        found = sightings(batch, self._vehicles, self._routes, self._names_max)
        self.refused += batch.num_rows - found.shape[1]
        self._pending = np.concatenate((self._pending, found), axis=1)
        more = _no_tracks(len(self._vehicles) - self._tracks.shape[1])
        self._tracks = np.concatenate((self._tracks, more), axis=1)

    # -- following vehicles

    def _news(self, rows: np.ndarray) -> np.ndarray:
        """Each event once, if it is newer than all before of its vehicle; by vehicle and time."""
        rows = rows[:, np.lexsort((rows[Sighting.RECEIVE_TIME], rows[Sighting.ID]))]
        rows = rows[:, np.unique(rows[Sighting.ID], return_index=True)[1]]
        newest, newest_id = self._tracks[[Track.NEWEST, Track.NEWEST_ID]][:, rows[Sighting.VEHICLE]]
        time = rows[Sighting.TIME]
        rows = rows[:, (time > newest) | ((time == newest) & (rows[Sighting.ID] > newest_id))]
        return rows[:, np.lexsort((rows[Sighting.ID], rows[Sighting.TIME], rows[Sighting.VEHICLE]))]

    def _follow(self, news: np.ndarray) -> None:
        """Take the first event of each vehicle, then the second, and so on."""
        vehicle = news[Sighting.VEHICLE]
        starts = np.flatnonzero(np.r_[True, np.diff(vehicle) != 0])
        rank = np.arange(len(vehicle)) - np.repeat(starts, np.diff(np.r_[starts, len(vehicle)]))
        ends = np.cumsum(np.bincount(rank))
        for one in np.split(news[:, np.argsort(rank, kind="stable")], ends[:-1], axis=1):
            self._move(one)
        self._tracks[Track.SILENT] += 1
        self._tracks[Track.SILENT, vehicle] = 0

    def _move(self, event: np.ndarray) -> None:
        """One event each of some vehicles."""
        vehicle, time = event[Sighting.VEHICLE], event[Sighting.TIME]
        old = self._tracks[:, vehicle]
        new = old.copy()
        new[Track.NEWEST], new[Track.NEWEST_ID] = time, event[Sighting.ID]
        new[Track.RECEIVED] = event[Sighting.RECEIVE_TIME]
        new[Track.ROUTE], new[Track.TRIP] = event[Sighting.ROUTE], event[Sighting.TRIP]
        same = (new[[Track.ROUTE, Track.TRIP]] == old[[Track.ROUTE, Track.TRIP]]).all(axis=0)
        goes_on = same & (event[Sighting.ROUTE] >= 0)
        new[Track.JOINED] = np.where(goes_on, old[Track.JOINED], time)
        stood = goes_on & (old[Track.SINCE] != NONE)
        excused = (event[Sighting.ROUTE] < 0) | (event[Sighting.EXCUSED] > 0)
        placed = ~excused & (event[Sighting.LAT] != NONE)
        stays = stood & placed & (_metres(old, event, stood & placed) <= self._radius_m)
        begins = placed & ~stays
        for place, seen in ((Track.LAT, Sighting.LAT), (Track.LON, Sighting.LON)):
            new[place] = np.where(begins, event[seen], old[place])
        kept = np.where(stood & ~excused, old[Track.SINCE], NONE)
        new[Track.SINCE] = np.where(begins, time, kept)
        new[Track.UNTIL] = np.where(placed, time, old[Track.UNTIL])
        self._tracks[:, vehicle] = new

    # -- judging

    def _judge(self, step: Step) -> tuple[list[Indicators], list[SeriesInfo]]:
        """Rows of what is so now, or was in the step before, of vehicles and of their routes."""
        given_up = step.end - self._tracks[Track.RECEIVED] > self._given_up_us
        self._tracks[Track.ROUTE, given_up] = -1
        route, route_before = self._tracks[[Track.ROUTE, Track.TOLD_ROUTE]]
        rows: list[Indicators] = []
        infos: list[SeriesInfo] = []
        columns = (Track.TOLD_VANISHED, Track.TOLD_STANDING)
        for quantities, told, value in zip(STATES, columns, self._states(), strict=True):
            before, now = self._tracks[told] > 0, value > 0
            self._tracks[told] = now
            if not (before | now).any():
                continue
            for found, described in (
                vehicle_rows(quantities[0], self._vehicles.all, before, value, step),
                route_rows(quantities[1], self._routes.all, (route_before, route), (before, now), step),
            ):
                rows.append(found)
                infos += described
        self._tracks[Track.TOLD_ROUTE] = route
        return rows, infos

    def _states(self) -> tuple[np.ndarray, np.ndarray]:
        """1 where a vehicle has vanished; seconds that it has stood, where that is long enough; 0 elsewhere."""
        tracks = self._tracks
        serves, lost = tracks[Track.ROUTE] >= 0, tracks[Track.SILENT] >= self._silent_steps
        seen = tracks[Track.NEWEST] - tracks[Track.JOINED] >= SEEN_S_MIN * US_PER_S
        known = serves & ~lost & (tracks[Track.SINCE] != NONE)
        stood = np.where(known, tracks[Track.UNTIL] - tracks[Track.SINCE], 0)
        stood[stood < self._standing_us] = 0
        return (serves & lost & seen).astype(np.float64), stood / US_PER_S

    def _forget(self, now: int) -> None:
        """Let go of vehicles that nobody has heard of for long and nothing is said about."""
        tracks = self._tracks
        told = (tracks[[Track.TOLD_VANISHED, Track.TOLD_STANDING]] > 0).any(axis=0)
        gone = ~told & (tracks[Track.RECEIVED] < now - self._given_up_us)
        gone[self._pending[Sighting.VEHICLE]] = False
        if not gone.any():
            return
        keep = np.flatnonzero(~gone)
        self._tracks = tracks = tracks[:, keep]
        self._pending[Sighting.VEHICLE] = self._vehicles.keep(keep)[self._pending[Sighting.VEHICLE]]
        held = np.unique(np.r_[tracks[Track.ROUTE], tracks[Track.TOLD_ROUTE], self._pending[Sighting.ROUTE]])
        renamed = self._routes.keep(held[held >= 0])
        for column in (Track.ROUTE, Track.TOLD_ROUTE):
            tracks[column] = renamed[tracks[column]]
        self._pending[Sighting.ROUTE] = renamed[self._pending[Sighting.ROUTE]]

    # -- snapshots

    def state(self) -> tuple[list[int], list[str], dict[str, np.ndarray]]:
        """Numbers, names and arrays for a snapshot."""
        self._absorb()
        numbers = [self._next, self.refused, len(self._vehicles)]
        return numbers, self._vehicles.all + self._routes.all, {"tracks": self._tracks, "sightings": self._pending}

    def restore(self, numbers: list[int], names: list[str], arrays: dict[str, np.ndarray]) -> None:
        """Become what `state` said."""
        self._next, self.refused, vehicles = numbers
        self._vehicles, self._routes = Names(names[:vehicles]), Names(names[vehicles:])
        self._tracks, self._pending = arrays["tracks"], arrays["sightings"]


def _metres(a: np.ndarray, b: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Distance of short ways, from `Track.LAT` and `LON` of `a` to those of sightings `b`; 0 outside `which`."""
    north = np.where(which, b[Sighting.LAT] - a[Track.LAT], 0) * _M_PER_UNIT
    parallel = np.cos(np.where(which, a[Track.LAT], 0) * (np.pi / 180 / UNITS_PER_DEGREE))
    return np.hypot(north, np.where(which, b[Sighting.LON] - a[Track.LON], 0) * _M_PER_UNIT * parallel)
