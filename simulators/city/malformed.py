"""bad input of every kind that a broker lets through, each with the reasons for which it may be refused

Not here, because no client can send it past a broker: `+`, `#` and NUL in topics, invalid UTF-8 in a topic. Retained
messages are refused only when the broker hands them out later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, NamedTuple

from pulssi.errors import Reason
from pulssi.times import US_PER_MS, US_PER_S, iso
from simulators.messages import Message


class Bad(NamedTuple):
    """One kind of bad input: its name, topic and payload of a device at a time in us UTC, and the reasons that fit."""

    name: str
    topic: str
    payload: Callable[[int], str | bytes]
    reasons: tuple[Reason, ...]


_OWN = "pulssi/v1/air/{device}/readings"
_HFP = "/hfp/v2/journey/ongoing/vp/bus/0012/07999/4400/1/Vantaankoski/12:00/1130110/5/60;24/19/72/15"


def _ms(time: int) -> int:
    return time // US_PER_MS


def _hfp(time: int, **changed: object) -> str:
    fields = {"desi": "400", "dir": "1", "oper": 12, "veh": 7999, "tst": iso(time), "tsi": time // US_PER_S}
    fields |= {"spd": 4.0, "hdg": 274, "lat": 60.17, "long": 24.92, "dl": 0, "route": "4400", "stop": None}
    return json.dumps({"VP": {**fields, **changed}})


KINDS: Final = (
    Bad("not json", _OWN, lambda t: f"pm2_5=7.1 {t}", (Reason.BAD_JSON,)),
    Bad("cut short", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":1', (Reason.BAD_JSON,)),
    Bad("nan", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":NaN}}', (Reason.NOT_FINITE,)),
    Bad("infinity", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":-Infinity}}', (Reason.NOT_FINITE,)),
    Bad("1e999", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":1e999}}', (Reason.NOT_FINITE,)),
    Bad("5000 digits", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":{"9" * 5000}}}', (Reason.NOT_FINITE,)),
    Bad("duplicate key", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":1,"no2":2}}', (Reason.DUPLICATE_KEY,)),
    Bad("deep", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":{"[" * 5000}{"]" * 5000}}}', (Reason.TOO_DEEP,)),
    Bad("deep without end", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":{"[" * 100_000}', (Reason.TOO_DEEP,)),
    Bad("lone surrogate", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":1,"\\ud800":1}}', (Reason.BAD_ENCODING,)),
    Bad("not utf-8", _OWN, lambda t: b'{"t":%d,"no2":1,"\xff\xfe":2}' % _ms(t), (Reason.BAD_ENCODING,)),
    Bad(
        "control character",
        _OWN,
        lambda t: f'{{"t":"{iso(t)}\\u0000","no2":1}}',
        (Reason.CONTROL_CHARACTER, Reason.BAD_TIME),
    ),
    Bad("number as text", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":"18"}}', (Reason.BAD_SCHEMA,)),
    Bad("unknown quantity", _OWN, lambda t: f'{{"t":{_ms(t)},"phlogiston":1}}', (Reason.UNKNOWN_QUANTITY,)),
    Bad("no time", _OWN, lambda t: f'{{"no2":{t % 1000}.{t}}}', (Reason.NO_TIME,)),
    Bad("time without zone", _OWN, lambda t: f'{{"t":"{iso(t)[:-1]}","no2":1}}', (Reason.BAD_TIME,)),
    Bad("seconds taken for ms", _OWN, lambda t: f'{{"t":{t // US_PER_S},"no2":1.{t}}}', (Reason.TIME_PAST,)),
    Bad("us taken for ms", _OWN, lambda t: f'{{"t":{t},"no2":1}}', (Reason.TIME_FUTURE, Reason.BAD_TIME)),
    Bad("no reading", _OWN, lambda t: f'{{"t":{_ms(t)}}}', (Reason.NO_READING,)),
    Bad("too large", _OWN, lambda t: f'{{"t":{_ms(t)},"no2":1{" " * (300 << 10)}}}', (Reason.TOO_LARGE,)),
    Bad(
        "names another device",
        _OWN,
        lambda t: f'{{"t":{_ms(t)},"no2":1,"device":"fmi-000000"}}',
        (Reason.BAD_DEVICE_ID,),
    ),
    Bad("no device", "pulssi/v1/air//readings", lambda t: f'{{"t":{_ms(t)},"no2":1}}', (Reason.BAD_DEVICE_ID,)),
    Bad(
        "device with a space",
        "pulssi/v1/air/a b/readings",
        lambda t: f'{{"t":{_ms(t)},"no2":1}}',
        (Reason.BAD_DEVICE_ID,),
    ),
    Bad("no such kind", "pulssi/v1/luck/{device}/readings", lambda t: f'{{"t":{_ms(t)},"no2":1}}', (Reason.BAD_TOPIC,)),
    Bad("senml with relative time", _OWN, lambda t: f'[{{"n":"no2","v":1.{t},"t":-5}}]', (Reason.NO_TIME,)),
    Bad(
        "senml in another unit",
        _OWN,
        lambda t: f'[{{"n":"no2","u":"Cel","v":1,"t":{t / US_PER_S}}}]',
        (Reason.UNIT_MISMATCH,),
    ),
    Bad("hfp without time", _HFP, lambda t: _hfp(t, tst=None), (Reason.NO_TIME,)),
    Bad("hfp without zone", _HFP, lambda t: _hfp(t, tst=iso(t)[:-1]), (Reason.BAD_TIME,)),
    Bad("hfp of another vehicle", _HFP, lambda t: _hfp(t, veh=7998), (Reason.BAD_DEVICE_ID,)),
    Bad("hfp without such an event", _HFP.replace("/vp/", "/fly/"), _hfp, (Reason.BAD_TOPIC,)),
    Bad("hfp with text for a number", _HFP, lambda t: _hfp(t, lat="60.17"), (Reason.BAD_SCHEMA,)),
    Bad(
        "tms with text for a number",
        "tms-v2/99999/5122",
        lambda t: f'{{"value":"81","time":{t // US_PER_S},"end":{t}}}',
        (Reason.BAD_SCHEMA,),
    ),
    Bad(
        "tms without number",
        "tms-v2/station/5122",
        lambda t: f'{{"value":81,"time":{t // US_PER_S},"end":{t}}}',
        (Reason.BAD_TOPIC,),
    ),
)
"""Every kind; each payload holds the time, so that no two planted ones are alike."""


def malformed(kind: int, device: str, time: int) -> Message:
    """One bad message of a device; `kind` counts through `KINDS` and begins again."""
    bad = KINDS[kind % len(KINDS)]
    payload = bad.payload(time)
    data = payload if isinstance(payload, bytes) else payload.encode("utf-8", "surrogatepass")
    topic = bad.topic.format(device=device).encode()
    return Message(time, device, topic, data, refusals=bad.reasons, fault=f"malformed: {bad.name}")
