"""series_filter: which series a backtest is about, as patterns `DEVICE/QUANTITY[/CHANNEL]`"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pulssi.errors import ConfigurationError
from pulssi.messages import AlertTransition, SeriesInfo

_PARTS_MAX = 3


class SeriesFilter:
    """Shell patterns of which one must match; none lets everything through.

    Raises:
        ConfigurationError: every pattern that is not of this form.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = [tuple(pattern.split("/")) for pattern in patterns]
        wrong = [one for one in self._patterns if not 1 < len(one) <= _PARTS_MAX or not all(one)]
        if wrong:
            raise ConfigurationError([f"--series: {'/'.join(one)!r} is not DEVICE/QUANTITY[/CHANNEL]" for one in wrong])

    def matches(self, info: SeriesInfo) -> bool:
        """Whether a series is meant; a pattern without channel means all of them."""
        names = (info.device_id, info.quantity, info.channel or "")
        return not self._patterns or any(all(map(fnmatchcase, names, pattern)) for pattern in self._patterns)

    def matches_alert(self, transition: AlertTransition, info: SeriesInfo | None) -> bool:
        """Whether a step is of a series that is meant; a silence is of its device."""
        if info is not None:
            return self.matches(info)
        return not self._patterns or any(fnmatchcase(transition.device_id, pattern[0]) for pattern in self._patterns)


def name_of(info: SeriesInfo) -> str:
    """A series as its pattern would name it."""
    return "/".join(filter(None, (info.device_id, info.quantity, info.channel)))
