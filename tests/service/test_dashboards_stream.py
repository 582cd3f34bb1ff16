"""The live stream over real HTTP: all of it once, then what changed, however clients behave."""

import asyncio
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import httpx
import pytest

from dashboards.stream import FullError, Hub
from dashboards.view import Snapshot
from pulssi import logs
from pulssi.errors import TransientError
from pulssi.metrics import Metrics
from pulssi.settings import ApiSettings
from tests.fixtures.city import KALLIO, City, api_process, event_of, serve
from tests.fixtures.processes import wait_for
from tests.unit.test_dashboards_view import overview, vehicle

pytestmark = pytest.mark.service


def events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    lines: list[str] = []
    for line in answer.iter_lines():
        if line:
            lines.append(line)
        elif lines:
            text, lines = "\n".join(lines), []
            if "event: " in text:
                yield event_of(text)


def until(stream: Iterator[tuple[str, Any]], wanted: Any) -> Any:
    """The first event that is wanted; the client's time-out bounds the wait."""
    return next(found for found in stream if wanted(found))


def test_all_of_it_first_and_then_what_changed(page_server: httpx.Client, city: City):
    with page_server.stream("GET", "/api/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = events(answer)
        name, everything = next(stream)
        assert name == "sync"
        assert len(everything["stations"]) == 82
        assert len(everything["vehicles"]) == 48
        assert {alert["alert_id"] for alert in everything["alerts"]} == {"a1f0", "a0e3"}
        city.vehicle("0012/00007", "560", 60.2222, 24.9999, delay_s=61)
        _, tick = until(stream, lambda found: found[1]["vehicles"])
        assert [(one["vehicle"], one["lat"]) for one in tick["vehicles"]] == [("0012/00007", 60.2222)]
        assert tick["stations"] == []
        city.alert("a77", "firing", 1, device_id="fmi-100742")
        _, tick = until(stream, lambda found: found[1]["alerts"])
        assert [one["alert_id"] for one in tick["alerts"]] == ["a77"]
        assert [(one["device_id"], one["state"]) for one in tick["stations"]] == [("fmi-100742", "alert")]
        city.connection.execute("DELETE FROM alerts WHERE alert_id = 'a77'")
        _, tick = until(stream, lambda found: found[1]["gone"]["alerts"])
        assert tick["gone"]["alerts"] == ["a77"]
        assert [one["state"] for one in tick["stations"]] == ["ok"]


def test_who_comes_back_is_told_everything_again(page_server: httpx.Client):
    for _ in range(2):
        with page_server.stream("GET", "/api/stream", headers={"Last-Event-ID": "17"}) as answer:
            name, everything = next(events(answer))
            assert name == "sync"
            assert any(station["device_id"] == KALLIO for station in everything["stations"])


class _many:  # noqa: N801  used as a with-statement
    """So many live streams, each read by a thread."""

    def __init__(self, client: httpx.Client, n: int) -> None:
        self._url = str(client.base_url.join("/api/stream"))
        self._n = n
        self._stop = threading.Event()

    def __enter__(self) -> None:
        self._threads = [threading.Thread(target=self._read) for _ in range(self._n)]
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        with httpx.Client(timeout=10) as client, client.stream("GET", self._url) as answer:
            for _event in events(answer):
                if self._stop.is_set():
                    return


def test_one_client_too_many_is_told_to_wait(city: City):
    with serve(city.settings, PULSSI_API__CLIENTS_MAX="2") as (client, _process), _many(client, 2):
        wait_for(lambda: 'what="live_streams"} 2.0' in _in_flight(client), "both are counted")
        answer = client.get("/api/stream")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["detail"] == "Too many live streams are open."


def _in_flight(client: httpx.Client) -> str:
    return next(line for line in client.get("/metrics").text.splitlines() if line.startswith("pulssi_in_flight{"))


def test_a_client_that_reads_nothing_is_dropped_visibly_and_disturbs_nobody(city: City):
    variables = {"PULSSI_API__POLL_MS": "50", "PULSSI_API__QUEUE_MAX": "2", "PULSSI_API__SEND_TIMEOUT_S": "0.5"}
    with serve(city.settings, **variables) as (client, _process):
        stop = threading.Event()
        city.fleet(2_000)

        def drive() -> None:
            while not stop.is_set():
                city.connection.execute("UPDATE vehicles_latest SET lon = lon + 0.0001, event_time = now()")
                time.sleep(0.02)

        driver = threading.Thread(target=drive)
        driver.start()
        try:
            with closing(socket.socket()) as deaf, client.stream("GET", "/api/stream") as answer:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect((client.base_url.host, client.base_url.port))
                deaf.sendall(b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n")
                stream = events(answer)
                wanted = 'pulssi_errors_total{component="api",kind="slow_client"} 1.0'
                with httpx.Client(base_url=client.base_url) as other:
                    until(stream, lambda _found: wanted in other.get("/metrics").text)
                assert next(stream)[0] == "tick", "the other one goes on"
        finally:
            stop.set()
            driver.join()
            city.connection.execute("DELETE FROM vehicles_latest WHERE vehicle LIKE '0099/%'")


def test_sigterm_says_goodbye_to_live_streams_and_exits_with_0(city: City):
    with serve(city.settings) as (client, process), client.stream("GET", "/api/stream") as answer:
        stream = events(answer)
        assert next(stream)[0] == "sync"
        process.send_signal(signal.SIGTERM)
        assert until(stream, lambda found: found[0] == "bye")[1] == {"reason": "stopping"}
        assert list(stream) == []
        assert process.wait(10) == 0
        assert _log(process)[-1]["event"] == "stopped"


def _log(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    assert process.stderr is not None
    return [json.loads(line) for line in process.stderr]


def test_a_port_in_use_is_a_wrong_setting(city: City):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        with api_process(city.settings, PULSSI_API__PORT=port) as process:
            _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "api.port" in said


# The hub alone, on a look that the test scripts.


def hub(look: Any, **settings: Any) -> Hub:
    return Hub(look, ApiSettings(poll_ms=10, **settings), Metrics("api"), logs.setup("api"))


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition inside the hub, which has no event for it."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.to_thread(time.sleep, 0.005)


async def first(client: Any, n: int) -> list[tuple[str, Any]]:
    found = []
    async for frame in client.frames():
        found.append(event_of(frame.decode()))
        if len(found) == n:
            break
    return found


def test_the_page_is_told_when_the_database_is_away_and_goes_on_after_it():
    looks = iter([Snapshot(overview()), TransientError("away"), Snapshot(overview(), vehicles={"v": vehicle("v", 1)})])

    def look(*, full: bool) -> Snapshot:
        found = next(looks, None)
        if isinstance(found, Exception):
            raise found
        return found or Snapshot(overview(), vehicles={"v": vehicle("v", 1)})

    async def scenario() -> list[tuple[str, Any]]:
        shared = hub(look)
        client = shared.join()
        task = asyncio.create_task(shared.run())
        async with asyncio.timeout(10):
            found = await first(client, 3)
        task.cancel()
        return found

    found = asyncio.run(scenario())
    assert [name for name, _ in found] == ["sync", "away", "tick"]
    assert [one["vehicle"] for one in found[2][1]["vehicles"]] == ["v"]


def test_every_client_shares_one_look():
    looks = 0

    def look(*, full: bool) -> Snapshot:
        nonlocal looks
        looks += 1
        return Snapshot(overview(readings=looks), vehicles={"v": vehicle("v", looks)} if full else {})

    async def scenario() -> None:
        shared = hub(look)
        clients = [shared.join() for _ in range(20)]
        task = asyncio.create_task(shared.run())
        async with asyncio.timeout(10):
            told = await asyncio.gather(*(first(client, 5) for client in clients))
        task.cancel()
        assert all(one == told[0] for one in told)
        assert looks <= 7, "five events to twenty clients were five looks, and at most two more while we stop"

    asyncio.run(scenario())


def test_while_nobody_looks_only_the_overview_is_read():
    asked: list[bool] = []

    def look(*, full: bool) -> Snapshot:
        asked.append(full)
        return Snapshot(overview(readings=len(asked)))

    async def scenario() -> None:
        shared = hub(look)
        task = asyncio.create_task(shared.run())
        async with asyncio.timeout(10):
            await eventually(lambda: len(asked) >= 3)
            assert not any(asked)
            client = shared.join()
            assert [name for name, _ in await first(client, 2)] == ["sync", "tick"]
            assert any(asked)
            shared.leave(client)
            seen = len(asked)
            await eventually(lambda: len(asked) >= seen + 3)
        assert not asked[-1]
        task.cancel()

    asyncio.run(scenario())


def _constant(snapshot: Snapshot, *, full: bool) -> Snapshot:
    assert full
    return snapshot


def _defect(*, full: bool) -> Snapshot:
    raise ZeroDivisionError(full)


def test_a_client_behind_its_bound_is_told_bye_and_forgotten():
    async def scenario() -> None:
        shared = hub(partial(_constant, Snapshot(overview())), queue_max=3)
        slow = shared.join()
        task = asyncio.create_task(shared.run())
        async with asyncio.timeout(10):
            await eventually(lambda: slow not in shared._clients)
            assert [event_of(frame.decode()) async for frame in slow.frames()] == [("bye", {"reason": "slow"})]
        task.cancel()

    asyncio.run(scenario())


def test_a_closing_hub_takes_nobody_in_and_a_defect_is_kept_for_the_server():
    async def scenario() -> None:
        shared = hub(_defect)
        await shared.run()
        assert isinstance(shared.failure, ZeroDivisionError)
        shared.close()
        with pytest.raises(FullError):
            shared.join()

    asyncio.run(scenario())
