"""noise meters: many small devices, one reading each, for runs that need a load"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from simulators.city.noise import keys_of, normal, smooth
from simulators.city.rhythm import traffic_level
from simulators.city.sample import Sample
from simulators.messages import Message


class NoiseMeters:
    """`number` noise meters somewhere in the city."""

    def __init__(self, seed: int, number: int) -> None:
        self.devices = [f"noise-{i:05}" for i in range(number)]
        self._keys = keys_of(seed, "sound", self.devices)

    def samples(
        self, devices: np.ndarray, times: np.ndarray, encode: Callable[[Sample], list[Message]]
    ) -> Iterator[Sample]:
        """Sound levels at some meters and times, equally long."""
        keys = self._keys[devices]
        level = 48 + 14 * traffic_level(times) + 4 * smooth(keys, times, 300) + 1.5 * normal(keys, times)
        for device, time, value in zip(devices.tolist(), times.tolist(), np.round(level, 1).tolist(), strict=True):
            yield Sample(time, time, self.devices[device], {"sound_level": value}, encode)
