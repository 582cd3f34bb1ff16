"""delivery: one attempt to hand one notification to a webhook

Signed by the Standard Webhooks scheme. `webhook-id` is the notification id, the same in every attempt, and the body is
the same too: a receiver that remembers ids sees everything exactly once.
"""

from __future__ import annotations

import asyncio
import binascii
import random
import time
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from alerts.targets import Target, TargetError, parse, resolve
from pulssi import __version__
from pulssi.settings import NotifySettings
from storage.outbox import Notification

GONE = 410
_ERROR_LENGTH_MAX = 300
_LEFT_OUT = {"texts", "stored_time", "decided_time"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt; exactly one of `status` and `error` may be None."""

    duration_ms: int
    status: int | None = None
    error: str | None = None
    retry_after_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the subscriber took it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the subscriber wants no more, ever."""
        return self.status == GONE

    @property
    def why(self) -> str:
        """What went wrong, short."""
        return (self.error or f"status {self.status}")[:_ERROR_LENGTH_MAX]


def body_of(notification: Notification) -> bytes:
    """The JSON that a subscriber gets; a pure function of the stored transition."""
    step = notification.transition
    alert = {field.name: getattr(step, field.name) for field in fields(step) if field.name not in _LEFT_OUT}
    language = notification.language
    return msgspec.json.encode(
        {
            "id": notification.notification_id,
            "type": f"alert.{step.state}",
            "timestamp": step.decided_time,
            "data": {"language": language, "text": step.texts.get(language, ""), "alert": alert},
        }
    )


def signed_headers(notification: Notification, body: bytes, now: datetime) -> dict[str, str]:
    """Headers of one attempt at `now`, which must be in UTC: the library would misread any other zone.

    Raises:
        TargetError: the secret is no secret.
    """
    if now.tzinfo is not UTC:
        raise ValueError("the time of a signature must be in UTC")
    try:
        signature = Webhook(notification.secret).sign(notification.notification_id, now, body.decode())
    except (binascii.Error, EmptyWebhookSecretError, ValueError) as error:
        raise TargetError("the secret of the subscription is not base64") from error
    return {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"pulssi/{__version__}",
        "webhook-id": notification.notification_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }


def make_client(settings: NotifySettings) -> httpx.AsyncClient:
    """The HTTP client: no redirects, no proxies from the environment, no connection used twice.

    A connection is kept by its address: used again it could serve another name than the one it was checked for.
    """
    return httpx.AsyncClient(
        follow_redirects=False,
        trust_env=False,
        timeout=settings.timeout_s,
        limits=httpx.Limits(max_connections=settings.subscribers_max, max_keepalive_connections=0),
    )


async def attempt(
    notification: Notification, client: httpx.AsyncClient, resolver: Executor, settings: NotifySettings
) -> Outcome:
    """Try once; never raises for what a subscriber or the network does."""
    started = time.monotonic()

    def outcome(**given: Any) -> Outcome:
        return Outcome(duration_ms=round((time.monotonic() - started) * 1000), **given)

    try:
        async with asyncio.timeout(settings.timeout_s):
            status, retry_after_s = await _post(notification, client, resolver, settings)
    except TimeoutError:
        return outcome(error=f"no answer in {settings.timeout_s:g} s")
    except TargetError as error:
        return outcome(error=str(error))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # what the other side or the net does
        return outcome(error=f"{type(error).__name__}: {error}".rstrip(": "))
    return outcome(status=status, retry_after_s=retry_after_s)


async def _post(
    notification: Notification, client: httpx.AsyncClient, resolver: Executor, settings: NotifySettings
) -> tuple[int, float]:
    body = body_of(notification)
    headers = signed_headers(notification, body, datetime.now(UTC))
    target = parse(notification.target, allow_private=settings.allow_private_targets)
    addresses = await resolve(target, resolver, allow_private=settings.allow_private_targets)
    for address in addresses[:-1]:
        try:
            return await _post_to(target.pinned(address), target, client, headers, body, settings)
        except httpx.ConnectError:
            continue  # nothing was sent: the next address of the same name
    return await _post_to(target.pinned(addresses[-1]), target, client, headers, body, settings)


async def _post_to(
    url: httpx.URL,
    target: Target,
    client: httpx.AsyncClient,
    headers: dict[str, str],
    body: bytes,
    settings: NotifySettings,
) -> tuple[int, float]:
    """Status and Retry-After of the answer; its body is read up to a bound, so that the other side can finish."""
    async with client.stream(
        "POST",
        url,
        content=body,
        headers={**headers, "host": target.authority},
        extensions={"sni_hostname": target.host},
    ) as response:
        left = settings.response_bytes_max
        async for chunk in response.aiter_raw():
            left -= len(chunk)
            if left <= 0:
                break
        return response.status_code, retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))


def retry_after_s(header: str | None, now: datetime) -> float:
    """Seconds of a Retry-After header, which holds seconds or a date; 0 when it says nothing useful."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (moment - now).total_seconds()) if moment.tzinfo else 0.0


def pause_s(attempt_number: int, outcome: Outcome, settings: NotifySettings) -> float:
    """Seconds until the next try: doubling, half of it random, no sooner than the receiver asked, bounded."""
    doubled = settings.retry_base_s * 2.0 ** min(attempt_number - 1, 40)
    pause = min(doubled, settings.retry_s_max) * random.uniform(0.5, 1.0)  # noqa: S311  jitter, no secret
    return max(pause, min(outcome.retry_after_s, float(settings.retry_s_max)))
