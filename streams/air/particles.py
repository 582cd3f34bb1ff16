"""particles: low-cost particle sensors, hour by hour: what their channels agree on, corrected, and what to think of it

All series of a device are in one partition, so what needs no other device is said here: a mean over the channels or
that they disagree, that the air is too humid, and the value after a correction. A row is a function of the hourly
windows of its channels and of the humidity, and its revision is how often one of them came or changed. What the sensor
gave stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from pulssi.air_classes import COMPOUNDS
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.quality import Quality
from pulssi.quantities import QUANTITIES
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.air.calibration import METHODS
from streams.air.channels import CHECKED, PARTICLES, agreed_mean, apart, spread
from streams.air.hours import CONTEXT, KEPT_BEYOND_HORIZON, Describe
from streams.air.rules import COMPLETENESS_MIN
from streams.blob import pack, unpack
from streams.indicator_rows import by_position
from streams.quality.health import Health
from streams.quality.low_cost import humidity_flags
from streams.sensors import Sensor, Sensors

VERSION = 1
"""Of the snapshot."""

HOUR_S = 3600
_HOUR_US = HOUR_S * US_PER_S
_HUMIDITY = "humidity"
_CHANNELS = int(Quality.CHANNELS)
_STATISTICS = ("mean", "min", "max", "std", "last", "p50", "p95", "p99", "value")
_METHODS = tuple(METHODS)
_AS_MEASURED = -1


class _Cell(NamedTuple):
    """What one series says of one hour; `mean` is NaN when too little of it was heard."""

    mean: float
    completeness: float
    revision: int
    n: int
    n_excluded: int
    flags: int
    receive_time: int
    position: int


@dataclass(slots=True)
class _Device:
    """One sensor: its series by quantity, and the hours that are kept, by series."""

    info: SeriesInfo
    sensor: Sensor
    series: dict[str, list[int]] = field(default_factory=dict)
    hours: dict[int, dict[int, _Cell]] = field(default_factory=dict)
    newest: int = -1

    def cells(self, quantity: str, hour: int) -> list[_Cell]:
        """Of each series of a quantity that was heard in an hour, in the order of their ids."""
        heard = self.hours.get(hour, {})
        return [heard[one] for one in sorted(self.series.get(quantity, ())) if one in heard]


class _Point(NamedTuple):
    """One compound of one sensor in one hour."""

    device_id: str
    quantity: str
    hour: int


class ParticleSensors:
    """The low-cost particle sensors of one partition.

    Args:
        settings: horizon.
        sensors: which devices they are, and how they are corrected.
        describe: descriptions of series.
        snapshot: what `snapshot()` gave, or None.

    Raises:
        PoisonError: the snapshot cannot be read.

    Attributes:
        too_late: hours that came too late to be put beside the others of their device.
    """

    def __init__(
        self, settings: StreamsSettings, sensors: Sensors, describe: Describe, snapshot: bytes | None = None
    ) -> None:
        self._kept_hours = -(-settings.horizon_s // HOUR_S) + KEPT_BEYOND_HORIZON - CONTEXT
        self._sensors = sensors
        self._describe = describe
        self._device_of: dict[int, tuple[_Device, str] | None] = {}
        self._devices: dict[str, _Device] = {}
        self._own: dict[int, SeriesInfo] = {}
        self._said: set[int] = set()
        self.too_late = 0
        if snapshot is not None:
            self._restore(snapshot)

    def describe(self, one: int) -> SeriesInfo | None:
        """Description of a series, also of those that come from here."""
        return self._own.get(one) or self._describe(one)

    def take(self, windows: Indicators) -> tuple[Indicators, list[SeriesInfo]]:
        """Take WINDOW rows in order of position, among others; only whole hours that begin at the full hour count.

        Returns:
            WINDOW rows of the checked series and AIR_INDEX rows of their health in order of position, and descriptions
            of series that come up for the first time.
        """
        if not self._sensors:
            return Indicators.empty(), []
        whole = (windows.window_s == HOUR_S) & (windows.kind == IndicatorKind.WINDOW)
        whole &= windows.window_start % _HOUR_US == 0
        rows = windows.take(whole)
        rows = rows.take(np.lexsort((rows.series_id, rows.window_start, rows.position)))
        hours = rows.window_start // _HOUR_US
        touched: set[_Point] = set()
        for row, (one, hour) in enumerate(zip(rows.series_id.tolist(), hours.tolist(), strict=True)):
            ours = self._find(one)
            if ours is not None:
                touched |= self._put(*ours, one, hour, rows, row)
        found = self._rows(sorted(touched))
        for device_id in {point.device_id for point in touched}:
            self._forget(self._devices[device_id])
        return found

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        cells = [
            (one, hour, *cell)
            for device_id in sorted(self._devices)
            for hour, heard in sorted(self._devices[device_id].hours.items())
            for one, cell in sorted(heard.items())
        ]
        arrays: dict[str, np.ndarray] = {
            name: np.array([cell[i] for cell in cells], dtype) for i, (name, dtype) in enumerate(self._dtypes())
        }
        known = sorted(one for one, found in self._device_of.items() if found is not None)
        said = sorted(self._said)
        return pack(VERSION, {}, {**arrays, "known": np.array(known, np.int64), "said": np.array(said, np.int64)})

    @staticmethod
    def _dtypes() -> list[tuple[str, type]]:
        floats = ("mean", "completeness")
        return [(name, np.float64 if name in floats else np.int64) for name in ("series", "hour", *_Cell._fields)]

    def _restore(self, snapshot: bytes) -> None:
        _facts, arrays = unpack(snapshot, VERSION)
        self._said = set(arrays["said"].tolist())
        for one in arrays["known"].tolist():
            self._find(one)
        columns = (arrays[name].tolist() for name, _dtype in self._dtypes())
        for one, hour, *cell in zip(*columns, strict=True):
            found = self._find(one)
            if found is not None:  # a device that is no longer named as low-cost
                found[0].hours.setdefault(hour, {})[one] = _Cell(*cell)
                found[0].newest = max(found[0].newest, hour)

    # Hours in

    def _find(self, one: int) -> tuple[_Device, str] | None:
        """Device and quantity of a series, None when it is none of ours."""
        if one not in self._device_of:
            info = self._describe(one)
            if info is None:
                return None  # asked again when it comes again
            self._device_of[one] = self._placed(one, info)
        return self._device_of[one]

    def _placed(self, one: int, info: SeriesInfo) -> tuple[_Device, str] | None:
        sensor = self._sensors.of(info.device_id)
        if sensor is None or (info.quantity not in PARTICLES and info.quantity != _HUMIDITY):
            return None
        device = self._devices.setdefault(info.device_id, _Device(info, sensor))
        device.series.setdefault(info.quantity, []).append(one)
        if info.quantity in PARTICLES:
            for new in (_described(info, info.quantity, CHECKED), _described(info, "sensor_health", info.quantity)):
                self._own[new.series_id] = new
        return device, info.quantity

    def _put(self, device: _Device, quantity: str, one: int, hour: int, rows: Indicators, row: int) -> set[_Point]:
        """Take one window in; what it touches."""
        if hour < device.newest - self._kept_hours:
            self.too_late += 1
            return set()
        device.newest = max(device.newest, hour)
        heard = device.hours.setdefault(hour, {})
        if one in heard and heard[one].revision > rows.revision[row]:
            return set()
        complete = rows.n[row] > 0 and rows.completeness[row] >= COMPLETENESS_MIN
        heard[one] = _Cell(
            float(rows.mean[row]) if complete else float("nan"),
            float(rows.completeness[row]),
            *(int(getattr(rows, name)[row]) for name in _Cell._fields[2:]),
        )
        touched = PARTICLES if quantity == _HUMIDITY else {quantity}
        return {_Point(device.info.device_id, name, hour) for name in touched}

    def _forget(self, device: _Device) -> None:
        for hour in [hour for hour in device.hours if hour < device.newest - self._kept_hours]:
            del device.hours[hour]

    # Rows out

    def _rows(self, touched: Sequence[_Point]) -> tuple[Indicators, list[SeriesInfo]]:
        parts: list[Indicators] = []
        infos: list[SeriesInfo] = []
        for point in touched:
            device = self._devices[point.device_id]
            channels, humidity = device.cells(point.quantity, point.hour), device.cells(_HUMIDITY, point.hour)
            method = device.sensor.method_at(point.hour * _HOUR_US) if point.quantity == "pm2_5" else None
            if not channels or (method is not None and not humidity):
                continue
            rows = _judged(point, channels, humidity, method)
            rows.series_id[:] = (
                series_id(point.device_id, point.quantity, CHECKED),
                series_id(point.device_id, "sensor_health", point.quantity),
            )
            new = [one for one in rows.series_id.tolist() if one not in self._said]
            infos += [self._own[one] for one in new]
            self._said.update(new)
            parts.append(rows)
        return by_position(parts), infos


def _judged(point: _Point, channels: list[_Cell], humidity: list[_Cell], method: str | None) -> Indicators:
    """The row of the checked series and that of its health, without series ids."""
    means = np.array([[cell.mean] for cell in channels])
    air = agreed_mean(_HUMIDITY, np.array([[cell.mean] for cell in humidity] or [[np.nan]]))
    disagree = bool(apart(point.quantity, means)[0])
    value = agreed_mean(point.quantity, means)
    if method is not None:
        value = METHODS[method](value, air)
    flags = int(humidity_flags(air)[0]) | _CHANNELS * disagree
    for cell in channels:
        flags |= cell.flags
    n = sum(cell.n for cell in channels)
    rows = Indicators.empty(2)
    for name in _STATISTICS:
        getattr(rows, name).fill(np.nan)
    rows.kind[:] = IndicatorKind.WINDOW, IndicatorKind.AIR_INDEX
    rows.window_s[:], rows.window_start[:] = HOUR_S, point.hour * _HOUR_US
    rows.n[:] = 0 if disagree else n
    rows.n_excluded[:] = sum(cell.n_excluded for cell in channels) + n * disagree
    rows.completeness[:] = max(cell.completeness for cell in channels)
    rows.flags[:] = flags
    looked_at = [*channels, *humidity]
    rows.revision[:] = sum(cell.revision + 1 for cell in looked_at) - 1
    rows.receive_time[:] = max(cell.receive_time for cell in looked_at)
    rows.position[:] = max(cell.position for cell in looked_at)
    health = Health.CHANNELS if disagree else Health.HUMID if flags & int(Quality.HUMIDITY) else Health.OK
    if np.isnan(means).all():
        health = Health.UNKNOWN
    rows.mean[:] = value[0], spread(means)[0]
    rows.value[:] = value[0], np.nan if health is Health.UNKNOWN else health
    rows.class_[:] = _AS_MEASURED if method is None else _METHODS.index(method), health
    rows.last[1] = COMPOUNDS.index(point.quantity) if point.quantity in COMPOUNDS else np.nan
    return rows


def _described(base: SeriesInfo, quantity: str, channel: str) -> SeriesInfo:
    known = QUANTITIES[quantity]
    return msgspec.structs.replace(
        base,
        series_id=series_id(base.device_id, quantity, channel),
        quantity=quantity,
        channel=channel,
        unit=known.unit,
        kind=known.kind,
    )
