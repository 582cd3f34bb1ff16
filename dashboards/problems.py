"""problems: every error of the API is `application/problem+json` (RFC 9457) and never a traceback"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from dashboards.schemas import Problem
from pulssi.errors import TransientError
from pulssi.logs import Log
from pulssi.metrics import Metrics

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2


def problem(status: int, detail: str, errors: Sequence[str] = (), headers: dict[str, str] | None = None) -> Response:
    """The answer that says what went wrong."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=tuple(errors))
    return Response(body.model_dump_json(), status, headers, MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can fail in these ways."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": Problem,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI, log: Log, metrics: Metrics) -> None:
    """Handlers for everything that a route can raise."""

    async def http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  registered for this class only
        return problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this class only
        errors = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        return problem(422, "Some parameters cannot be used.", errors)

    async def away(_request: Request, error: Exception) -> Response:
        return problem(503, f"{error}; try again", headers={"Retry-After": str(RETRY_AFTER_S)})

    async def unexpected(request: Request, error: Exception) -> Response:
        metrics.error("unexpected")
        log.error("unexpected", path=request.url.path, exc_info=error)
        return problem(500, "This is our fault; the log says more.")

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(TransientError, away)
    app.add_exception_handler(Exception, unexpected)
