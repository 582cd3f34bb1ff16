"""what a person at the terminal sees: rates, lag, data age, alerts; plain lines where nobody sits"""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pulssi.commands.demo.figures import Figures, Process

_PLAIN_EVERY_S = 5.0


class Screen:
    """A live table on a terminal, else a line every five seconds."""

    def __init__(self, *, live: bool, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True) if live else None
        self._before: tuple[float, Figures] | None = None
        self._told_s = 0.0
        self._started = False

    def say(self, line: str) -> None:
        """One line for a person."""
        self._console.print(Text(f"pulssi  {line}"), soft_wrap=True)

    def show(self, now: Figures) -> None:
        """The newest figures, with rates since the ones before."""
        moment = time.monotonic()
        elapsed_s, before = (moment - self._before[0], self._before[1]) if self._before else (0.0, now)
        self._before = (moment, now)
        if self._live is not None:
            if not self._started:
                self._live.start()
                self._started = True
            self._live.update(_picture(before, now, elapsed_s))
        elif moment - self._told_s >= _PLAIN_EVERY_S:
            self._told_s = moment
            self.say(_line(now))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None and self._started:
            self._live.stop()
            self._started = False


def _line(now: Figures) -> str:
    stored = now.counts
    lag = sum(one.lag for one in now.processes.values())
    return (
        f"readings {stored.readings_stored:,} - vehicle events {stored.vehicle_events_stored:,} - "
        f"indicators {stored.indicators_stored:,} - alerts {stored.alerts} - "
        f"notified {stored.notifications_delivered} - dead letters {stored.dead_letters} - lag {lag:,.0f} - "
        f"to store p50 {_ms(now.latency_ms.get('accept_to_store_p50'))} - "
        f"to alert p50 {_ms(now.latency_ms.get('sensor_to_alert_p50'))}"
    )


def _picture(before: Figures, now: Figures, elapsed_s: float) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("process", "in/s", "out/s", "refused", "errors", "lag", "data age"):
        table.add_column(title, justify="left" if title == "process" else "right", min_width=9)
    for name, process in now.processes.items():
        table.add_row(*_row(name, before.processes.get(name, process), process, elapsed_s))
    alerts = [Text(f"  ! {text}", style="bold red", no_wrap=True, overflow="ellipsis") for text in now.alerts_open]
    return Group(Text(), table, Text(), Text(_line(now), style="dim"), *alerts)


def _row(name: str, before: Process, now: Process, elapsed_s: float) -> list[RenderableType]:
    if not now.answers:
        return [Text(name), Text("away", style="bold yellow")]
    age = "" if now.age_s is None else f"{now.age_s:.1f} s"
    return [
        Text(name),
        Text(_rate(now.received - before.received, elapsed_s)),
        Text(_rate(now.sent - before.sent, elapsed_s)),
        Text(f"{now.dropped:,.0f}"),
        Text(f"{now.errors:,.0f}", style="red" if now.errors else ""),
        Text(f"{now.lag:,.0f}"),
        Text(age),
    ]


def _rate(more: float, elapsed_s: float) -> str:
    """Per second; nothing at the first look, and nothing below zero after a restart."""
    return f"{max(more, 0) / elapsed_s:,.0f}" if elapsed_s else ""


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"
