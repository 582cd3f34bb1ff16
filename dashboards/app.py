"""app: the API, the page and what guards both, put together"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards import api, problems
from dashboards.reader import Reader
from dashboards.schemas import Sync, Tick
from dashboards.stream import Hub
from pulssi import __version__
from pulssi.logs import Log
from pulssi.metrics import Metrics
from pulssi.settings import Settings

STATIC = Path(__file__).parent / "static"

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}
"""Headers of every answer: nothing loads from elsewhere, nobody frames the page."""


class Secured:
    """Adds the security headers to every answer, errors and streams too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers on the way back."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


class PageFiles(StaticFiles):
    """Files of the page: vendored libraries carry their version in the path and never change, ours are asked for."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file with its caching."""
        response = await super().get_response(path, scope)
        fixed = path.startswith("vendor/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if fixed else "no-cache"
        return response


def create_app(settings: Settings, reader: Reader, metrics: Metrics, log: Log) -> FastAPI:
    """The whole application; its hub is at `app.state.hub`."""
    hub = Hub(reader.snapshot, settings.api, metrics, log)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(hub.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(
        title="Pulssi",
        summary="A city's live sensor data",
        description="Read-only. Series ids are decimal strings, times are ISO 8601 in UTC, errors are problem+json.",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # both would load from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.hub = hub
    problems.install(app, log, metrics)
    app.include_router(api.router(reader, hub, settings.api, metrics))
    _document_events(app)

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", PageFiles(directory=STATIC), name="static")
    app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=6)
    app.add_middleware(Secured)
    return app


def _document_events(app: FastAPI) -> None:
    """The models of the stream's events belong to the description though no route returns them."""
    made = app.openapi

    def described() -> dict[str, object]:
        document = made()
        models = document["components"]["schemas"]
        for model in (Sync, Tick):
            found = model.model_json_schema(ref_template="#/components/schemas/{model}")
            for name, definition in found.pop("$defs", {}).items():
                models.setdefault(name, definition)
            models[model.__name__] = found
        return document

    app.openapi = described  # type: ignore[method-assign]  # the documented way to extend it
