"""runs of the simulators as processes: signals, ledger, fleet, and the summary at the end"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from pulssi.errors import ConfigurationError
from pulssi.logs import setup
from pulssi.settings import Settings
from pulssi.times import now_us
from simulators.city.city import City, CityOptions
from simulators.fleet import Fleet
from simulators.ledger import Ledger
from simulators.recordings import SHIPPED, Recording, read, shipped
from simulators.replay import ReplayOptions
from simulators.replay import replay as send_recording
from simulators.simulate import simulate as live

SETTLE_S: Final = 30.0
"""How long the end of a run waits for answers."""


def replay(
    settings: Settings, files: list[str], *, form: str | None, quantity: str, folder: Path, **options: Any
) -> dict[str, Any]:
    """Send a recording until its end, its time or a signal, and return the summary.

    Args:
        settings: of the broker and the log.
        files: paths, or one name of a shipped recording.
        form: format of the files; not needed for shipped ones.
        quantity: of format `csv`.
        folder: of the ledger.
        options: fields of `ReplayOptions`.

    Raises:
        ConfigurationError: files or options are wrong.
    """
    recording = _recording(files, form, quantity)
    hearing = {(record.kind, record.device_id) for record in recording.records if record.kind is not None}
    about = {"files": files, "format": form, **{name: str(value) for name, value in options.items()}}
    name = f"replay-{form or files[0]}"

    until_s = options["for_s"] if options["loop"] else None
    with Ledger(folder, name, about) as ledger:

        async def work(fleet: Fleet) -> None:
            await send_recording(recording, fleet, ReplayOptions(**options))

        return asyncio.run(_run(settings, name, ledger, sorted(hearing), work, until_s))


def simulate(settings: Settings, folder: Path, *, seed: int, **options: Any) -> dict[str, Any]:
    """Let a seeded city live until its end or a signal, and return the summary.

    Args:
        settings: of the broker and the log.
        folder: of the ledger.
        seed: of the city.
        options: fields of `CityOptions`.
    """
    city = City(CityOptions(seed=seed, start=now_us(), **options))
    about = {"seed": seed, "start": city.options.start, **options}
    with Ledger(folder, f"city-{seed}", about) as ledger:

        async def work(fleet: Fleet) -> None:
            await live(city, fleet, ledger)

        return {"seed": seed, **asyncio.run(_run(settings, f"city-{seed}", ledger, city.hearing, work, None))}


def _recording(files: list[str], form: str | None, quantity: str) -> Recording:
    if form is None and len(files) == 1 and files[0] in SHIPPED:
        return shipped(files[0])
    if form is None:
        raise ConfigurationError(f"--format is needed; shipped recordings are {', '.join(SHIPPED)}")
    return read([Path(file) for file in files], form, quantity=quantity)


async def _run(
    settings: Settings,
    name: str,
    ledger: Ledger,
    hearing: list[tuple[str, str]],
    work: Callable[[Fleet], Awaitable[None]],
    until_s: float | None,
) -> dict[str, Any]:
    """Let devices work until they are done, the time is over or a signal comes; then wait for their answers."""
    log = setup(
        "simulators",
        level=settings.log.level,
        as_json={"auto": None}.get(settings.log.format, settings.log.format == "json"),
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Fleet(f"pulssi-{name}-{os.getpid()}", settings.mqtt, ledger, log, hearing) as fleet:
        working = asyncio.ensure_future(work(fleet))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([working, stopping], timeout=until_s, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        settled = await _settle(fleet, stop)
        counts = fleet.counts
        return {
            "ledger": str(ledger.path),
            "sent": counts.sent,
            "accepted": counts.accepted,
            "refused": counts.refused,
            "unanswered": fleet.pending,
            "sent_again": counts.sent_again,
            "reconnects": fleet.reconnects,
            "settled": settled,
        }


async def _settle(fleet: Fleet, stop: asyncio.Event) -> bool:
    """Wait for the answers; a signal during it ends the waiting."""
    stop.clear()
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(fleet.settle(SETTLE_S))]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return not fleet.pending
