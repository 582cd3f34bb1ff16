"""health: what is to be thought of a sensor, as the classes of the series `sensor_health`"""

from __future__ import annotations

from enum import IntEnum


class Health(IntEnum):
    """Value and class of a row of `sensor_health`; -1 where too little was heard to say anything."""

    UNKNOWN = -1
    OK = 0
    HUMID = 1  # air so humid that droplets count as particles
    CHANNELS = 2  # the channels of the device disagree
    NEIGHBOUR = 3  # it disagrees with the stations around it
    DRIFT = 4  # it moves away from its reference
