"""bands: between which delays a visit is on time; each band is a series of its own"""

from __future__ import annotations

from typing import NamedTuple

from pulssi.settings import StreamsSettings


class Band(NamedTuple):
    """One band of delay, both ends included.

    Attributes:
        channel: of its series, `<earliest>:<latest>`; None for the one that on-time means when nobody says more.
        early_s: earliest, negative = early.
        late_s: latest.
    """

    channel: str | None
    early_s: int
    late_s: int


def bands(settings: StreamsSettings) -> tuple[Band, ...]:
    """The band of `on_time_s`, then those of `on_time_bands_s`."""
    further = (Band(f"{early}:{late}", early, late) for early, late in dict.fromkeys(settings.on_time_bands_s))
    return (Band(None, *settings.on_time_s), *further)
