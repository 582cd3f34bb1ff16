"""what is known of each series: the topic `pulssi.series` as a table in memory"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from pulssi.logs import Log
from pulssi.messages import SeriesInfo
from pulssi.metrics import Metrics
from pulssi.shell.compacted import CompactedTopic

_READ_AGAIN_S = 0.05


class SeriesTopic:
    """Gives every description of `pulssi.series`, in order, to `add`; only while `read_to_end` runs."""

    def __init__(
        self, bootstrap: str, topic: str, add: Callable[[SeriesInfo], None], metrics: Metrics, log: Log
    ) -> None:
        self._decoder = msgspec.json.Decoder(SeriesInfo)
        self._add = add
        self._metrics = metrics
        self._log = log
        self._source = CompactedTopic(bootstrap, topic, self._take, log)

    def read_to_end(self) -> None:
        """Read on until the end that the topic has now; waits while Kafka is away."""
        self._source.read_to_end()

    def _take(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            return
        try:
            self._add(self._decoder.decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._metrics.error("bad_series")
            self._log.error("bad_series", key=key.decode(errors="replace"), error=str(error))


class SeriesDirectory:
    """Descriptions by id, read on when one is asked for that is not here, at most every 50 ms."""

    def __init__(self, bootstrap: str, topic: str, metrics: Metrics, log: Log) -> None:
        self._infos: dict[int, SeriesInfo] = {}
        self._source = SeriesTopic(bootstrap, topic, self._add, metrics, log)
        self._read_at = -_READ_AGAIN_S

    def get(self, series_id: int) -> SeriesInfo | None:
        """The description of a series, None while nobody has given it."""
        info = self._infos.get(series_id)
        if info is None and time.monotonic() - self._read_at >= _READ_AGAIN_S:
            self._source.read_to_end()
            self._read_at = time.monotonic()
            info = self._infos.get(series_id)
        return info

    def _add(self, info: SeriesInfo) -> None:
        self._infos[info.series_id] = info
