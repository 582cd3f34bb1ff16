// detail: one station or vehicle, its values in words and its series as a chart

import { drawSeries } from "./chart.js";
import { h, keyed, setText } from "./dom.js";
import { clock, delay, duration, number, unit } from "./format.js";
import { quantityName, t } from "./i18n.js";
import { alertText } from "./panel.js";
import { symbol } from "./stations.js";
import { isOpen } from "./store.js";
import { punctuality } from "./vehicles.js";

const RANGES_H = [1, 6, 24];
const REDRAW_MS = 10_000;

export class Detail {
  constructor(root, { onclose, districtName }) {
    Object.assign(this, { root, onclose, districtName });
    this.hours = 1;
    this.clear();
    addEventListener("keydown", (event) => event.key === "Escape" && !root.hidden && this.onclose());
    setInterval(() => !document.hidden && this.load(), REDRAW_MS);
  }

  clear() {
    this.destroyChart?.();
    this.destroyChart = null;
    this.request?.abort();
    this.kind = this.key = this.series = null;
    this.thresholds = new Map();
    this.root.hidden = true;
    this.root.replaceChildren();
  }

  /** Open on a station (and one of its series) or a vehicle. */
  open(kind, key, store, seriesId = null) {
    this.clear();
    Object.assign(this, { kind, key, series: seriesId });
    this.root.hidden = false;
    this.build();
    this.update(store);
    this.root.scrollTop = 0;
    this.load();
  }

  build() {
    this.back = h("button", { type: "button", class: "back", onclick: () => this.onclose() }, h("span", { "aria-hidden": "true" }, "←"), ` ${t("back")}`);
    this.heading = h("h2", { tabindex: "-1" });
    this.mark = h("span", { class: "detail-mark" });
    this.meta = h("p", { class: "meta" });
    this.warnings = h("ul", { class: "detail-alerts" });
    this.values = h("ul", { class: "values", role: "radiogroup", "aria-label": t("chart") });
    this.chart = h("div", { class: "chart-box" });
    this.ranges = h(
      "div", { class: "ranges", role: "group", "aria-label": t("chart") },
      ...RANGES_H.map((hours) =>
        h("button", { type: "button", "data-hours": hours, "aria-pressed": String(hours === this.hours), onclick: () => this.setHours(hours) }, t("hours", { n: hours })),
      ),
    );
    const head = h("div", { class: "detail-head" }, this.mark, h("div", {}, this.heading, this.meta));
    this.root.replaceChildren(this.back, head, this.warnings, this.ranges, this.chart, this.values);
    this.heading.focus({ preventScroll: true });
  }

  setHours(hours) {
    this.hours = hours;
    for (const button of this.ranges.children) button.setAttribute("aria-pressed", String(Number(button.dataset.hours) === hours));
    this.load();
  }

  update(store) {
    if (this.kind === "station") this.updateStation(store.stations.get(this.key), store.alerts);
    if (this.kind === "vehicle") this.updateVehicle(store.vehicles.get(this.key));
  }

  updateStation(station, alerts) {
    if (!station) return;
    this.series ??= station.headline;
    const look = `${station.kind} ${station.state} ${station.level}`;
    if (this.mark.dataset.look !== look) {
      this.mark.dataset.look = look;
      this.mark.replaceChildren(symbol(station.kind, station.state, station.level));
    }
    setText(this.heading, station.name || station.device_id);
    const age = (Date.now() - Date.parse(station.heard_time)) / 1000;
    const parts = [t(`state_${station.state}`), t(`kind_${station.kind}`), this.districtName(station.district), t("heard", { age: duration(age) })];
    setText(this.meta, parts.filter(Boolean).join(" · "));
    const own = station.alerts.map((id) => alerts.get(id)).filter((alert) => alert && isOpen(alert));
    this.thresholds = new Map(own.filter((alert) => alert.condition === "threshold").map((alert) => [alert.series_id, alert.threshold]));
    keyed(this.warnings, own, (alert) => alert.alert_id, () => h("li", {}, h("p"), h("p", { class: "meta" })), (item, alert) => {
      item.dataset.severity = alert.severity;
      setText(item.firstElementChild, alertText(alert));
      setText(item.lastElementChild, `${t(alert.severity)} · ${t("since", { time: clock(alert.onset_time) })}`);
    });
    keyed(this.values, station.values, (value) => value.series_id, (value) => this.makeValue(value), (item, value) => this.drawValue(item, value));
  }

  makeValue(value) {
    const choose = () => {
      this.series = value.series_id;
      for (const item of this.values.children) item.firstElementChild.setAttribute("aria-checked", String(item.dataset.key === this.series));
      this.load();
    };
    return h(
      "li", {},
      h(
        "button", { type: "button", role: "radio", class: "value", onclick: choose },
        h("span", { class: "value-name" }), h("span", { class: "value-number" }), h("span", { class: "value-level" }), h("span", { class: "meta" }),
      ),
    );
  }

  drawValue(item, value) {
    const button = item.firstElementChild;
    button.setAttribute("aria-checked", String(value.series_id === this.series));
    const [name, amount, level, meta] = button.children;
    const channel = /^[12]$/.test(value.channel ?? "") ? t("direction", { n: value.channel }) : value.channel;
    setText(name, [quantityName(value.quantity), channel].filter(Boolean).join(", "));
    setText(amount, `${number(value.value)} ${unit(value.unit)}`);
    setText(level, value.level === null ? "" : t(`level_${value.level}`));
    level.className = `value-level ${value.level === null ? "" : `level-${value.level}`}`;
    const flags = value.flags.map((flag) => t(`flag_${flag}`));
    setText(meta, [t("measured", { time: clock(value.event_time, { seconds: true }) }), ...flags].join(" · "));
    meta.classList.toggle("doubt", flags.length > 0);
  }

  updateVehicle(vehicle) {
    if (!vehicle) return;
    this.device = vehicle.device_id;
    setText(this.heading, [vehicle.line ?? vehicle.route, vehicle.headsign && `→ ${vehicle.headsign}`].filter(Boolean).join(" ") || vehicle.vehicle);
    const age = (Date.now() - Date.parse(vehicle.event_time)) / 1000;
    setText(this.meta, [vehicle.mode, vehicle.vehicle, t("heard", { age: duration(age) })].filter(Boolean).join(" · "));
    const facts = [
      [t("delay"), delay(vehicle.delay_s), t(punctuality(vehicle.delay_s))],
      [t("speed"), vehicle.speed === null ? "–" : `${number(vehicle.speed * 3.6, 0)} km/h`, ""],
      [t("route"), [vehicle.route, vehicle.direction && t("direction", { n: vehicle.direction })].filter(Boolean).join(", ") || "–", ""],
    ];
    this.values.removeAttribute("role");
    keyed(this.values, facts, ([name]) => name, () => h("li", { class: "value" }, h("span", { class: "value-name" }), h("span", { class: "value-number" }), h("span", { class: "meta" })), (item, fact) => {
      fact.forEach((words, i) => setText(item.children[i], words));
    });
  }

  /** The series of a vehicle's delays, once the streams have announced it. */
  async findDelays(signal) {
    try {
      const found = await json(`/api/series?${new URLSearchParams({ device: this.device })}`, signal);
      return found.find((series) => series.quantity === "delay")?.series_id ?? null;
    } catch {
      return null; // asked again with the next drawing
    }
  }

  /** Fetch and draw; an answer that comes after another choice is dropped. */
  async load() {
    if (this.root.hidden) return;
    this.request?.abort();
    this.request = new AbortController();
    if (this.kind === "vehicle") this.series ??= await this.findDelays(this.request.signal);
    this.chart.hidden = this.ranges.hidden = !this.series;
    if (!this.series) return;
    const end = new Date();
    const start = new Date(end - this.hours * 3_600_000);
    const query = new URLSearchParams({ start: start.toISOString(), end: end.toISOString(), points: "300" });
    const asked = `${this.series} ${this.hours}`;
    if (!this.destroyChart) this.chart.replaceChildren(h("p", { class: "empty" }, t("loading")));
    try {
      const series = await json(`/api/series/${this.series}?${query}`, this.request.signal);
      if (asked !== `${this.series} ${this.hours}`) return;
      this.destroyChart?.();
      this.destroyChart = drawSeries(this.chart, series, { threshold: this.thresholds.get(this.series) ?? null });
    } catch (error) {
      if (error.name === "AbortError" || this.destroyChart) return;
      this.chart.replaceChildren(h("p", { class: "empty" }, t("chart_failed")));
    }
  }
}

async function json(url, signal) {
  const answer = await fetch(url, { signal });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}
