"""stored: what the database holds as the frames that the gateway made of it"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import psycopg
import pyarrow as pa

from pulssi.commands.backtest.core import Frame
from pulssi.errors import ConfigurationError
from pulssi.frames import encode
from pulssi.messages import SeriesInfo
from pulssi.series import partition_of, partitions_of
from pulssi.settings import DatabaseSettings, Settings
from pulssi.times import US_PER_MS, us_datetime
from pulssi.topics import Content
from storage import history, queries
from storage.database import Connection, connect
from streams.catalogue import Catalogue

_SERIES_MAX = 1_000_000
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""What the tables can hold."""


@contextmanager
def open_database(settings: DatabaseSettings) -> Iterator[Connection]:
    """A connection as the reader.

    Raises:
        ConfigurationError: the database does not answer, refuses us, or has no such tables.
    """
    try:
        with connect(settings, "reader") as connection:
            yield connection
    except psycopg.Error as error:
        raise ConfigurationError(f"the database: {error}".strip()) from error


def describe(connection: Connection, catalogue: Catalogue) -> None:
    """Fill a catalogue with the series that the database knows."""
    for one in queries.list_series(connection, limit=_SERIES_MAX):
        names = {name: getattr(one, name) for name in SeriesInfo.__struct_fields__}
        catalogue.add(SeriesInfo(**names))


def reading_frames(
    connection: Connection,
    settings: Settings,
    catalogue: Catalogue,
    wanted: Callable[[SeriesInfo], bool] | None,
    start: int | None,
    end: int | None,
) -> Iterator[Frame]:
    """Readings as the gateway framed them: by partition, closed by number and by time.

    Args:
        connection: of a reader.
        settings: of the gateway and the topics.
        catalogue: series that are not in it are left out.
        wanted: which series to read; all when None.
        start: of event time, us.
        end: of event time, us.
    """
    infos = catalogue.infos()
    chosen = None if wanted is None else [info.series_id for info in infos if wanted(info)]
    partitions = settings.kafka.topics.partitions
    partition = {info.series_id: partition_of(info.device_id, partitions) for info in infos}
    for rows in history.readings(connection, *_bounds(start, end), chosen):
        place = np.fromiter((partition.get(one, -1) for one in rows.series_id.tolist()), np.int64, len(rows))
        for number, at in _frames(place, rows.receive_time, settings):
            if number >= 0:
                yield Frame(Content.READINGS, number, rows.take(at).encode())


def vehicle_frames(connection: Connection, settings: Settings, start: int | None, end: int | None) -> Iterator[Frame]:
    """The same of vehicle events."""
    partitions = settings.kafka.topics.partitions
    for rows in history.vehicle_events(connection, *_bounds(start, end)):
        routes, vehicles = rows.column("route").to_pylist(), rows.column("vehicle").to_pylist()
        keys = np.array([route or vehicle for route, vehicle in zip(routes, vehicles, strict=True)], object)
        for number, at in _frames(partitions_of(keys, partitions), rows.column("receive_time").to_numpy(), settings):
            yield Frame(Content.VEHICLES, number, encode(rows.take(pa.array(at))))


def _bounds(start: int | None, end: int | None) -> tuple[datetime, datetime]:
    return _FIRST if start is None else us_datetime(start), _LAST if end is None else us_datetime(end)


def _frames(partition: np.ndarray, receive_time: np.ndarray, settings: Settings) -> Iterator[tuple[int, np.ndarray]]:
    """Partition and rows of each frame, in order; rows are in order of receipt."""
    bins = receive_time // (settings.gateway.frame_delay_ms * US_PER_MS)
    order = np.lexsort((np.arange(len(bins)), partition, bins))
    border = (np.diff(bins[order]) != 0) | (np.diff(partition[order]) != 0)
    for rows in np.split(order, np.flatnonzero(border) + 1):
        for first in range(0, len(rows), settings.gateway.frame_readings):
            yield int(partition[rows[0]]), rows[first : first + settings.gateway.frame_readings]
