"""network: air quality stations beside one another, who disagrees with its neighbours, who leaves its reference

Reads the windows of each compound of all stations from `pulssi.groups`. Slots are taken record by record and in order
of time within each, so all that is said is a function of the records, whatever their batches; what is said in the
end does not depend on how the partitions of the readings took turns, as long as none is `LATE_S` behind.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from pulssi.air_classes import COMPOUNDS
from pulssi.errors import PoisonError, Reason
from pulssi.frames import IndicatorKind, Indicators
from pulssi.geography import Places
from pulssi.messages import SeriesInfo
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.air.channels import CHECKED
from streams.air.compound_network import CompoundNetwork, Step
from streams.air.rules import COMPLETENESS_MIN
from streams.blob import pack, unpack
from streams.grouping import starts_of
from streams.groups import Describe, Interest
from streams.sensors import Sensors

VERSION: Final = 1
"""Of the snapshot."""


def _group_of(info: SeriesInfo) -> str | None:
    """Stations of one compound; channels of one device stand beside each other elsewhere."""
    return f"air:{info.quantity}" if info.quantity in COMPOUNDS and info.channel in {None, CHECKED} else None


def interest(settings: StreamsSettings) -> Interest:
    """Windows of each compound of a station, together with those of all others."""
    return Interest(settings.neighbour_window_s, _group_of)


class AirNetwork:
    """The stations whose compounds belong to one partition of `pulssi.groups`; a `streams.groups.Part`.

    Args:
        settings: length of windows, horizon, radius of the neighbourhood, time zone.
        describe: descriptions of series.
        sensors: which devices are low-cost, and which reference each is held against.
        places: where stations stand, and since when.
        snapshot: what `snapshot()` gave, or None.

    Raises:
        PoisonError: the snapshot cannot be read.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        describe: Describe,
        sensors: Sensors,
        places: Places,
        snapshot: bytes | None = None,
    ) -> None:
        self._settings = settings
        self._describe = describe
        self._sensors = sensors
        self._places = places
        self._slot_us = settings.neighbour_window_s * US_PER_S
        self._of: dict[int, tuple[str, int] | None] = {}
        self._compounds: dict[str, CompoundNetwork] = {}
        if snapshot is not None:
            self._restore(snapshot)

    @property
    def too_late(self) -> int:
        """Windows that came too late to be put beside those of others."""
        return sum(one.too_late for one in self._compounds.values())

    def take(self, rows: Indicators) -> tuple[Indicators, list[SeriesInfo]]:
        """Take windows in order of position, among other rows.

        Returns:
            AIR_INDEX rows of `sensor_health` in order of position, and descriptions of series that come up first.
        """
        wanted = (rows.window_s == self._settings.neighbour_window_s) & (rows.kind == IndicatorKind.WINDOW)
        at = np.flatnonzero(wanted & (rows.window_start % self._slot_us == 0))
        found = [self._find(one) for one in rows.series_id[at].tolist()]
        ours = np.array([one is not None for one in found], np.bool_)
        at = at[ours]
        if len(at) == 0:
            return Indicators.empty(), []
        known = [one for one in found if one is not None]
        compound = np.array([COMPOUNDS.index(name) for name, _station in known])
        station = np.array([number for _name, number in known])
        slot = rows.window_start[at] // self._slot_us
        position, revision = rows.position[at], rows.revision[at]
        order = np.lexsort((revision, station, slot, compound, position))
        last = np.ones(len(order), np.bool_)  # of several revisions in one record the newest
        columns = [column[order] for column in (position, compound, slot, station)]
        last[:-1] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        order = order[last]
        chosen = rows.take(at[order])
        complete = (chosen.n > 0) & (chosen.completeness >= COMPLETENESS_MIN)
        mean = np.where(complete, chosen.mean, np.nan)
        bounds = starts_of(position[order], compound[order], slot[order]).tolist()
        parts, infos = [Indicators.empty()], []
        for first, stop in pairwise([*bounds, len(order)]):
            part = slice(first, stop)
            step = Step(
                int(slot[order[first]]),
                int(position[order[first]]),
                station[order[part]],
                mean[part],
                chosen.revision[part],
                chosen.receive_time[part],
            )
            said, described = self._compounds[COMPOUNDS[int(compound[order[first]])]].take(step)
            parts += said
            infos += described
        return Indicators.concat(parts), infos

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        facts: dict[str, int | str | list[int]] = {
            "compounds": " ".join(self._compounds),
            "sensors": self._sensors.fingerprint,
            "window_s": self._settings.neighbour_window_s,
            "horizon_s": self._settings.horizon_s,
        }
        arrays: dict[str, np.ndarray] = {}
        for name, one in self._compounds.items():
            own_facts, own_arrays = one.state()
            facts |= {f"{name}.{key}": value for key, value in own_facts.items()}
            arrays |= {f"{name}.{key}": array for key, array in own_arrays.items()}
        return pack(VERSION, facts, arrays)

    def _restore(self, snapshot: bytes) -> None:
        facts, arrays = unpack(snapshot, VERSION)
        shape = (self._sensors.fingerprint, self._settings.neighbour_window_s, self._settings.horizon_s)
        if shape != (facts["sensors"], facts["window_s"], facts["horizon_s"]):
            raise PoisonError(Reason.BAD_RECORD, "a snapshot made with other sensors or settings")
        for name in str(facts["compounds"]).split():
            own = f"{name}."
            for one in arrays[f"{own}ids"].tolist():
                self._find(one)
            self._compounds[name].fill(
                {key.removeprefix(own): fact for key, fact in facts.items() if key.startswith(own)},
                {key.removeprefix(own): array for key, array in arrays.items() if key.startswith(own)},
            )

    def _find(self, one: int) -> tuple[str, int] | None:
        """Compound and number of the station of a series, None when it is not compared."""
        if one not in self._of:
            info = self._describe(one)
            if info is None:
                return None  # asked again when it comes again
            self._of[one] = self._placed(info)
        return self._of[one]

    def _placed(self, info: SeriesInfo) -> tuple[str, int] | None:
        if _group_of(info) is None or self._sensors.supersedes(info):
            return None
        name = info.quantity
        if name not in self._compounds:
            self._compounds[name] = CompoundNetwork(name, self._settings, self._sensors, self._places)
        return name, self._compounds[name].add(info)
