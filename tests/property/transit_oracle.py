"""Visits, headways and forecasts one at a time, from a plain list of events: slow, obvious, and no code of ours."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from itertools import pairwise

import numpy as np

from pulssi.frames import IndicatorKind
from pulssi.series import series_id

ARRIVAL = ("ars", "pas", "arr", "dep")
LEAVING = ("dep", "pas", "ars", "arr")
LIMITS = ((0.21, 0), (0.30, 1), (0.39, 2), (0.52, 3), (0.74, 4), (np.inf, 5))
SHARES = ((95, 0), (90, 1), (85, 2), (80, 3), (75, 4), (-1, 5))


def is_visit(row):
    named = all(row[name] is not None for name in ("trip", "stop", "scheduled_time", "route", "direction"))
    return named and row["event"] in ARRIVAL


def visits(rows):
    """One dict for each visit, times in whole seconds."""
    by_trip = defaultdict(list)
    for row in filter(is_visit, rows):
        by_trip[row["route"], row["direction"], row["stop"], row["trip"]].append(row)
    found = []
    for (route, direction, stop, trip), events in by_trip.items():
        events.sort(key=lambda row: row["scheduled_time"])
        calls = [[events[0]]]
        for row in events[1:]:
            if row["scheduled_time"] - calls[-1][-1]["scheduled_time"] > 600_000_000:
                calls.append([])
            calls[-1].append(row)
        found += [visit(route, direction, stop, trip, call) for call in calls]
    add_headways(found)
    add_forecasts(found)
    return found


def visit(route, direction, stop, trip, events):
    def best(order):
        return min(events, key=lambda row: (order.index(row["event"]), row["event_time"], row["event_id"]))

    came, left = best(ARRIVAL), best(LEAVING)
    ready = came["event_time"]
    if left["event"] in ("dep", "pas") and ready < came["scheduled_time"]:  # it waits for its time
        ready = max(ready, min(came["scheduled_time"], left["event_time"]))
    return {
        "route": f"route:{route}:{direction}", "stop": f"stop:{stop}:{route}:{direction}", "trip": trip,
        "day": date.fromisoformat(trip.split("/")[2]), "time": ready // 1_000_000,
        "scheduled": came["scheduled_time"] // 1_000_000, "arrival_delay": came["delay_s"], "delay": left["delay_s"],
        "left": left["event_time"] // 1_000_000, "received": max(came["receive_time"], left["receive_time"]),
        "headway": None, "planned": None, "foreseen": None,
    }  # fmt: skip


def add_headways(found):
    for name, time in (("headway", "time"), ("planned", "scheduled")):
        by_stop = defaultdict(list)
        for one in found:
            by_stop[one["stop"], one["day"]].append(one)
        for calls in by_stop.values():
            calls.sort(key=lambda one: one[time])
            for before, after in pairwise(calls):
                if after[time] - before[time] <= 7200:
                    after[name] = after[time] - before[time]
    for one in found:
        if one["headway"] is None or one["planned"] is None:
            one["headway"] = one["planned"] = None


def add_forecasts(found):
    """What the last four trips lost on the way in the hour before it left, shrunk, added to its own delay."""
    trips = defaultdict(list)
    for one in found:
        trips[one["route"], one["trip"]].append(one)
    links = defaultdict(list)
    for calls in trips.values():
        calls.sort(key=lambda one: one["time"])
        for before, after in pairwise(calls):
            links[before["stop"], after["stop"]].append((before, after))
    for pairs in links.values():
        for before, after in pairs:
            ahead = [
                (there["time"], there["arrival_delay"] - here["delay"])
                for here, there in pairs
                if there is not after and before["left"] - 3600 <= there["time"] < before["left"]
            ]
            last = [change for _, change in sorted(ahead)[-4:]]
            after["foreseen"] = before["delay"] + round(sum(last) / (len(last) + 1))


def statistics(values):
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {
        "n": len(values), "mean": np.mean(values), "min": min(values), "max": max(values), "std": np.std(values),
        "p50": p50, "p95": p95, "p99": p99,
    }  # fmt: skip


def on_time(calls, band):
    share = 100 * sum(band[0] <= one["delay"] <= band[1] for one in calls) / len(calls)
    level = next(level for limit, level in SHARES if share >= limit)
    return {"kind": IndicatorKind.ON_TIME, "n": len(calls), "value": share, "class_": level}


def headways(calls):
    """Fields by quantity, of calls that follow another."""
    actual = np.array([one["headway"] for one in calls], float)
    planned = np.array([one["planned"] for one in calls], float)
    cvh = np.std(actual - planned) / planned.mean() if len(calls) > 1 and planned.mean() > 0 else None
    level = -1 if cvh is None else next(level for limit, level in LIMITS if round(cvh, 2) <= limit)
    wait = [np.mean(h**2) / (2 * h.mean()) if h.mean() > 0 else 0.0 for h in (actual, planned)]
    several = {
        "bunched_share": 100 * np.mean(actual < planned / 2),
        "gap_share": 100 * np.mean((actual > 1.5 * planned) & (planned > 0)),
        "excess_wait": wait[0] - wait[1],
    }
    own = {"kind": IndicatorKind.HEADWAY, "n": len(calls)}
    return {
        "headway": own | statistics(actual) | {"value": cvh, "class_": level},
        **{name: own | {"value": value, "mean": value} for name, value in several.items()},
    }


def service(found, window_s, step_s, bands):
    """Every window of every stop and route; keys are series, start in us and length. Bands by channel."""
    windows = defaultdict(list)
    for one in found:
        for name in (one["stop"], one["route"]):
            last = one["time"] // step_s
            for step in range(last - window_s // step_s + 1, last + 1):
                windows[name, step * step_s].append(one)
    expected = {}
    for (name, start), calls in windows.items():
        fields = {}
        if name.startswith("stop:"):
            delays = statistics([one["delay"] for one in calls])
            fields["delay", None] = {"kind": IndicatorKind.DELAY, **delays, "value": delays["p50"]}
            fields["delay", None]["receive_time"] = max(one["received"] for one in calls)
            fields |= {("on_time_share", channel): on_time(calls, band) for channel, band in bands.items()}
        following = [one for one in calls if one["headway"] is not None]
        if following:
            fields |= {(quantity, None): values for quantity, values in headways(following).items()}
        errors = [abs(one["arrival_delay"] - one["foreseen"]) for one in calls if one["foreseen"] is not None]
        if errors and name.startswith("route:"):
            mae = statistics(errors)
            fields["delay_forecast_error", None] = {"kind": IndicatorKind.DELAY, **mae, "value": mae["mean"]}
        for series, values in fields.items():
            expected[series_id(name, *series), start * 1_000_000, window_s] = values
    return expected
