"""road weather stations in Digitraffic's format; their numbers are none of real stations"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec
import numpy as np

from pulssi.series import series_id
from pulssi.times import US_PER_S
from simulators.city.noise import keys_of, smooth
from simulators.city.rhythm import weather
from simulators.city.sample import Sample
from simulators.messages import Message, Reading

SENSORS: Final = {
    "temperature": 1,
    "road_temperature": 3,
    "dew_point": 9,
    "wind_speed": 16,
    "wind_gust": 17,
    "humidity": 19,
}
"""Sensor ids ILMA, TIE_1, KASTEPISTE, KESKITUULI, MAKSIMITUULI, ILMAN_KOSTEUS."""
_NUMBERS: Final = (990_001, 990_002)


class RoadWeather:
    """The road weather stations of the city."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.devices = [f"rws-{number}" for number in _NUMBERS]
        self._keys = keys_of(seed, "road weather", self.devices)

    def samples(self, devices: np.ndarray, times: np.ndarray) -> Iterator[Sample]:
        """All sensors at some stations and times, equally long."""
        air = weather(self._seed, times)
        place = smooth(self._keys[devices], times, 1800)
        temperature = air.temperature + 0.8 * place
        values = {
            "temperature": temperature,
            "road_temperature": temperature + 0.6 + place,
            "dew_point": temperature - (100 - air.humidity) / 5,  # Lawrence, BAMS 86 (2005): good above 50 %
            "wind_speed": air.wind_speed,
            "wind_gust": air.wind_speed * 1.6,
            "humidity": air.humidity,
        }
        for row, (device, time) in enumerate(zip(devices.tolist(), times.tolist(), strict=True)):
            measured = {name: round(float(column[row]), 1) for name, column in values.items()}
            yield Sample(time, time, self.devices[device], measured, partial(_encode, _NUMBERS[device]))


def _encode(number: int, sample: Sample) -> list[Message]:
    seconds = sample.event_time // US_PER_S
    return [
        Message(
            sample.send_time,
            sample.device_id,
            f"weather-v2/{number}/{SENSORS[name]}".encode(),
            msgspec.json.encode({"value": value, "time": seconds}),
            readings=(Reading(series_id(sample.device_id, name), seconds * US_PER_S, value),),
            fault=sample.fault,
        )
        for name, value in sample.values.items()
    ]
