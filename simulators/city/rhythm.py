"""the rhythm of the city: how much traffic there is at a time of day and of the week, and what the weather does"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import holidays
import numpy as np

from pulssi.times import US_PER_S, us_datetime
from simulators.city.noise import key_of, smooth

HELSINKI: Final = ZoneInfo("Europe/Helsinki")
_HOUR_US: Final = 3600 * US_PER_S
_YEAR_US: Final = 365.2425 * 24 * _HOUR_US
_MORNING_H, _EVENING_H, _MIDDAY_H = 8.0, 16.5, 13.0


@cache
def _hour(count: int) -> tuple[float, bool]:
    """Local hour of day at the start of an hour since 1970, and whether that day is one of rest."""
    local = us_datetime(count * _HOUR_US).astimezone(HELSINKI)
    return local.hour + local.minute / 60, local.weekday() >= 5 or local.date() in _holidays(local.year)


@cache
def _holidays(year: int) -> holidays.HolidayBase:
    return holidays.country_holidays("FI", years=year)


def local_hours(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local hour of day (0 to 24, with its fraction) and whether it is a weekend or public holiday."""
    counts, where = np.unique(times // _HOUR_US, return_inverse=True)
    known = [_hour(int(count)) for count in counts]
    hours = np.array([hour for hour, _ in known])[where] + times % _HOUR_US / _HOUR_US
    return hours % 24, np.array([rest for _, rest in known])[where]


def _bell(hours: np.ndarray, centre: float, width: float) -> np.ndarray:
    away = (hours - centre + 12) % 24 - 12
    return np.asarray(np.exp(-0.5 * (away / width) ** 2))


def traffic_level(times: np.ndarray, tide: np.ndarray | float = 0.0) -> np.ndarray:
    """Demand as a share of a street's capacity, about 0.05 at night and 0.95 in the rush.

    Args:
        times: us UTC.
        tide: -1 .. 1, how much more a direction carries in the morning than in the evening.
    """
    hours, rest = local_hours(times)
    morning, evening = _bell(hours, _MORNING_H, 1.1) * (1 + tide), _bell(hours, _EVENING_H, 1.5) * (1 - tide)
    work = 0.05 + 0.5 * morning + 0.5 * evening + 0.4 * _bell(hours, _MIDDAY_H, 3.6)
    free = 0.05 + 0.5 * _bell(hours, 14.5, 4.0)
    return np.where(rest, free, work)


@dataclass(frozen=True, slots=True)
class Weather:
    """Weather of the whole city at some times."""

    temperature: np.ndarray  # Cel
    humidity: np.ndarray  # %RH
    wind_speed: np.ndarray  # m/s
    pressure: np.ndarray  # hPa
    rain_rate: np.ndarray  # mm/h

    @property
    def dispersion(self) -> np.ndarray:
        """How much more a source weighs in the air than on a day of mean wind: calm air keeps it."""
        return np.clip(1.7 - self.wind_speed / 7, 0.5, 1.7)


def weather(seed: int, times: np.ndarray) -> Weather:
    """The weather: seasons, days and fronts of some hours; us UTC."""
    hours, _ = local_hours(times)
    season = -np.cos(2 * np.pi * (times % _YEAR_US / _YEAR_US - 0.05))
    day = np.cos(2 * np.pi * (hours - 15) / 24)
    front = smooth(key_of(seed, "front"), times, 36 * 3600)
    wind = 4 + 1.6 * smooth(key_of(seed, "wind"), times, 4 * 3600) + 0.5 * smooth(key_of(seed, "gust"), times, 120)
    rain = np.maximum(smooth(key_of(seed, "rain"), times, 2 * 3600) - 1, 0) * 3
    return Weather(
        temperature=6.5 + 11.5 * season + (2 + 1.5 * season) * day + 2.5 * front,
        humidity=np.clip(78 - 10 * season - 9 * day + 6 * front + 8 * (rain > 0), 15, 100),
        wind_speed=np.clip(wind, 0.3, 25),
        pressure=1011 - 9 * front,
        rain_rate=rain,
    )
