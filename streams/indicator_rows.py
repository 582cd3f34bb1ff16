"""indicator_rows: what was computed as rows of an indicator frame"""

from __future__ import annotations

import numpy as np

from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.times import US_PER_S
from streams.anomaly import Scores
from streams.grouping import order_by
from streams.windows import Windows

_NO_CLASS = -1


def reading_rows(readings: Readings, position: np.ndarray, flags: np.ndarray, score: np.ndarray) -> Indicators:
    """One READING row for each reading: value, score in `last`, flags. Columns of nothing are one array."""
    n = len(readings)
    kind, nothing, zero = np.full(n, IndicatorKind.READING, np.int16), np.zeros(n, np.int32), np.zeros(n)
    return Indicators(
        series_id=readings.series_id,
        kind=kind,
        window_start=readings.event_time,
        window_s=nothing,
        n=np.ones(n, np.int32),
        n_excluded=nothing,
        completeness=np.ones(n),
        mean=zero,
        min=zero,
        max=zero,
        std=zero,
        last=score,
        p50=zero,
        p95=zero,
        p99=zero,
        value=readings.value,
        class_=np.full(n, _NO_CLASS, np.int16),
        revision=nothing,
        flags=flags,
        receive_time=readings.receive_time,
        position=position,
    )


def anomaly_rows(
    readings: Readings,
    position: np.ndarray,
    flags: np.ndarray,
    scores: Scores,
) -> Indicators:
    """One ANOMALY row for each reading: score in `value`, reading in `last`, what was expected, cause in `class_`."""
    rows = Indicators.empty(len(readings))
    rows.series_id, rows.window_start = readings.series_id, readings.event_time
    rows.kind[:] = IndicatorKind.ANOMALY
    rows.n[:] = 1
    rows.completeness[:] = 1.0
    rows.value, rows.last, rows.mean, rows.std = scores.score, readings.value, scores.expected, scores.spread
    rows.class_[:] = scores.cause
    rows.flags, rows.receive_time, rows.position = flags, readings.receive_time, position
    return rows


def flag_rows(
    series_id: np.ndarray,
    time: np.ndarray,
    flags: np.ndarray,
    receive_time: np.ndarray,
    position: np.ndarray,
) -> Indicators:
    """One FLAGS row for each reading whose flags have settled to others than were told; its value is not repeated."""
    rows = Indicators.empty(len(series_id))
    rows.series_id, rows.window_start, rows.flags[:] = series_id, time, flags
    rows.kind[:] = IndicatorKind.FLAGS
    rows.revision[:] = 1
    rows.value[:] = np.nan
    rows.class_[:] = _NO_CLASS
    rows.receive_time, rows.position = receive_time, position
    return rows


def window_rows(
    windows: Windows,
    chosen: np.ndarray,
    series_id: np.ndarray,
    stop: np.ndarray,
    length_s: np.ndarray,
    revision: np.ndarray,
    position: np.ndarray,
) -> Indicators:
    """One WINDOW row for each chosen window.

    Args:
        windows: statistics, [lengths, windows].
        chosen: flat indices.
        series_id: of each chosen window.
        stop: first us after it.
        length_s: its length.
        revision: its revision.
        position: its source position.
    """
    rows = Indicators.empty(len(series_id))
    rows.series_id, rows.window_s[:], rows.window_start = series_id, length_s, stop - length_s * US_PER_S
    rows.kind[:] = IndicatorKind.WINDOW
    rows.n[:], rows.n_excluded[:] = windows.n.take(chosen), windows.n_excluded.take(chosen)
    rows.completeness, rows.last = windows.completeness.take(chosen), windows.last.take(chosen)
    rows.mean = rows.value = windows.mean.take(chosen)
    rows.min, rows.max, rows.std = windows.low.take(chosen), windows.high.take(chosen), windows.std.take(chosen)
    rows.p50, rows.p95, rows.p99 = (windows.quantiles[:, q].reshape(-1).take(chosen) for q in range(3))
    rows.class_[:] = _NO_CLASS
    rows.flags[:], rows.receive_time = windows.flags.take(chosen), windows.receive_time.take(chosen)
    rows.revision[:], rows.position = revision, position
    return rows


def by_position(parts: list[Indicators]) -> Indicators:
    """All rows in order of source position; those of one position as they stand in `parts`."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return Indicators.empty()
    rows = Indicators.concat(parts)
    return rows.take(order_by(rows.position - rows.position.min()))
