// format: numbers, durations and places as people read them, in the chosen language

import { language, t } from "./i18n.js";

const CITY_ZONE = "Europe/Helsinki";
const DAY = { day: "numeric", month: "numeric" };
const cache = new Map();

function cached(kind, options, make) {
  const key = `${kind} ${language()} ${JSON.stringify(options)}`;
  if (!cache.has(key)) cache.set(key, make());
  return cache.get(key);
}

/** A number with as many digits as mean something. */
export function number(value, digits = null) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const places = digits ?? (Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 1);
  const options = { minimumFractionDigits: 0, maximumFractionDigits: places };
  return cached("number", options, () => new Intl.NumberFormat(language(), options)).format(value).replace("-", "−");
}

/** A rate or count that fits in a few characters. */
export function compact(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10_000) return number(value, value < 10 ? 1 : 0);
  const options = { notation: "compact", maximumFractionDigits: 1 };
  return cached("compact", options, () => new Intl.NumberFormat(language(), options)).format(value);
}

/** 0.4 s, 12 s, 3 min, 2 h, 5 d */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const length = Math.max(seconds, 0);
  if (length < 10) return `${number(length, 1)} s`;
  if (length < 100) return `${number(length, 0)} s`;
  if (length < 5_400) return `${number(length / 60, 0)} min`;
  if (length < 129_600) return `${number(length / 3_600, 0)} h`;
  return `${number(length / 86_400, 0)} ${t("day_short")}`;
}

/** +4 min, −1 min, 0 min: positive is late. */
export function delay(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const minutes = Math.trunc(seconds / 60);
  return `${minutes > 0 ? "+" : ""}${number(minutes, 0)} min`;
}

/** Clock time of the city, wherever one looks from; with the day when it is not today. */
export function clock(iso, { seconds = false } = {}) {
  const moment = new Date(iso);
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (seconds) options.second = "2-digit";
  if (inCity(DAY, moment) !== inCity(DAY, new Date())) Object.assign(options, DAY);
  return inCity(options, moment);
}

function inCity(options, moment) {
  const local = { ...options, timeZone: CITY_ZONE };
  return cached("time", options, () => new Intl.DateTimeFormat(language(), local)).format(moment);
}

const UNITS = { "ug/m3": "µg/m³", Cel: "°C", "%RH": "%", deg: "°", "veh/h": "veh/h" };

/** A unit as it is printed. */
export function unit(code) {
  return UNITS[code] ?? code;
}
