"""series identity: a pure function of names, without coordination"""

from __future__ import annotations

import re

import numpy as np
import xxhash

DEVICE_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
CHANNEL = re.compile(r"[A-Za-z0-9_.:-]{1,32}")
_SEPARATOR = "\x1f"
_SIGN = 1 << 63


def is_device_id(text: str) -> bool:
    """Whether `text` is an allowed device id: 1 to 64 of letters, digits and `_.:-`."""
    return DEVICE_ID.fullmatch(text) is not None


def hash64(data: bytes) -> int:
    """xxh3-64 of bytes as a signed 64-bit integer, as PostgreSQL and Arrow store it."""
    unsigned = xxhash.xxh3_64_intdigest(data)
    return unsigned - (unsigned & _SIGN) * 2


def series_id(device_id: str, quantity: str, channel: str | None = None) -> int:
    """The signed 64-bit id of one series.

    Args:
        device_id: an allowed device id.
        quantity: a word of the vocabulary (`pulssi.quantities`).
        channel: tells several sensors of one quantity on one device apart.
    """
    parts = (device_id, quantity) if channel is None else (device_id, quantity, channel)
    return hash64(_SEPARATOR.join(parts).encode())


def partition_of(key: str, partitions: int) -> int:
    """The partition of a device, route or vehicle: the same in every process and on every machine."""
    return xxhash.xxh3_64_intdigest(key.encode()) % partitions


def partitions_of(keys: np.ndarray, partitions: int) -> np.ndarray:
    """`partition_of` for an object or string array of keys; int32 of the same length."""
    return np.fromiter((partition_of(key, partitions) for key in keys), np.int32, len(keys))
