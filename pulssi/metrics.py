"""one metrics contract for every process: received, sent, dropped by reason, errors, in flight, lag and age

The same names in every component; what differs is the label `component` and the name of the other side.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from threading import Lock, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class _Histogram(Collector):
    """A histogram that takes a whole column at once; the one of prometheus_client takes 1 us for every value."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        self._described = (name, text)
        self._labels = labels
        self._bounds = bounds
        self._counts: dict[tuple[str, ...], np.ndarray] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        self._lock = Lock()

    def observe(self, labels: tuple[str, ...], values: float | np.ndarray) -> None:
        """Count one value or a column; a value equal to a bound lies below it."""
        with self._lock:
            counts = self._counts.setdefault(labels, np.zeros(len(self._bounds) + 1, np.int64))
            if isinstance(values, float):
                counts[bisect_left(self._bounds, values)] += 1
                total = values
            else:
                counts += np.bincount(np.searchsorted(self._bounds, values), minlength=len(counts))
                total = float(values.sum())
            self._sums[labels] = self._sums.get(labels, 0.0) + total

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The one family, as prometheus_client asks for it."""
        family = HistogramMetricFamily(*self._described, labels=self._labels)
        bounds = [*map(str, self._bounds), "+Inf"]
        with self._lock:
            for labels, counts in self._counts.items():
                buckets = list(zip(bounds, np.cumsum(counts).tolist(), strict=True))
                family.add_metric(labels, buckets, self._sums[labels])
        yield family


class Metrics:
    """The metrics of one process.

    Every component counts units of its own (readings, vehicle events, rows, notifications); `what` names the unit and
    `source`/`target` the other side.
    """

    def __init__(self, component: str, registry: CollectorRegistry | None = None) -> None:
        self.component = component
        self.registry = registry or CollectorRegistry()
        self.contract: list[tuple[str, str, tuple[str, ...], str]] = []
        self._server: WSGIServer | None = None
        self._ready = False
        self._received = self._counter("pulssi_received", "Units taken in", "source", "what")
        self._sent = self._counter("pulssi_sent", "Units handed over and confirmed", "target", "what")
        self._dropped = self._counter("pulssi_dropped", "Units refused, each kept as a dead letter", "reason")
        self._noted = self._counter("pulssi_noted", "What was made of the units taken in, by kind", "source", "what")
        self._errors = self._counter("pulssi_errors", "Failures that were retried or ended something", "kind")
        self._restarts = self._counter("pulssi_reconnects", "Connections made again", "target")
        self._in_flight = self._gauge("pulssi_in_flight", "Taken in and not yet confirmed", "what")
        self._limit = self._gauge("pulssi_limit", "Named bounds in force, from the settings", "what")
        self._lag = self._gauge("pulssi_lag_records", "Records waiting in the source", "source")
        self._age = self._gauge("pulssi_age_seconds", "Age of the newest unit handled, by receive time", "what")
        self._is_ready = self._gauge("pulssi_ready", "1 while it does its work: connected, subscribed, assigned")
        self._up = self._gauge("pulssi_connected", "1 while the other side answers", "target")
        self._latency = self._histogram("pulssi_latency_seconds", "From receive time to hand-over", "what")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.contract.append((f"{name}_total", "counter", labels, text))
        return Counter(name, text, ("component", *labels), registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.contract.append((name, "gauge", labels, text))
        return Gauge(name, text, ("component", *labels), registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> _Histogram:
        self.contract.append((name, "histogram", labels, text))
        histogram = _Histogram(name, text, ("component", *labels), _LATENCY_S)
        self.registry.register(histogram)
        return histogram

    def received(self, source: str, what: str, n: int = 1) -> None:
        """`n` units came in from `source`."""
        self._received.labels(self.component, source, what).inc(n)

    def sent(self, target: str, what: str, n: int = 1) -> None:
        """`n` units were handed to `target` and confirmed by it."""
        self._sent.labels(self.component, target, what).inc(n)

    def dropped(self, reason: str, n: int = 1) -> None:
        """`n` units were refused for `reason` (a word of `pulssi.errors.Reason`, so the label set is bounded)."""
        self._dropped.labels(self.component, reason).inc(n)

    def noted(self, source: str, what: str, n: int = 1) -> None:
        """`n` units from `source` were `what` (late, duplicates, windows ...): nothing is passed over unseen."""
        self._noted.labels(self.component, source, what).inc(n)

    def error(self, kind: str, n: int = 1) -> None:
        """Something failed and is retried, or ended."""
        self._errors.labels(self.component, kind).inc(n)

    def reconnected(self, target: str) -> None:
        """A connection was made again."""
        self._restarts.labels(self.component, target).inc()

    def in_flight(self, what: str, n: float) -> None:
        """What is taken in and not yet confirmed, in units of `what` (bytes, readings ...)."""
        self._in_flight.labels(self.component, what).set(n)

    def limit(self, what: str, n: float) -> None:
        """A bound from the settings, beside what it bounds."""
        self._limit.labels(self.component, what).set(n)

    def lag(self, source: str, records: int) -> None:
        """Records that wait in `source`."""
        self._lag.labels(self.component, source).set(records)

    def age(self, what: str, seconds: float) -> None:
        """How old the newest handled unit is."""
        self._age.labels(self.component, what).set(seconds)

    def connected(self, target: str, up: bool) -> None:  # noqa: FBT001  a gauge is set to what it is
        """Whether `target` answers."""
        self._up.labels(self.component, target).set(up)

    def ready(self, up: bool) -> None:  # noqa: FBT001  a gauge is set to what it is
        """Whether the process does its work now; what `/ready` answers."""
        self._ready = up
        self._is_ready.labels(self.component).set(up)

    def latency(self, what: str, seconds: float | np.ndarray) -> None:
        """One observed latency, or a column of them."""
        self._latency.observe((self.component, what), seconds)

    def serve(self, host: str, port: int) -> int:
        """Serve `/metrics` and `/ready` from a thread of its own and return the port.

        `/ready` answers 200 while the process does its work, else 503. Port -1 = do not serve, 0 = any free one.
        """
        if port < 0:
            return port
        self._server = make_server(host, port, self._answer, ThreadingWSGIServer, _Quiet)
        Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        return int(self._server.server_port)

    def _answer(self, environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environment["PATH_INFO"] != "/ready":
            answer: Iterable[bytes] = make_wsgi_app(self.registry)(environment, start_response)
            return answer
        status, text = ("200 OK", b"ready\n") if self._ready else ("503 Service Unavailable", b"not ready\n")
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text]

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Quiet(WSGIRequestHandler):
    """Without a line on stderr for every request."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
