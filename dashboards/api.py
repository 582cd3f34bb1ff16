"""api: the routes, read-only, each with its parameters checked and its errors documented"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import StringConstraints

from dashboards.problems import RETRY_AFTER_S, documented
from dashboards.reader import Reader
from dashboards.schemas import Alert, AlertDetail, Health, Overview, Series, SeriesDescription, Station, Vehicle
from dashboards.stream import FullError, Hub, LiveStream
from pulssi.geography import DATA
from pulssi.metrics import Metrics
from pulssi.quantities import Kind
from pulssi.settings import ApiSettings

_INT64 = 2**63
SeriesKey = Annotated[
    str,
    Path(description="Series id in decimal, as `/api/stations` gives it.", pattern=r"^-?[0-9]{1,19}$"),
]
AlertKey = Annotated[str, Path(description="Alert id in hexadecimal.", pattern=r"^[0-9a-f]{1,64}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
DeviceNames = Annotated[Sequence[_Name], Query(description="Only of these devices.", max_length=100)]
KindNames = Annotated[Sequence[Kind], Query(description="Only of these kinds.", max_length=10)]
Points = Annotated[int, Query(ge=1, le=10_000, description="Points at most; the settings may allow fewer.")]
WindowLength = Annotated[int, Query(ge=1, le=7 * 86_400, description="Which rolling window, seconds.")]
Limit = Annotated[int, Query(ge=1, le=10_000, description="How many at most; the settings may allow fewer.")]
KnownTags = Annotated[str | None, Header(description="ETags of what the client has.")]
Active = Annotated[bool, Query(description="Only those that are open.")]
Start = Annotated[datetime | None, Query(description="Start with its time zone; an hour before the end by default.")]
End = Annotated[datetime | None, Query(description="End (exclusive) with its time zone; now by default.")]


def router(reader: Reader, hub: Hub, settings: ApiSettings, metrics: Metrics) -> APIRouter:
    """Every route of the API on one reader and one hub."""
    api = APIRouter()
    _system(api, reader, metrics)
    _city(api, reader, settings)
    _alerts(api, reader, settings)
    _stream(api, hub, settings)
    return api


def _system(api: APIRouter, reader: Reader, metrics: Metrics) -> None:
    @api.get("/api/health", tags=["system"], responses={503: {"model": Health, "description": "Not ok, and why"}})
    def health(response: Response) -> Health:
        """Whether the system does its job: the database answers, data is fresh, the sink keeps up. 503 when not."""
        found = reader.health()
        response.status_code = 200 if found.status == "ok" else 503
        response.headers["Cache-Control"] = "no-store"
        return found

    @api.get("/api/overview", tags=["system"], responses=documented(503))
    def overview() -> Overview:
        """Rates, data age, counts, open alerts and dead letters in one look."""
        return reader.overview()

    @api.get("/metrics", tags=["system"], response_class=Response)
    def metrics_text() -> Response:
        """Metrics of this process in the Prometheus text format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _city(api: APIRouter, reader: Reader, settings: ApiSettings) -> None:
    areas = (DATA / "districts.geojson").read_bytes()
    tag = f'"{hashlib.sha256(areas).hexdigest()[:32]}"'
    cached = {"ETag": tag, "Cache-Control": "public, max-age=3600"}

    @api.get("/api/stations", tags=["city"], responses=documented(503))
    def stations() -> list[Station]:
        """Every device with its place, state and newest values."""
        return reader.stations()

    @api.get("/api/vehicles", tags=["city"], responses=documented(503))
    def vehicles() -> list[Vehicle]:
        """Vehicles on the road, with their delays; positive = late."""
        return reader.vehicles()

    @api.get("/api/series", tags=["city"], responses=documented(422, 503))
    def series_list(device: DeviceNames = (), kind: KindNames = (), limit: Limit = 1_000) -> list[SeriesDescription]:
        """What series there are, by device, quantity and channel."""
        return reader.series_list(device, kind, min(limit, settings.series_max))

    @api.get("/api/series/{series_id}", tags=["city"], responses=documented(404, 422, 503))
    def series(
        series_id: SeriesKey,
        start: Start = None,
        end: End = None,
        points: Points = 300,
        window_s: WindowLength = 300,
    ) -> Series:
        """Readings of one series by event time, thinned out, and its rolling windows."""
        key = int(series_id)
        if not -_INT64 <= key < _INT64:
            raise HTTPException(404, "There is no such series.")
        first, last = _range(start, end, settings.range_s_max)
        found = reader.series(key, first, last, points=min(points, settings.points_max), window_s=window_s)
        if found is None:
            raise HTTPException(404, "There is no such series.")
        return found

    @api.get(
        "/api/districts",
        tags=["city"],
        response_class=Response,
        responses={200: {"content": {"application/geo+json": {}}}, 304: {"description": "You have it already."}},
    )
    def districts(if_none_match: KnownTags = None) -> Response:
        """The 60 districts of Helsinki as GeoJSON in WGS84. City of Helsinki, CC BY 4.0."""
        if if_none_match is not None and tag in (part.strip().removeprefix("W/") for part in if_none_match.split(",")):
            return Response(status_code=304, headers=cached)
        return Response(areas, media_type="application/geo+json", headers=cached)


def _range(start: datetime | None, end: datetime | None, range_s_max: int) -> tuple[datetime, datetime]:
    last = end or datetime.now(UTC)
    if last.tzinfo is None or (start is not None and start.tzinfo is None):
        raise HTTPException(422, "A time without its zone is nobody's time.")
    try:
        first = start or last - timedelta(hours=1)
        length = last - first
    except OverflowError as error:
        raise HTTPException(422, "There is no such time.") from error
    if not timedelta(0) < length <= timedelta(seconds=range_s_max):
        raise HTTPException(422, f"The range must end after its start and be {range_s_max} s long at most.")
    return first.astimezone(UTC), last.astimezone(UTC)


def _alerts(api: APIRouter, reader: Reader, settings: ApiSettings) -> None:
    @api.get("/api/alerts", tags=["alerts"], responses=documented(422, 503))
    def alerts(*, active: Active = False, limit: Limit = 100) -> list[Alert]:
        """Alerts in their current state, newest first."""
        return reader.alerts(active=active, limit=min(limit, settings.alerts_max))

    @api.get("/api/alerts/{alert_id}", tags=["alerts"], responses=documented(404, 422, 503))
    def alert(alert_id: AlertKey) -> AlertDetail:
        """One alert with its evidence and every step so far."""
        found = reader.alert(alert_id)
        if found is None:
            raise HTTPException(404, "There is no such alert.")
        return found


def _stream(api: APIRouter, hub: Hub, settings: ApiSettings) -> None:
    @api.get(
        "/api/stream",
        tags=["system"],
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}}, **documented(503)},
    )
    async def stream(_request: Request) -> Response:
        """Server-sent events.

        `sync` first, with everything (model Sync), then `tick` with what changed (model Tick), each second; `away`
        while the database cannot be reached; `bye` with a `reason` (`slow`, `stopping`) before the server ends the
        stream. After a reconnect all starts again with a `sync`.
        """
        try:
            client = hub.join()
        except FullError as error:
            raise HTTPException(
                503, "Too many live streams are open.", headers={"Retry-After": str(RETRY_AFTER_S)}
            ) from error
        return LiveStream(hub, client, settings.send_timeout_s)
