"""receiver: a subscriber in small, as an example and for the demo; checks signatures and tells repeated ids apart"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_BODY_BYTES_MAX = 1 << 20
_IDS_MAX = 100_000

Tell = Callable[[dict[str, Any]], None]


class Receiver(ThreadingHTTPServer):
    """Answers webhooks.

    Attributes:
        distinct: how many notifications came, each counted once.
        repeated: how many came again.
        refused: how many were not signed by us.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, secret: str, tell: Tell = lambda _: None) -> None:
        """Listen.

        Args:
            host: address to listen on.
            port: port, 0 = any free one.
            secret: key of the signature, as the subscription has it.
            tell: called with each request as it was understood.
        """
        super().__init__((host, port), _Handler)
        self._webhook = Webhook(secret)
        self._tell = tell
        self._ids: dict[str, None] = {}
        self.distinct = self.repeated = self.refused = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.server_address[0]!s}:{self.server_port}/"

    def take(self, body: bytes, headers: dict[str, str]) -> HTTPStatus:
        """Judge one request."""
        try:
            message = self._webhook.verify(body, headers)
        except (WebhookVerificationError, ValueError) as error:
            self.refused += 1
            self._tell({"event": "refused", "why": str(error)})
            return HTTPStatus.UNAUTHORIZED
        known = message["id"] in self._ids
        if known:
            self.repeated += 1
        else:
            self.distinct += 1
            self._ids[message["id"]] = None
            if len(self._ids) > _IDS_MAX:
                del self._ids[next(iter(self._ids))]
        said = {"id": message["id"], "type": message["type"], "text": message["data"]["text"]}
        self._tell({"event": "repeated" if known else "received", **said, "distinct": self.distinct})
        return HTTPStatus.OK


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        """One webhook."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _BODY_BYTES_MAX:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._answer(self.server.take(self.rfile.read(int(length)), dict(self.headers)))

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  named by the base class
        """Say nothing: `tell` does."""


def serve(host: str, port: int, secret: str) -> None:
    """Receive until SIGTERM or SIGINT, one JSON line for each request on stdout, the first with the address."""

    def tell(event: dict[str, Any]) -> None:
        print(json.dumps(event, ensure_ascii=False), flush=True)  # noqa: T201  the output of the command

    with Receiver(host, port, secret, tell) as receiver:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=receiver.shutdown).start())
        tell({"event": "listening", "url": receiver.url})
        receiver.serve_forever()
        tell({"event": "stopped", "distinct": receiver.distinct, "repeated": receiver.repeated})
