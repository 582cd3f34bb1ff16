"""server: the API process, until SIGTERM"""

from __future__ import annotations

import logging
import signal
import socket

import uvicorn

from dashboards.app import create_app
from dashboards.reader import Reader
from dashboards.stream import Hub
from pulssi import logs
from pulssi.errors import ConfigurationError
from pulssi.logs import Log
from pulssi.metrics import Metrics
from pulssi.settings import Settings

_GRACE_S = 5
"""How long open requests may take when we stop."""


class Server(uvicorn.Server):
    """uvicorn that says goodbye to its live streams first, so that it can end, and ends when the hub has failed."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop; asked ten times a second."""
        return await super().on_tick(counter) or self._hub.failure is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then wait for what is open."""
        self._hub.close()
        await super().shutdown(sockets)


class _Bridge(logging.Handler):
    """What uvicorn has to say goes into our log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line for one record."""
        self._log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def run(settings: Settings) -> None:
    """Serve the API and the page until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    log = logs.setup("api", level=settings.log.level, as_json=_as_json(settings))
    metrics = Metrics("api")
    listener = _listen(settings.api.host, settings.api.port)
    logging.getLogger("uvicorn.error").addHandler(_Bridge(log))
    with Reader(settings, metrics, log) as reader:
        app = create_app(settings, reader, metrics, log)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE_S
        )
        server = Server(config, app.state.hub)
        for number in (signal.SIGTERM, signal.SIGINT):
            # Ours from now on: uvicorn raises the signal again when it has stopped, which must not kill us then.
            signal.signal(number, server.handle_exit)
        host, port = listener.getsockname()[:2]
        log.info("serving", url=f"http://{host}:{port}")
        server.run(sockets=[listener])
    if app.state.hub.failure is not None:
        raise app.state.hub.failure
    log.info("stopped")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ConfigurationError(f"api.host, api.port: cannot listen on {host}:{port}: {error}") from error


def _as_json(settings: Settings) -> bool | None:
    return {"auto": None, "json": True, "console": False}[settings.log.format]
