"""plot: value over time, what was expected, and the alarms as shaded spans, drawn into a file by matplotlib"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from alerts.rules import Rule
from pulssi.commands.backtest.report import Alarm
from pulssi.commands.backtest.trace import Expected, Points

FORMATS: Final = (".png", ".svg")
PANELS_MAX: Final = 8
"""Series in one picture; the summary says when there are more."""

_BINS = 2000
"""Stretches of time of which the least and the greatest value are drawn: about two a pixel."""
_SILENT_STEPS = 20
"""Usual steps of a series after which its line is broken."""
_DOTS_MAX = 200
"""Values that are few enough to be marked each."""
_WIDTH_IN, _PANEL_IN = 12.0, 2.8
_LINE, _LEVEL, _CLEAR, _ALARM, _BAND = "#1f4e79", "#b3261e", "#8a6d00", "#e8590c", "#7fb069"


@dataclass(frozen=True, slots=True)
class Panel:
    """One series: what it is called, what a rule saw of it, its alarms and, of the detector, what it expected."""

    title: str
    unit: str
    points: Points
    alarms: Sequence[Alarm]
    expected: Expected | None = None


def problems(path: Path) -> list[str]:
    """Why no picture can be drawn there."""
    found = []
    if path.suffix.lower() not in FORMATS:
        found.append(f"--plot: {path} ends neither in {' nor in '.join(FORMATS)}")
    if not path.parent.is_dir():
        found.append(f"--plot: there is no folder {path.parent}")
    if importlib.util.find_spec("matplotlib") is None:
        found.append("--plot needs matplotlib, which is not installed: pip install 'pulssi[plot]'")
    return found


def draw(path: Path, title: str, panels: Sequence[Panel], rule: Rule, end: int) -> None:
    """Draw one panel below the other.

    Args:
        path: ends in one of `FORMATS`.
        title: of the picture.
        panels: at least one.
        rule: whose levels are drawn.
        end: where open alarms end, us.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pulssi"}):
        figure = Figure(figsize=(_WIDTH_IN, 0.6 + _PANEL_IN * len(panels)), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title.replace("; ", "\n"), fontsize="medium")
        all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(all_axes, panels, strict=True):
            _draw_panel(axes, panel, rule, end)
        all_axes[-1].set_xlabel("UTC")
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, format=path.suffix.lower().removeprefix("."), dpi=120, metadata=metadata)


def _draw_panel(axes: Any, panel: Panel, rule: Rule, end: int) -> None:
    if panel.expected is not None:
        _draw_expected(axes, panel.expected)
    time, value = broken(*thinned(panel.points.time, panel.points.value))
    marker = "." if len(time) < _DOTS_MAX else None
    axes.plot(_moments(time), value, color=_LINE, marker=marker, linewidth=0.9, gid=f"value-{panel.title}")
    if rule.threshold:
        axes.axhline(rule.limit, color=_LEVEL, linestyle="--", linewidth=1, label="level")
        if rule.threshold.clear is not None:
            axes.axhline(rule.threshold.clear, color=_CLEAR, linestyle=":", linewidth=1, label="clear level")
    for number, alarm in enumerate(panel.alarms, start=1):
        until = alarm.end(end)
        fired = alarm.fired.event_time if alarm.fired else until
        if fired > alarm.onset:
            _shade(axes, alarm.onset, fired, 0.12, f"pending-{number}-{panel.title}")
        if alarm.fired:
            _shade(axes, fired, until, 0.35, f"alarm-{number}-{panel.title}")
    axes.set_title(panel.title, loc="left", fontsize="medium")
    axes.set_ylabel("" if panel.unit == "1" else panel.unit)
    axes.grid(visible=True, alpha=0.25)
    axes.margins(x=0.01)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", fontsize="small")


def _shade(axes: Any, start: int, end: int, alpha: float, name: str) -> None:
    axes.axvspan(*_moments(np.array([start, end])), color=_ALARM, alpha=alpha, linewidth=1, gid=name)


def _draw_expected(axes: Any, expected: Expected) -> None:
    time, low = thinned(expected.time, expected.low)
    upper_time, high = thinned(expected.time, expected.high)
    axes.fill_between(
        _moments(time),
        low,
        np.interp(time, upper_time, high),
        color=_BAND,
        alpha=0.3,
        linewidth=0,
        label="expected",
    )


def thinned(time: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value of each stretch of time, in order; everything when there is little of it."""
    if len(time) <= 2 * _BINS:
        return time, value
    place = ((time - time[0]) * _BINS // (time[-1] - time[0] + 1)).astype(np.int64)
    order = np.lexsort((value, place))
    starts = np.flatnonzero(np.append(True, place[order][1:] != place[order][:-1]))
    ends = np.append(starts[1:], len(order)) - 1
    kept = np.unique(np.concatenate((order[starts], order[ends])))
    return time[kept], value[kept]


def broken(time: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same with a NaN in each silence, so that no line leads through it."""
    steps = np.diff(time)
    if not len(steps):
        return time, value
    silences = np.flatnonzero(steps > _SILENT_STEPS * np.median(steps)) + 1
    return np.insert(time, silences, time[silences] - 1), np.insert(value, silences, np.nan)


def _moments(time: np.ndarray) -> np.ndarray:
    return time.astype("datetime64[us]")
