"""HSL high-frequency positioning v2: one vehicle event a message

Topic `/hfp/v2/<journey_type>/<temporal_type>/<event>/<mode>/<operator>/<vehicle>/<route>/<direction>/<headsign>/
<start>/<next_stop>/<geohash_level>/<geohash>[/<sid>]`; those of deadrun and signoff end after the vehicle. Identity
(vehicle, route, direction, event) is the topic's. HSL's `dl` is negative when late; our `delay_s` is positive.
Source: Digitransit, High-frequency positioning, 2026.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ingest.decoders.base import VehicleEvent, VehicleFormat
from ingest.decoders.strict_json import check_text, check_unique, refusal
from ingest.decoders.times import iso_us
from pulssi.errors import PoisonError, Reason
from pulssi.series import hash64
from pulssi.times import US_PER_S

JOURNEYS = frozenset({"journey", "deadrun", "signoff"})
MODES = frozenset({"bus", "tram", "train", "ferry", "metro", "ubus", "robot"})
ARRIVALS = frozenset({"due", "arr", "ars"})
"""Events at a stop that are measured against the scheduled arrival."""
DEPARTURES = frozenset({"pde", "dep", "pas", "wait"})
"""Events at a stop that are measured against the scheduled departure."""
EVENTS = ARRIVALS | DEPARTURES | {"vp", "doo", "doc", "tlr", "tla", "da", "dout", "ba", "bout", "vja", "vjout"}
DELAY_S_MAX = 86_400
"""A journey is not a day late: such a number is left out."""
_LEVELS_VEHICLE = 9
_LEVELS_JOURNEY = 16

_Text = Annotated[str, msgspec.Meta(max_length=64)]


class _Event(msgspec.Struct, gc=False):
    """The fields that we keep, as HSL defines them; what nobody knows is passed over."""

    veh: int
    tst: _Text | None = None
    desi: _Text | None = None
    dir: Literal["1", "2"] | None = None
    oper: int | None = None
    spd: float | None = None  # -1 where the vehicle does not know
    hdg: Annotated[float, msgspec.Meta(ge=0, le=360)] | None = None
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    long: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    dl: Annotated[int, msgspec.Meta(ge=-(2**31) + 1, le=2**31 - 1)] | None = None
    odo: float | None = None
    drst: Literal[0, 1] | None = None
    oday: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    stop: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    occu: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    tlp_request: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = msgspec.field(name="tlp-requestid", default=None)
    ttarr: _Text | None = None
    ttdep: _Text | None = None


_Scalar = int | float | str | bool | None
_decode = msgspec.json.Decoder(dict[str, dict[str, _Scalar]]).decode


def decode(topic: str, payload: bytes, receive_time: int) -> VehicleEvent:
    """The event of one message, in the order of `pulssi.frames.VEHICLES`.

    Raises:
        PoisonError: what is wrong with topic or payload.
    """
    levels = topic.split("/")
    _check_topic(levels)
    name = levels[5]
    event = _read(payload, name.upper())
    if str(event.veh) != levels[8].lstrip("0"):
        raise PoisonError(Reason.BAD_DEVICE_ID, "the payload names another vehicle than the topic")
    if event.tst is None:
        raise PoisonError(Reason.NO_TIME, "tst is missing")
    if (event.lat is None) != (event.long is None):
        raise PoisonError(Reason.BAD_SCHEMA, "half a position")
    time = iso_us(event.tst)
    in_journey = levels[3] == "journey"
    route, direction, headsign, start, next_stop = levels[9:14] if in_journey else ("", "", "", "", "")
    for text in (event.desi or "", headsign, next_stop):
        check_text(text)
    scheduled = _scheduled(event, name) if in_journey else None
    return (
        hash64(topic.encode() + b"\x00" + payload),
        f"{levels[7]}/{levels[8]}",
        levels[6] if levels[6] in MODES else None,
        levels[3],
        name,
        route or None,
        int(direction) if direction else None,
        event.desi or None,
        headsign or None,
        f"{route}/{direction}/{event.oday}/{start}" if in_journey and event.oday else None,
        event.stop,
        next_stop or None,
        event.lat,
        event.long,
        event.spd if event.spd is not None and event.spd >= 0 else None,
        event.hdg,
        event.drst,
        event.occu,
        event.odo,
        _delay_s(event, time, scheduled) if in_journey and levels[4] == "ongoing" else None,  # upcoming: not on its way
        scheduled,
        time,
        receive_time,
    )


def _check_topic(levels: list[str]) -> None:
    """Refuse a topic of another shape.

    Raises:
        PoisonError: too short, an unknown kind of journey or event, or a direction that is not 1 or 2.
    """
    if len(levels) < _LEVELS_VEHICLE or levels[3] not in JOURNEYS:
        raise PoisonError(Reason.BAD_TOPIC, "not a topic of HFP v2")
    if levels[5] not in EVENTS:
        raise PoisonError(Reason.BAD_TOPIC, f"there is no event {levels[5][:32]!r}")
    if not (levels[7].isascii() and levels[7].isdigit() and levels[8].isascii() and levels[8].isdigit()):
        raise PoisonError(Reason.BAD_DEVICE_ID, "operator and vehicle are numbers")
    if levels[3] == "journey" and (len(levels) < _LEVELS_JOURNEY or levels[10] not in ("1", "2", "")):
        raise PoisonError(Reason.BAD_TOPIC, "a journey has route, direction, headsign, start and next stop")


def _read(payload: bytes, event: str) -> _Event:
    """The object under the one key, which is the event of the topic.

    Raises:
        PoisonError: what is wrong with it.
    """
    try:
        outer = _decode(payload)
        if list(outer) != [event]:
            raise PoisonError(Reason.BAD_SCHEMA, f"not one object under the key {event}")
        inner = outer[event]
        found = msgspec.convert(inner, _Event)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise refusal(payload, error) from error
    check_unique(payload, 2 + 2 * len(inner) + 2 * sum(type(value) is str for value in inner.values()))
    return found


def _scheduled(event: _Event, name: str) -> int | None:
    """When the event should have been, us UTC; None for events that belong to no stop."""
    if name in ARRIVALS:
        text = event.ttarr or event.ttdep
    elif name in DEPARTURES:
        text = event.ttdep or event.ttarr
    else:
        text = None
    return None if text is None else iso_us(text)


def _delay_s(event: _Event, time: int, scheduled: int | None) -> int | None:
    """Delay in whole seconds, positive = late: against the timetable at a stop, else what the vehicle says."""
    if scheduled is not None:
        delay = round((time - scheduled) / US_PER_S)
    elif event.dl is not None:
        delay = -event.dl
    else:
        return None
    return delay if abs(delay) <= DELAY_S_MAX else None


FORMATS = (VehicleFormat("hfp", "/hfp/v2/#", decode),)
