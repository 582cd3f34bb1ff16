"""neighbour_rows: whether stations of one compound disagree with those around them, as rows

A row is a function of what a station and its neighbours said of a slot and of those before it; its revision is how
often one of these came or changed. What came before a station was moved to where it stands does not count.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from pulssi.air_classes import FINNISH_LIMITS
from pulssi.quality import Quality
from streams.air.sites import Sites
from streams.air.slots import Slots
from streams.quality.health import Health
from streams.quality.neighbours import (
    DEVIATIONS,
    NEIGHBOURS_MIN,
    PAST,
    departures,
    far,
    median_of_neighbours,
    neighbours_within,
)

FLOORS: Final = {compound: limits[0] / 2 for compound, limits in FINNISH_LIMITS.items()}
"""Least difference that is too far, ug/m3: half of what the class "good" of the Finnish index spans."""


class Judged(NamedTuple):
    """What is said of some stations, arrays of the same length.

    Attributes:
        station: its number.
        health: class of `streams.quality.health`.
        mean: how much further it is from its neighbours than usual, ug/m3; NaN = not known.
        n: neighbours that have a value.
        flags: NEIGHBOUR or none.
        revision: how often something that was looked at came or changed, from 0 on.
        receive_time: newest that went in, us.
    """

    station: np.ndarray
    health: np.ndarray
    mean: np.ndarray
    n: np.ndarray
    flags: np.ndarray
    revision: np.ndarray
    receive_time: np.ndarray


def near(sites: Sites, radius_m: float) -> np.ndarray:
    """Which stations are neighbours, bool [stations, stations]; none where a place is not known."""
    return neighbours_within(sites.lat, sites.lon, radius_m)


def waits(slots: Slots, around: np.ndarray, slot: int) -> np.ndarray:
    """Stations a neighbour of which is still to speak of a slot, as it has of the one before, bool [stations]."""
    missing = slots.heard(slot - 1) & ~slots.heard(slot)
    return np.asarray((around & missing).any(axis=1))


def judge(
    slots: Slots, around: np.ndarray, sites: Sites, slot: int, *, slot_us: int, chosen: np.ndarray, compound: str
) -> Judged:
    """What is to be said of those `chosen` (bool) that have spoken of a slot and have enough neighbours that have."""
    heard = slots.heard(slot)
    station = np.flatnonzero(chosen & heard & (around @ heard.astype(np.int64) >= NEIGHBOURS_MIN))
    first = slot - PAST
    mean, changes, receive_time = slots.past(first, slot + 1)
    elsewhere = np.arange(first, slot + 1) * slot_us < sites.since[:, None]
    mean[elsewhere], changes[elsewhere], receive_time[elsewhere] = np.nan, 0, 0
    beside = around[station]
    departure = departures(mean[station] - median_of_neighbours(mean, beside), PAST)
    flags = far(departure, DEVIATIONS, FLOORS[compound])[:, -1]
    value = departure.value[:, -1]
    health = np.where(np.isnan(value), Health.UNKNOWN, np.where(flags & Quality.NEIGHBOUR, Health.NEIGHBOUR, Health.OK))
    own, newest = changes.sum(axis=1), receive_time.max(axis=1)
    return Judged(
        station,
        health,
        value,
        beside @ (~np.isnan(mean[:, -1])).astype(np.int64),
        flags,
        own[station] + beside @ own - 1,
        np.maximum(newest[station], np.where(beside, newest, 0).max(axis=1, initial=0)),
    )
