"""A slow and obvious account of the air indices: one station, one hour, one rule at a time, in plain Python.

The tables are typed in again from their sources, so that a slip in the tables of the product shows here.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

HELSINKI = ZoneInfo("Europe/Helsinki")
ORDER = ["so2", "no2", "pm10", "pm2_5", "o3", "co", "trs", "black_carbon"]

FINNISH = {
    "so2": [20, 80, 250, 350],
    "no2": [40, 70, 150, 200],
    "pm10": [20, 50, 100, 200],
    "pm2_5": [10, 25, 50, 75],
    "o3": [60, 100, 140, 180],
    "co": [4000, 8000, 20000, 30000],
    "trs": [5, 10, 20, 50],
    "black_carbon": [1, 3, 7, 12],
}
EUROPE = {
    "pm2_5": [5, 15, 50, 90, 140],
    "pm10": [15, 45, 120, 195, 270],
    "no2": [10, 25, 60, 100, 150],
    "o3": [60, 100, 120, 160, 180],
    "so2": [20, 40, 125, 190, 275],
}
EUROPE_2017 = {
    "pm2_5": [10, 20, 25, 50, 75],
    "pm10": [20, 40, 50, 100, 150],
    "no2": [40, 90, 120, 230, 340],
    "o3": [50, 100, 130, 240, 380],
    "so2": [100, 200, 350, 500, 750],
}
US = {  # decimals, then (lowest, highest, index of both)
    "pm2_5": (
        1,
        [
            *[(0, 9.0, 0, 50), (9.1, 35.4, 51, 100), (35.5, 55.4, 101, 150), (55.5, 125.4, 151, 200)],
            *[(125.5, 225.4, 201, 300), (225.5, 325.4, 301, 500)],
        ],
    ),
    "pm10": (
        0,
        [
            *[(0, 54, 0, 50), (55, 154, 51, 100), (155, 254, 101, 150), (255, 354, 151, 200)],
            *[(355, 424, 201, 300), (425, 604, 301, 500)],
        ],
    ),
    "o3_8h": (
        3,
        [
            *[(0, 0.054, 0, 50), (0.055, 0.070, 51, 100), (0.071, 0.085, 101, 150), (0.086, 0.105, 151, 200)],
            (0.106, 0.200, 201, 300),
        ],
    ),
    "o3_1h": (
        3,
        [(0.125, 0.164, 101, 150), (0.165, 0.204, 151, 200), (0.205, 0.404, 201, 300), (0.405, 0.604, 301, 500)],
    ),
    "co": (
        1,
        [
            *[(0, 4.4, 0, 50), (4.5, 9.4, 51, 100), (9.5, 12.4, 101, 150), (12.5, 15.4, 151, 200)],
            *[(15.5, 30.4, 201, 300), (30.5, 50.4, 301, 500)],
        ],
    ),
    "so2_1h": (0, [(0, 35, 0, 50), (36, 75, 51, 100), (76, 185, 101, 150), (186, 304, 151, 200)]),
    "so2_24h": (0, [(305, 604, 201, 300), (605, 1004, 301, 500)]),
    "no2": (
        0,
        [
            *[(0, 53, 0, 50), (54, 100, 51, 100), (101, 360, 101, 150), (361, 649, 151, 200)],
            *[(650, 1249, 201, 300), (1250, 2049, 301, 500)],
        ],
    ),
}
UG_PER_PPB = {"o3": 47.998 / 24.055, "no2": 46.0055 / 24.055, "so2": 64.066 / 24.055, "co": 28.010 / 24.055}
THRESHOLDS = {  # (information, hours in a row), (alert, hours in a row)
    "eu_threshold_level": {"o3": ((180, 1), (240, 1)), "no2": ((150, 3), (200, 3)), "so2": ((275, 3), (350, 3))},
    "eu_threshold_level_2008": {"o3": ((180, 1), (240, 1)), "no2": (None, (400, 3)), "so2": (None, (500, 3))},
}
WHO = {"pm2_5": 15, "pm10": 45, "no2": 25, "so2": 40, "co": 4000}
DAY_ALERT = {"pm2_5": 50, "pm10": 90}


def rows_of(hours, *, roadside=False, zone=HELSINKI):
    """{(quantity, channel, window_s, first hour): (value, class, concentration, dominant)} of one station.

    `hours` is {compound: {hour: mean in ug/m3, None when heard of but not complete}}; the newest hour ends it.
    """
    return Station(hours, roadside=roadside, zone=zone).rows()


class Station:
    def __init__(self, hours, *, roadside, zone):
        self.hours = hours
        self.roadside = roadside
        self.zone = zone
        self.said = {}

    def rows(self):
        every = sorted({hour for series in self.hours.values() for hour in series})
        for hour in every:
            self.finnish(hour)
            self.european("air_index_eu", EUROPE, hour, particle_hours=1)
            self.european("air_index_eu_2017", EUROPE_2017, hour, particle_hours=24)
            self.us(hour)
            self.thresholds(hour)
        if every:
            self.days(every[0], every[-1])
        return self.said

    def value(self, compound, hour):
        return self.hours.get(compound, {}).get(hour)

    def last(self, compound, hour, n):
        """Newest first."""
        return [self.value(compound, hour - back) for back in range(n)]

    def heard(self, compound, hour, n=1):
        return sum(hour - back in self.hours.get(compound, {}) for back in range(n))

    def say(self, quantity, channel, hour, result, window_s=3600):
        self.said[quantity, channel, window_s, hour] = result or (None, -1, None, None)

    def total(self, quantity, hour, parts, heard_enough, enough):
        if not heard_enough:
            return
        best = None
        for name, part in parts:
            if part is not None and enough and (best is None or part[0] > best[0]):
                best = (part[0], part[1], part[2], ORDER.index(name))
        self.say(quantity, None, hour, best)

    def part(self, quantity, channel, hour, result, heard):
        if heard:
            name = channel.removesuffix("_8h")
            self.say(quantity, channel, hour, result and (*result, ORDER.index(name)))
        return result

    def finnish(self, hour):
        parts = []
        for name, limits in FINNISH.items():
            mean = self.value(name, hour)
            result = None if mean is None else (*finnish(mean, limits), mean)
            self.part("air_index_fi", name, hour, result, self.heard(name, hour))
            if name != "black_carbon":
                parts.append((name, result))
        heard = sum(self.heard(name, hour) for name, _ in parts)
        self.total("air_index_fi", hour, parts, heard >= 3, sum(part is not None for _, part in parts) >= 3)

    def european(self, quantity, table, hour, particle_hours):
        parts, heard = [], {}
        for name, bounds in table.items():
            n = particle_hours if name.startswith("pm") else 1
            mean = mean_of(self.last(name, hour, n))
            band = None if mean is None else sum(mean > bound for bound in bounds)
            heard[name] = self.heard(name, hour, n) >= 0.75 * n
            result = None if band is None else (band + 1, band, mean)
            parts.append((name, self.part(quantity, name, hour, result, heard[name])))
        there = {name: part is not None for name, part in parts}
        self.total(quantity, hour, parts, self.enough(heard), self.enough(there))

    def enough(self, there):
        return there["no2"] and (there["pm2_5"] or there["pm10"]) and (self.roadside or there["o3"])

    def ppb(self, compound, hour, n):
        return [None if one is None else one / UG_PER_PPB[compound] for one in self.last(compound, hour, n)]

    def us(self, hour):
        parts, some = [], False
        for name in ("pm2_5", "pm10"):
            now = nowcast(self.last(name, hour, 12), US[name][0])
            heard = self.heard(name, hour, 3) >= 2
            some |= heard
            result = None if now is None else us(now, name)
            parts.append((name, self.part("air_index_us", name, hour, result, heard)))
        ozone = self.ppb("o3", hour, 3)
        newest = next((one for one in ozone if one is not None), None)
        result = None if newest is None else us(max(0.85 * newest + 4.5, 0) / 1000, "o3_8h")
        result = higher(result, None if ozone[0] is None else us(ozone[0] / 1000, "o3_1h"))
        parts.append(("o3", self.part("air_index_us", "o3", hour, result, self.heard("o3", hour, 3))))
        mean = mean_of(self.ppb("co", hour, 8))
        result = None if mean is None else us(mean / 1000, "co")
        parts.append(("co", self.part("air_index_us", "co", hour, result, self.heard("co", hour, 8) >= 6)))
        one, day = self.ppb("so2", hour, 1)[0], mean_of(self.ppb("so2", hour, 24))
        result = higher(None if one is None else us(one, "so2_1h"), None if day is None else us(day, "so2_24h"))
        heard_so2 = self.heard("so2", hour)
        parts.append(("so2", self.part("air_index_us", "so2", hour, result, heard_so2)))
        one = self.ppb("no2", hour, 1)[0]
        result = None if one is None else us(one, "no2")
        parts.append(("no2", self.part("air_index_us", "no2", hour, result, self.heard("no2", hour))))
        some |= bool(self.heard("o3", hour, 3) or self.heard("co", hour, 8) >= 6 or heard_so2)
        some |= bool(self.heard("no2", hour))
        self.total("air_index_us", hour, parts, some, enough=True)
        mean = mean_of(self.ppb("o3", hour, 8))
        result = None if mean is None else us(mean / 1000, "o3_8h")
        self.part("air_index_us", "o3_8h", hour, result, self.heard("o3", hour, 8) >= 6)

    def thresholds(self, hour):
        for quantity, table in THRESHOLDS.items():
            for name, (information, alert) in table.items():
                level = 0
                for number, limit in ((1, information), (2, alert)):
                    if limit is not None:
                        run = self.last(name, hour, limit[1])
                        if all(one is not None and one > limit[0] for one in run):
                            level = number
                mean = self.value(name, hour)
                result = None if mean is None else (level, level, mean)
                self.part(quantity, name, hour, result, self.heard(name, hour))

    def days(self, first, newest):
        day = datetime.fromtimestamp(first * 3600, self.zone).date()
        while True:
            start, end = start_of(day, self.zone), start_of(day + timedelta(days=1), self.zone)
            if end - 1 > newest:
                return
            self.day(start, end)
            day += timedelta(days=1)

    def day(self, start, end):
        length = end - start
        need = 0.75 * length
        for name, limit in WHO.items():
            mean = mean_of(self.last(name, end - 1, length))
            heard = self.heard(name, end - 1, length) >= need
            self.daily("who_2021_level", name, start, mean, limit, 1, heard)
            if name in DAY_ALERT:
                self.daily("eu_threshold_level", name, start, mean, DAY_ALERT[name], 2, heard)
        means = [mean_of(self.last("o3", hour, 8)) for hour in range(start, end)]
        there = [mean for mean in means if mean is not None]
        heard = sum(self.heard("o3", hour, 8) >= 6 for hour in range(start, end)) >= need
        self.daily("who_2021_level", "o3", start, max(there) if len(there) >= need else None, 100, 1, heard)

    def daily(self, quantity, name, start, mean, limit, level, heard):
        if heard:
            found = None if mean is None else (level * (mean > limit), level * (mean > limit), mean, ORDER.index(name))
            self.say(quantity, name, start, found, 86400)


def start_of(day: date, zone):
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).timestamp()) // 3600


def mean_of(values):
    there = [one for one in values if one is not None]
    return round(math.fsum(there) / len(there), 9) if len(there) >= 0.75 * len(values) else None


def finnish(mean, limits):
    class_ = sum(mean >= limit for limit in limits[:3]) + (mean > limits[3])
    knots = list(zip([0, *limits], [0, 50, 75, 100, 150], strict=True))
    number = 0.0
    for (c0, i0), (c1, i1) in pairwise(knots):
        if mean >= c0:
            number = i0 + (i1 - i0) * (mean - c0) / (c1 - c0)
    low, high = [(0, 50), (51, 75), (76, 100), (101, 150), (151, math.inf)][class_]
    return min(max(math.floor(number + 0.5 + 1e-9), low), high), class_


def nowcast(newest_first, decimals):
    hours = [None if one is None else max(one, 0.0) for one in newest_first]
    if sum(one is not None for one in hours[:3]) < 2:
        return None
    there = [one for one in hours if one is not None]
    weight = max(min(there) / max(there), 0.5) if max(there) > 0 else 1.0
    above = math.fsum(weight**k * one for k, one in enumerate(hours) if one is not None)
    below = math.fsum(weight**k for k, one in enumerate(hours) if one is not None)
    return cut(above / below, decimals)


def cut(value, decimals):
    return math.floor(value * 10**decimals + 1e-6) / 10**decimals


def us(value, table):
    """(index, category, concentration); None below the table."""
    decimals, bands = US[table]
    exact, value = value, cut(max(value, 0.0), decimals)
    if value < bands[0][0]:
        return None
    low, high, index_low, index_high = next((band for band in bands if value <= band[1] + 1e-9), bands[-1])
    index = (index_high - index_low) / (high - low) * (value - low) + index_low
    index = math.floor(index + 0.5 + 1e-9)
    if not table.startswith("pm"):
        index = min(index, bands[-1][3])
    return index, sum(index > top for top in (50, 100, 150, 200, 300)), exact


def higher(first, second):
    if second is None or (first is not None and second[0] <= first[0]):
        return first
    return second
