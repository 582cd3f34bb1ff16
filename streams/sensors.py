"""sensors: which devices are low-cost, how each is corrected and which reference it is held against; read from TOML

A device that the file does not name measures with a reference instrument, or nobody has said otherwise.
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pulssi.errors import ConfigurationError
from pulssi.messages import SeriesInfo
from pulssi.series import hash64, is_device_id
from pulssi.times import US_PER_S
from streams.air.calibration import METHODS
from streams.air.channels import CHECKED, PARTICLES

_ALWAYS = (-(1 << 62), 1 << 62)


def _method(text: str) -> str:
    if text not in METHODS:
        raise ValueError(f"there is no correction {text!r}; there is {', '.join(METHODS)}")
    return text


def _device(text: str) -> str:
    if not is_device_id(text):
        raise ValueError(f"{text!r} is no device id")
    return text


def _us(time: AwareDatetime | None, otherwise: int) -> int:
    return otherwise if time is None else int(time.timestamp()) * US_PER_S


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Calibration(_Part):
    """One correction of the PM2.5 of a sensor, and when it holds."""

    method: Annotated[str, AfterValidator(_method)]
    """A key of `streams.air.calibration.METHODS`."""
    valid_from: AwareDatetime | None = None
    """First second at which it holds; always when empty."""
    valid_to: AwareDatetime | None = None
    """First second at which it holds no more; for ever when empty."""

    @property
    def interval(self) -> tuple[int, int]:
        """[from, to) in us UTC."""
        return _us(self.valid_from, _ALWAYS[0]), _us(self.valid_to, _ALWAYS[1])


class Sensor(_Part):
    """Low-cost sensors of one kind."""

    device: Annotated[str, Field(min_length=1, max_length=64)]
    """Shell pattern of device ids, such as `pa-*`; of several that match, the first counts."""
    calibration: tuple[Calibration, ...] = ()
    """Corrections, none at the same time as another."""
    reference: Annotated[str, AfterValidator(_device)] | None = None
    """Device id of the reference station that it is held against; the nearest one when empty."""

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Sensor:
        intervals = sorted(one.interval for one in self.calibration)
        if any(start >= end for start, end in intervals):
            raise ValueError("calibration: valid_to is not after valid_from")
        if any(before[1] > after[0] for before, after in pairwise(intervals)):
            raise ValueError("calibration: two corrections hold at the same time")
        return self

    def method_at(self, time: int) -> str | None:
        """The correction that holds at `time` (us UTC), None when there is none."""
        for one in self.calibration:
            start, end = one.interval
            if start <= time < end:
                return one.method
        return None


class Sensors:
    """The low-cost sensors of the city, none when `sensors` is empty."""

    def __init__(self, sensors: tuple[Sensor, ...] = ()) -> None:
        self._sensors = sensors
        self._of: dict[str, Sensor | None] = {}

    def of(self, device_id: str) -> Sensor | None:
        """What is said of a device; None = it measures with a reference instrument."""
        if device_id not in self._of:
            matching = (one for one in self._sensors if fnmatchcase(device_id, one.device))
            self._of[device_id] = next(matching, None)
        return self._of[device_id]

    def supersedes(self, info: SeriesInfo) -> bool:
        """Whether a series is particles of a low-cost sensor as it gave them, of which the checked series counts."""
        raw = info.quantity in PARTICLES and info.channel != CHECKED
        return raw and self.of(info.device_id) is not None

    @property
    def fingerprint(self) -> int:
        """The same for the same sensors; what was made of other ones is no state to go on from."""
        return hash64("\n".join(one.model_dump_json() for one in self._sensors).encode())

    def __bool__(self) -> bool:
        return bool(self._sensors)


def load_sensors(path: Path | None) -> Sensors:
    """Low-cost sensors from a TOML file of [[sensor]] tables; none without a path.

    Raises:
        ConfigurationError: every problem of every table.
    """
    if path is None:
        return Sensors()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # unreadable, not UTF-8 or not TOML
        raise ConfigurationError(f"{path}: {error}") from error
    given = content.get("sensor", [])
    if content.keys() - {"sensor"} or not isinstance(given, list):
        raise ConfigurationError(f"{path}: sensors are written as [[sensor]], and nothing else is known")
    found: list[Sensor] = []
    problems: list[str] = []
    for number, table in enumerate(given, start=1):
        try:
            found.append(Sensor.model_validate(table))
        except ValidationError as error:
            name = table.get("device", f"number {number}") if isinstance(table, dict) else f"number {number}"
            for one in error.errors():
                where = "".join(f"{part}: " for part in one["loc"])
                problems.append(f"{path}: sensor {name}: {where}{one['msg'].removeprefix('Value error, ')}")
    names = [one.device for one in found]
    problems += [f"{path}: sensor {name} is there twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise ConfigurationError(problems)
    return Sensors(tuple(found))
