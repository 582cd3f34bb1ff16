"""air-quality stations: what each measures, and how traffic, harbour, wind and season make its values"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pulssi.geography import Place
from pulssi.times import US_PER_S
from simulators.city.noise import keys_of, normal, smooth
from simulators.city.rhythm import traffic_level, weather


@dataclass(frozen=True, slots=True)
class Site:
    """A kind of surroundings: weight of traffic and of ships there, and what a station measures besides the basics."""

    traffic: float
    ships: float
    more: tuple[str, ...]


STREET = Site(1.0, 0.05, ("no", "black_carbon"))
HARBOUR = Site(0.45, 1.0, ("so2", "black_carbon"))
CITY = Site(0.4, 0.1, ())
SUBURB = Site(0.25, 0.0, ())
WEATHER_MAST = Site(0.3, 0.0, ("temperature", "humidity", "wind_speed", "pressure"))

SITES: Final[dict[str, Site]] = {
    "fmi-100662": CITY,  # Kallio 2
    "fmi-100742": STREET,  # Mannerheimintie
    "fmi-100762": STREET,  # Makelankatu
    "fmi-100803": SUBURB,  # Vartiokyla Huivipolku
    "fmi-106948": HARBOUR,  # Lansisatama 4
    "fmi-106950": SUBURB,  # Pirkkola
    "fmi-107165": SUBURB,  # Paloheina
    "fmi-104105": STREET,  # Toolontulli
    "fmi-104053": HARBOUR,  # Katajanokka 2
    "fmi-101004": WEATHER_MAST,  # Kumpula
    "fmi-105406": HARBOUR,  # Etelasatama
    "fmi-106422": STREET,  # Mechelininkatu
}
BASICS: Final = ("pm2_5", "pm10", "no2", "o3")
EPISODE_STATION: Final = "fmi-100762"
EPISODE_RISE: Final = {"no2": 220.0, "pm10": 170.0, "pm2_5": 70.0}
"""What the planted episode adds at its height, ug/m3."""


@dataclass(frozen=True, slots=True)
class Episode:
    """Bad air at one station: rises, stays, falls; us UTC."""

    start: int
    rise_s: float
    stay_s: float
    fall_s: float

    @property
    def end(self) -> int:
        """When the last of it has gone."""
        return self.start + int((self.rise_s + self.stay_s + self.fall_s) * US_PER_S)

    def height(self, times: np.ndarray) -> np.ndarray:
        """0 .. 1."""
        age_s = (times - self.start) / US_PER_S
        falling = self.rise_s + self.stay_s
        return np.interp(age_s, [0, self.rise_s, falling, falling + self.fall_s], [0, 1, 1, 0], left=0, right=0)


class AirStations:
    """The air-quality stations of the city."""

    def __init__(self, seed: int, places: list[Place], episodes: tuple[Episode, ...] = ()) -> None:
        self.devices = [place.device_id for place in places]
        self.episodes = episodes
        self._seed = seed
        self._sites = [SITES.get(device, CITY) for device in self.devices]
        self._traffic = np.array([site.traffic for site in self._sites])
        self._ships = np.array([site.ships for site in self._sites])
        names = (*BASICS, "no", "so2", "black_carbon", "level")
        self._keys = {name: keys_of(seed, name, self.devices) for name in names}
        self._episode = self.devices.index(EPISODE_STATION) if EPISODE_STATION in self.devices else -1

    def quantities(self, station: int) -> tuple[str, ...]:
        """What the station with this number measures."""
        return (*BASICS, *self._sites[station].more)

    def values(self, stations: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
        """Every quantity at some stations and times, equally long; a station measures only its own `quantities`."""
        air = weather(self._seed, times)
        cars = traffic_level(times) * self._traffic[stations] * (1 + 0.15 * self._slow("level", stations, times, 900))
        ships = self._ships[stations] * np.maximum(self._slow("so2", stations, times, 5400), 0)
        source = np.maximum(cars, 0.02) * air.dispersion
        no2 = 6 + 62 * source + 22 * ships
        regional = np.maximum(5 + 2.5 * smooth(int(self._keys["pm2_5"][0]), times, 8 * 3600), 1) * air.dispersion
        no2, regional = np.maximum(no2, 2), np.maximum(regional, 0.8)
        out = {
            "pm2_5": regional + 5 * source + 3 * ships,
            "pm10": 1.6 * regional + 24 * source / (1 + air.rain_rate) + 4 * ships,
            "no2": no2,
            "o3": np.maximum(74 - 0.75 * no2 + 8 * np.cos(2 * np.pi * (times % 86_400_000_000) / 86_400e6 - 3), 3),
            "no": 0.5 * no2 * source,
            "so2": 1 + 9 * ships,
            "black_carbon": 0.15 + 1.8 * source + 0.6 * ships,
            "temperature": air.temperature,
            "humidity": air.humidity,
            "wind_speed": air.wind_speed,
            "pressure": air.pressure,
        }
        for name in (*BASICS, "no", "so2", "black_carbon"):
            out[name] = out[name] * (1 + 0.05 * self._slow(name, stations, times, 240)) + self._jitter(
                name, stations, times
            )
        for name, rise in EPISODE_RISE.items():
            for episode in self.episodes:
                out[name] = out[name] + rise * episode.height(times) * (stations == self._episode)
        return {
            name: np.round(np.maximum(values, 0) if name != "temperature" else values, 1)
            for name, values in out.items()
        }

    def _slow(self, name: str, stations: np.ndarray, times: np.ndarray, scale_s: float) -> np.ndarray:
        return smooth(self._keys[name][stations], times, scale_s)

    def _jitter(self, name: str, stations: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The noise of the instrument itself, new at every reading."""
        return 0.3 * normal(self._keys[name][stations], times)
