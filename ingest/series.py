"""which series the world knows: each is announced once on the compacted topic, and two names never share an id"""

from __future__ import annotations

from pulssi.errors import PoisonError, Reason
from pulssi.geography import Places
from pulssi.messages import SeriesInfo, to_json
from pulssi.quantities import QUANTITIES, Kind
from pulssi.series import hash64, series_id

_Names = tuple[str, str, str | None]


class SeriesRegistry:
    """Series announced so far, as two fingerprints each: of the names, and of all that was said.

    Bounded: over `series_max` the oldest is forgotten, which costs one more announcement when it comes back.
    """

    def __init__(self, places: Places, series_max: int) -> None:
        self._places = places
        self._series_max = series_max
        self._known: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def load(self, info: SeriesInfo) -> None:
        """Remember what the topic says already."""
        self._remember(info, to_json(info))

    def learn(
        self, device_id: str, kind: Kind, quantity: str, channel: str | None, now: int
    ) -> tuple[int, bytes | None]:
        """The id of a series, and its announcement (JSON) when the topic does not have it in these words.

        Raises:
            PoisonError: another series has the same id.
        """
        key = series_id(device_id, quantity, channel)
        known = self._known.get(key)
        if known is not None and known[0] != _fingerprint((device_id, quantity, channel)):
            raise PoisonError(Reason.SERIES_COLLISION, f"{device_id} {quantity} has the id of another series, {key}")
        place = self._places.at(device_id, now)
        info = SeriesInfo(
            series_id=key,
            device_id=device_id,
            quantity=quantity,
            channel=channel,
            unit=QUANTITIES[quantity].unit,
            kind=kind,
            name=place.name if place else None,
            lat=place.lat if place else None,
            lon=place.lon if place else None,
            district=place.district if place else None,
        )
        announcement = to_json(info)
        if known is not None and known[1] == hash64(announcement):
            return key, None
        self._remember(info, announcement)
        return key, announcement

    def _remember(self, info: SeriesInfo, said: bytes) -> None:
        names = (info.device_id, info.quantity, info.channel)
        self._known[info.series_id] = (_fingerprint(names), hash64(said))
        if len(self._known) > self._series_max:
            del self._known[next(iter(self._known))]


def _fingerprint(names: _Names) -> int:
    """Of the names, independent of the hash that is the id."""
    return hash64(b"names\x00" + repr(names).encode())
