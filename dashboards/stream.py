"""stream: one look at the database each second, shared by every live page as server-sent events

A client is told everything once (`sync`) and then what changed (`tick`). It has a bounded queue: one that cannot keep
up is dropped, told so (`bye`) and starts again with a `sync`, as does every client after a reconnect; nothing is kept
for those that are away.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus, SendTimeoutError
from starlette.types import Receive, Scope, Send

from dashboards.view import Rates, Snapshot
from pulssi.errors import TransientError
from pulssi.logs import Log
from pulssi.metrics import Metrics
from pulssi.settings import ApiSettings

HISTORY = 600
"""Looks whose rates are kept for the sparkline."""
_RETRY_MS = 2_000
"""How long a browser waits before it connects again."""

# The hub ends its streams itself, with a farewell; the library would cut them, and for every later server as well.
AppStatus.enable_automatic_graceful_drain = False


class FullError(Exception):
    """As many live streams as the settings allow."""


class Look(Protocol):
    """One look at the database, in a thread; raises TransientError when it is away."""

    def __call__(self, *, full: bool) -> Snapshot:
        """Everything, or just the overview."""


class Client:
    """One live stream with the frames that it was not sent yet."""

    def __init__(self, queue_max: int) -> None:
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue(queue_max + 2)  # and the farewell with its end
        self._queue_max = queue_max

    def offer(self, frame: bytes) -> bool:
        """Queue a frame; False when the client is too far behind."""
        if self._frames.qsize() >= self._queue_max:
            return False
        self._frames.put_nowait(frame)
        return True

    def end(self, farewell: bytes) -> None:
        """Forget what is queued, say goodbye and end."""
        while not self._frames.empty():
            self._frames.get_nowait()
        self._frames.put_nowait(farewell)
        self._frames.put_nowait(None)

    async def frames(self) -> AsyncIterator[bytes]:
        """Frames as they come, until the end."""
        while (frame := await self._frames.get()) is not None:
            yield frame


class Hub:
    """Looks once, tells everybody.

    Args:
        look: reads a snapshot.
        settings: the bounds.
        metrics: of this process.
        log: of this process.
    """

    def __init__(self, look: Look, settings: ApiSettings, metrics: Metrics, log: Log) -> None:
        self._look = look
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._clients: set[Client] = set()
        self._wake = asyncio.Event()
        self._snapshot: Snapshot | None = None  # complete, and what every client knows
        self._sync: bytes | None = None
        self._closing = False
        self.failure: Exception | None = None
        """What ended `run` against our will: a defect, for which the process has to stop."""
        self._history: deque[Rates] = deque(maxlen=HISTORY)
        metrics.limit("live_streams", settings.clients_max)
        metrics.limit("live_stream_queue", settings.queue_max)
        self._count()

    def join(self) -> Client:
        """A new live stream, whose first frame is a `sync`.

        Raises:
            FullError: there are as many as the settings allow, or we are closing.
        """
        if self._closing or len(self._clients) >= self._settings.clients_max:
            self._metrics.error("live_streams_full")
            raise FullError
        client = Client(self._settings.queue_max)
        self._clients.add(client)
        self._count()
        if self._snapshot is None:
            self._wake.set()
        else:
            client.offer(self._sync_frame(self._snapshot))
        return client

    def leave(self, client: Client) -> None:
        """The client is gone."""
        self._clients.discard(client)
        self._count()

    def drop(self, client: Client) -> None:
        """The client cannot keep up: it is told so, if it ever reads, and counted."""
        if client in self._clients:
            self.leave(client)
            client.end(_frame("bye", '{"reason":"slow"}'))
            self._metrics.error("slow_client")
            self._log.warning("slow client dropped", behind_max=self._settings.queue_max)

    def close(self) -> None:
        """Say goodbye to everybody: this process stops."""
        self._closing = True
        for client in list(self._clients):
            client.end(_frame("bye", '{"reason":"stopping"}'))

    async def run(self) -> None:
        """Look and tell until cancelled; a failure is kept for the server, which stops."""
        try:
            await self._run()
        except Exception as error:  # noqa: BLE001  handed to the server, not swallowed
            self.failure = error

    async def _run(self) -> None:
        pause = self._settings.poll_ms / 1000
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            self._wake.clear()  # before the look: who joins during it wakes us for the next one
            full = bool(self._clients)
            try:
                snapshot = await asyncio.to_thread(self._look, full=full)
            except TransientError as error:  # the reader has logged and counted it; the page must know too
                self._tell_away(str(error))
            else:
                self._tell(snapshot, full=full)
            try:
                async with asyncio.timeout(max(pause - (clock() - began), pause / 10)):
                    await self._wake.wait()
            except TimeoutError:
                pass  # nobody joined in between: the next look is due

    def _tell(self, snapshot: Snapshot, *, full: bool) -> None:
        rates = snapshot.overview.rates
        moment = snapshot.overview.time.timestamp()
        self._history.append((round(moment, 3), rates.readings_per_s, rates.vehicle_events_per_s))
        if not full:
            self._snapshot = self._sync = None
            return
        before, self._snapshot, self._sync = self._snapshot, snapshot, None
        if before is None:
            self._send(self._sync_frame(snapshot))
        else:
            self._send(_model_frame("tick", snapshot.since(before)))

    def _tell_away(self, why: str) -> None:
        """The page keeps what it has and says how old it is."""
        self._send(_frame("away", json.dumps({"why": why})))

    def _send(self, frame: bytes) -> None:
        for client in list(self._clients):
            if client.offer(frame):
                self._metrics.sent("browsers", "events")
            else:
                self.drop(client)

    def _sync_frame(self, snapshot: Snapshot) -> bytes:
        if self._sync is None:
            self._sync = _model_frame("sync", snapshot.sync(self._history))
        return self._sync

    def _count(self) -> None:
        self._metrics.in_flight("live_streams", len(self._clients))


class LiveStream(EventSourceResponse):
    """The answer that lasts: frames of one client until either side ends."""

    def __init__(self, hub: Hub, client: Client, send_timeout_s: float) -> None:
        self._hub = hub
        self._client = client
        super().__init__(client.frames(), send_timeout=send_timeout_s, ping=15)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream; a client that accepts nothing for too long is dropped."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            self._hub.drop(self._client)
        finally:
            self._hub.leave(self._client)


def _model_frame(event: str, model: BaseModel) -> bytes:
    return _frame(event, model.model_dump_json())


def _frame(event: str, data: str) -> bytes:
    return ServerSentEvent(data, event=event, retry=_RETRY_MS, sep="\n").encode()
