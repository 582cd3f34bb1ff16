"""SenML JSON (RFC 8428): base fields, resolved names and times, units

Our extension: `seq` numbers a record and stays in force, like a base field, until the next one. Names resolve to
`<device>:<measure>` or `<device>/<measure>`, or to the measure alone, where the device is that of the topic, alone or
as the end of a URN. A relative time (below 2^28) is refused: each delivery would make it another reading.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, TypedDict

import msgspec

from ingest.decoders.base import SEQ_MAX, SEQ_NONE, Reading, Source, split_measure
from ingest.decoders.strict_json import read, refusal
from ingest.decoders.units import SAME, conversion
from pulssi.errors import PoisonError, Reason
from pulssi.quantities import QUANTITIES
from pulssi.times import US_PER_S

VERSION = 10
"""The version of SenML that RFC 8428 describes."""
RELATIVE_BELOW = 2**28
"""Times below are seconds from now (RFC 8428, section 4.5.3)."""
_TIME_MAX = 1e11
_NAMES_MAX = 1 << 16


class Record(TypedDict, total=False):
    """The fields of RFC 8428 and our `seq`."""

    bn: str
    bt: float
    bu: str
    bv: float
    bs: float
    bver: int
    n: str
    u: str
    v: float
    vs: str
    vb: bool
    vd: str
    s: float
    t: float
    ut: float
    seq: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]


_BASE_ONLY = frozenset({"bn", "bt", "bu", "bv", "bs", "bver", "seq"})

_decode = msgspec.json.Decoder(list[Record]).decode


def decode(source: Source, payload: bytes, receive_time: int) -> list[Reading]:  # noqa: ARG001  no relative times
    """Readings of one pack, in its order.

    Raises:
        PoisonError: what is wrong with it.
    """
    try:
        records = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal(payload, error) from error
    rows: list[Reading] = []
    base_name = base_unit = ""
    base_time = base_value = 0.0
    seq = SEQ_NONE
    quotes = 0
    for record in records:
        base_name = record.get("bn", base_name)
        base_time = record.get("bt", base_time)
        base_unit = record.get("bu", base_unit)
        base_value = record.get("bv", base_value)
        seq = record.get("seq", seq)
        quotes += 2 * (len(record) + ("bn" in record) + ("bu" in record) + ("n" in record) + ("u" in record))
        value = record.get("v")
        if value is None or "vs" in record or "vb" in record or "vd" in record:
            _no_number(record)
            continue
        if "bver" in record and record["bver"] > VERSION:
            raise PoisonError(Reason.BAD_SCHEMA, f"version {record['bver']} of SenML is not known")
        time = base_time + record.get("t", 0.0)
        if not RELATIVE_BELOW <= time < _TIME_MAX:
            raise _bad_time(time)
        measure, factor, offset = _resolve(
            base_name + record.get("n", ""), record.get("u", base_unit), source.device_id
        )
        value = (value + base_value) * factor + offset
        if not math.isfinite(value):
            raise PoisonError(Reason.NOT_FINITE, f"{measure} is too large")
        rows.append((measure, round(time * US_PER_S), value, seq))
    if payload.count(b'"') != quotes:
        _check_unknown(payload)
    if not rows:
        raise PoisonError(Reason.NO_READING, "a pack without a value")
    return rows


@lru_cache(maxsize=_NAMES_MAX)
def _resolve(name: str, unit: str, device_id: str) -> tuple[str, float, float]:
    """Measure, factor and offset of a resolved name and unit.

    Raises:
        PoisonError: another device, an unknown quantity, or a unit of something else.
    """
    measure, prefix = _cut(name)
    if prefix and prefix != device_id and not prefix.endswith((f":{device_id}", f"/{device_id}")):
        raise PoisonError(Reason.BAD_DEVICE_ID, f"the name belongs to another device than {device_id}")
    quantity, _ = split_measure(measure)
    factor, offset = conversion(quantity, unit) if unit else SAME
    return measure, factor, offset


def _cut(name: str) -> tuple[str, str]:
    """The measure at the end of a resolved name, and the device before it (empty when the name has none)."""
    head, colon, tail = name.rpartition(":")
    if colon and "/" not in tail:
        return tail, head
    parts = name.split("/")
    for back in (1, 2):  # quantity, or quantity/channel
        quantity = parts[-back].rpartition(":")[2] if len(parts) >= back else ""
        if quantity in QUANTITIES:
            measure = "/".join([quantity, *parts[len(parts) - back + 1 :]])
            return measure, name[: len(name) - len(measure)].rstrip(":/")
    return name, ""


def _no_number(record: Record) -> None:
    """Accept a record of base fields only; anything else must hold one number.

    Raises:
        PoisonError: text, a boolean, data, a sum, several values or none.
    """
    if not record.keys() <= _BASE_ONLY:
        raise PoisonError(Reason.BAD_SCHEMA, "a record holds exactly one value, and that is a number v")


def _bad_time(time: float) -> PoisonError:
    if time < RELATIVE_BELOW:
        return PoisonError(Reason.NO_TIME, "a time relative to the delivery would differ at each delivery")
    return PoisonError(Reason.BAD_TIME, f"{time} is no time in seconds")


def _check_unknown(payload: bytes) -> None:
    """Pass fields that nobody knows, but not one that must be understood (RFC 8428, section 4.4), nor one given twice.

    Raises:
        PoisonError: there is such a field.
    """
    for record in read(payload):
        for name in record:
            if name.endswith("_"):
                raise PoisonError(Reason.BAD_SCHEMA, f"{name[:64]!r} must be understood and is not known")
