"""notifier: takes notifications from the outbox and delivers them, at least once, each under one id

Each subscriber has a lane: its notifications go one after the other, so a slow one holds up nobody else. When it does
not answer, or asks for patience, the rest of its lane goes back for a while. What is claimed belongs to this process
for a lease; when it is killed, the next one takes over after that time.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from alerts.delivery import Outcome, attempt, make_client, pause_s
from pulssi import logs
from pulssi.logs import Log
from pulssi.metrics import Metrics
from pulssi.settings import Settings
from storage import outbox
from storage.database import Connection, open_pool, persist
from storage.outbox import Notification

Result = TypeVar("Result")
_COUNT_S = 5.0
_CONNECT_S = 5.0


def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT."""
    log = logs.setup("notify", level=settings.log.level, as_json=settings.log.as_json)
    metrics = Metrics("notify")
    metrics.serve(settings.metrics.host, settings.metrics.notify)
    asyncio.run(Notifier(settings, metrics, log).run())


class Notifier:
    """One delivering process."""

    def __init__(self, settings: Settings, metrics: Metrics, log: Log) -> None:
        self._database = settings.database
        self._settings = settings.notify
        self._metrics = metrics
        self._log = log
        self._stopped = threading.Event()
        self._away = False
        self._woken = asyncio.Event()
        self._lanes: set[UUID] = set()
        metrics.limit("subscribers", self._settings.subscribers_max)

    async def run(self) -> None:
        """Deliver until told to stop; what is in delivery then is finished, the rest given back."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        workers = self._settings.subscribers_max
        with (
            open_pool(self._database, "writer", size_max=1) as self._pool,
            ThreadPoolExecutor(1, "database") as self._database_thread,
            ThreadPoolExecutor(2 * workers, "resolver") as self._resolver,
        ):
            self._log.info("started", subscribers_max=workers)
            async with make_client(self._settings) as self._client, asyncio.TaskGroup() as self._tasks:
                counting = self._tasks.create_task(self._count())
                while not self._stopped.is_set():
                    await self._round()
                counting.cancel()
        self._log.info("stopped")

    def stop(self) -> None:
        """Stop soon."""
        self._stopped.set()
        self._woken.set()

    async def _round(self) -> None:
        """Claim what is due for subscribers that are not being served, and start their lanes."""
        self._woken.clear()
        free = min(self._settings.subscribers_max - len(self._lanes), self._settings.batch)
        claimed: list[Notification] = []
        if free > 0:
            busy = list(self._lanes)
            lease_s = self._settings.lease_s
            claimed = await self._store(lambda at: outbox.claim(at, free, lease_s, busy=busy)) or []
        lanes: dict[UUID, list[Notification]] = {}
        for notification in claimed:
            lanes.setdefault(notification.subscription_id, []).append(notification)
        for subscription, waiting in lanes.items():
            self._lanes.add(subscription)
            self._tasks.create_task(self._lane(subscription, waiting))
        self._metrics.received("outbox", "notifications", len(claimed))
        self._metrics.in_flight("subscribers", len(self._lanes))
        if len(claimed) < free or free <= 0:
            await self._pause()

    async def _pause(self) -> None:
        """Until a lane ends, or the longest pause is over."""
        try:
            async with asyncio.timeout(self._settings.poll_ms / 1000):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _lane(self, subscription: UUID, waiting: list[Notification]) -> None:
        """Deliver to one subscriber in order, until it needs a rest, the lease nears its end or we are told to stop."""
        clock = asyncio.get_running_loop().time
        last_start = clock() + self._settings.lease_s - self._settings.timeout_s
        rest_until: datetime | None = None
        try:
            while waiting and rest_until is None and clock() < last_start and not self._stopped.is_set():
                notification = waiting.pop(0)
                outcome = await attempt(notification, self._client, self._resolver, self._settings)
                rest_until = await self._settle(notification, outcome)
            if waiting:
                await self._store(lambda at: outbox.release(at, waiting, rest_until))
        finally:
            self._lanes.discard(subscription)
            self._woken.set()

    async def _settle(self, notification: Notification, outcome: Outcome) -> datetime | None:
        """Write down what came of an attempt; until when its subscriber needs a rest, if it does."""
        now, took = datetime.now(UTC), outcome.duration_ms
        if outcome.ok:
            status = outcome.status or 0
            await self._store(lambda at: outbox.delivered(at, notification, status, took))
            self._metrics.sent("webhook", "notifications")
            self._metrics.latency("notifications", max(0.0, (now - notification.created_time).total_seconds()))
            return None
        last = outcome.gone or notification.attempt >= self._settings.attempts_max
        next_try = now + timedelta(seconds=pause_s(notification.attempt, outcome, self._settings))
        await self._store(lambda at: _failed(at, notification, outcome, None if last else next_try))
        self._metrics.error("given_up" if last else "attempt_failed")
        log = self._log.bind(notification=notification.notification_id, attempt=notification.attempt, why=outcome.why)
        if last:
            log.warning("given_up")
        else:
            log.info("attempt_failed")
        # An answer concerns one notification, silence concerns them all: they try again soon, each in its turn.
        needs_rest = outcome.status is None or outcome.retry_after_s > 0 or outcome.gone
        return now + timedelta(seconds=pause_s(1, outcome, self._settings)) if needs_rest else None

    async def _store(self, work: Callable[[Connection], Result]) -> Result | None:
        """Do one transaction on the one thread of the database, again and again while that is away.

        None when told to stop while it is away: the lease runs out and the work is done by whoever comes next.
        """

        def transaction() -> Result:
            self._away = True
            with self._pool.connection(timeout=_CONNECT_S) as connection:
                result = work(connection)
            self._away = False
            return result

        return await asyncio.get_running_loop().run_in_executor(
            self._database_thread,
            lambda: persist(transaction, log=self._log, stopped=lambda: self._away and self._stopped.is_set()),
        )

    async def _count(self) -> None:
        while True:
            counts = await self._store(outbox.counts)
            self._metrics.ready(counts is not None)
            if counts is not None:
                self._metrics.lag("outbox", counts.pending)
            await asyncio.sleep(_COUNT_S)


def _failed(connection: Connection, notification: Notification, outcome: Outcome, retry_time: datetime | None) -> None:
    outbox.failed(
        connection, notification, outcome.why, outcome.duration_ms, status=outcome.status, retry_time=retry_time
    )
    if outcome.gone:
        outbox.end(connection, notification.subscription_id, "the subscriber is gone (410)")
