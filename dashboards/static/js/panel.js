// panel: alerts, stations and vehicles as lists; what the map shows, in words

import { h, keyed, setText } from "./dom.js";
import { clock, delay, duration, number, unit } from "./format.js";
import { language, quantityName, t } from "./i18n.js";
import { describe, headline, symbol } from "./stations.js";
import { isOpen, sortedAlerts } from "./store.js";
import { punctuality } from "./vehicles.js";

const VEHICLES_SHOWN = 60;
const STATES = ["alert", "flagged", "stale", "ok"];
const SEVERITY_SIGNS = { critical: "!!", warning: "!", info: "i" };

/** The sentence of an alert in the language of the page, or the nearest that it has. */
export function alertText(alert) {
  return alert.texts[language()] ?? alert.texts.en ?? alert.texts.fi ?? `${alert.rule}: ${quantityName(alert.quantity)}`;
}

export class Panel {
  constructor(root, { onalert, onstation, onvehicle, onfilter, districtName }) {
    Object.assign(this, { root, onalert, onstation, onvehicle, onfilter, districtName });
    this.tab = "alerts";
    this.hidden = new Set();
    this.query = "";
    this.tabs = Object.fromEntries(["alerts", "stations", "vehicles"].map((name) => [name, this.makeTab(name)]));
    this.lists = Object.fromEntries(Object.keys(this.tabs).map((name) => [name, h("ul", { class: `list ${name}` })]));
    this.search = h("input", { type: "search", class: "search", autocomplete: "off", spellcheck: "false", oninput: () => this.find() });
    this.filters = h("div", { class: "filters", role: "group" });
    this.empty = h("p", { class: "empty", role: "status" });
    this.body = h("div", { class: "tabpanel", role: "tabpanel", id: "tabpanel", tabindex: "-1" });
    this.bar = h("div", { class: "tabs", role: "tablist" }, ...Object.values(this.tabs));
    this.bar.addEventListener("keydown", (event) => this.arrow(event));
    root.append(this.filters, this.bar, this.body);
    this.relabel();
    this.show("alerts");
  }

  makeTab(name) {
    return h(
      "button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "tabpanel", onclick: () => this.show(name) },
      h("span", { class: "tab-name" }), h("span", { class: "tab-count" }),
    );
  }

  arrow(event) {
    const names = Object.keys(this.tabs);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    this.show(names[(names.indexOf(this.tab) + step + names.length) % names.length]);
    this.tabs[this.tab].focus();
  }

  show(name) {
    this.tab = name;
    for (const [key, tab] of Object.entries(this.tabs)) {
      tab.setAttribute("aria-selected", String(key === name));
      tab.tabIndex = key === name ? 0 : -1;
    }
    this.body.setAttribute("aria-labelledby", `tab-${name}`);
    this.body.replaceChildren(...(name === "stations" ? [this.search] : []), this.lists[name], this.empty);
    if (this.store) this.update(this.store);
  }

  relabel() {
    for (const [name, tab] of Object.entries(this.tabs)) setText(tab.firstElementChild, t(name));
    this.bar.setAttribute("aria-label", t("lists"));
    this.filters.setAttribute("aria-label", t("states"));
    this.search.placeholder = t("search");
    this.search.setAttribute("aria-label", t("search"));
    for (const list of Object.values(this.lists)) list.replaceChildren();
    this.filters.replaceChildren();
    if (this.store) this.update(this.store);
  }

  find() {
    this.query = this.search.value.trim().toLocaleLowerCase();
    this.update(this.store);
  }

  /** Whether a station passes the buttons of states. */
  passes(station) {
    return !this.hidden.has(station.state);
  }

  update(store) {
    this.store = store;
    const open = [...store.alerts.values()].filter(isOpen).length;
    const counts = { alerts: open, stations: store.stations.size, vehicles: store.vehicles.size };
    for (const [name, tab] of Object.entries(this.tabs)) setText(tab.lastElementChild, number(counts[name]));
    this.tabs.alerts.classList.toggle("urgent", open > 0);
    this.drawFilters(store);
    this[`draw_${this.tab}`](store);
  }

  drawFilters(store) {
    const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
    for (const station of store.stations.values()) counts[station.state] += 1;
    const make = (state) => {
      const button = h(
        "button", { type: "button", class: "filter", onclick: () => this.toggle(state) },
        symbol("air", state, state === "ok" ? 0 : null), h("b"), h("span", {}, t(`state_${state}`)),
      );
      return button;
    };
    keyed(this.filters, STATES, (state) => state, make, (button, state) => {
      setText(button.children[1], number(counts[state]));
      button.setAttribute("aria-pressed", String(!this.hidden.has(state)));
      button.classList.toggle("none", counts[state] === 0);
    });
  }

  toggle(state) {
    if (!this.hidden.delete(state)) this.hidden.add(state);
    this.update(this.store);
    this.onfilter();
  }

  draw_alerts(store) {
    const alerts = sortedAlerts(store.alerts.values());
    const make = (alert) =>
      h(
        "li", {},
        h(
          "button", { type: "button", class: "row alert-row", onclick: () => this.onalert(alert.alert_id) },
          h("span", { class: "severity", "aria-hidden": "true" }), h("span", { class: "alert-text" }), h("span", { class: "meta" }),
        ),
      );
    keyed(this.lists.alerts, alerts, (alert) => alert.alert_id, make, (item, alert) => this.drawAlert(item.firstElementChild, alert));
    this.say(alerts.length === 0 && `${t("no_alerts")}\n${t("no_alerts_more")}`);
  }

  drawAlert(button, alert) {
    const over = !isOpen(alert);
    button.dataset.severity = over ? "over" : alert.severity;
    button.dataset.alert = alert.alert_id;
    const [sign, text, meta] = button.children;
    setText(sign, over ? "✓" : SEVERITY_SIGNS[alert.severity]);
    setText(text, alertText(alert));
    const times = over
      ? `${t("resolved")} ${t("until", { from: clock(alert.onset_time), to: clock(alert.resolved_time ?? alert.onset_time) })}`
      : `${alert.state === "acknowledged" ? t("acknowledged") : t(alert.severity)} · ${t("since", { time: clock(alert.onset_time) })}`;
    const place = [alert.name || alert.device_id, this.districtName(alert.district)].filter(Boolean).join(", ");
    setText(meta, `${times} · ${place}`);
  }

  draw_stations(store) {
    const order = (station) => STATES.indexOf(station.state);
    const name = (station) => station.name || station.device_id;
    const found = [...store.stations.values()]
      .filter((station) => this.passes(station))
      .filter((station) => !this.query || `${name(station)} ${station.device_id} ${this.districtName(station.district) ?? ""}`.toLocaleLowerCase().includes(this.query))
      .sort((a, b) => order(a) - order(b) || name(a).localeCompare(name(b), language()));
    const make = (station) =>
      h(
        "li", {},
        h(
          "button", { type: "button", class: "row station-row", onclick: () => this.onstation(station.device_id) },
          h("span", { class: "row-symbol" }), h("span", { class: "row-name" }), h("span", { class: "row-value" }), h("span", { class: "meta" }),
        ),
      );
    keyed(this.lists.stations, found, (station) => station.device_id, make, (item, station) => this.drawStation(item.firstElementChild, station));
    this.say(found.length === 0 && t("no_stations"));
  }

  drawStation(button, station) {
    const [sign, name, value, meta] = button.children;
    const look = `${station.kind} ${station.state} ${station.level}`;
    if (sign.dataset.look !== look) {
      sign.dataset.look = look;
      sign.replaceChildren(symbol(station.kind, station.state, station.level));
    }
    const shown = headline(station);
    setText(name, station.name || station.device_id);
    setText(value, `${number(shown.value)} ${unit(shown.unit)}`);
    const district = this.districtName(station.district) ?? (station.lat === null ? t("no_place") : null);
    setText(meta, [t(`kind_${station.kind}`), quantityName(shown.quantity), district].filter(Boolean).join(" · "));
    button.setAttribute("aria-label", describe(station));
  }

  draw_vehicles(store) {
    const latest = [...store.vehicles.values()]
      .filter((vehicle) => vehicle.line || vehicle.route)
      .sort((a, b) => Math.abs(b.delay_s ?? 0) - Math.abs(a.delay_s ?? 0) || a.vehicle.localeCompare(b.vehicle))
      .slice(0, VEHICLES_SHOWN);
    const make = (vehicle) =>
      h(
        "li", {},
        h(
          "button", { type: "button", class: "row vehicle-row", onclick: () => this.onvehicle(vehicle.vehicle) },
          h("span", { class: "line" }), h("span", { class: "row-name" }), h("span", { class: "row-delay" }), h("span", { class: "meta" }),
        ),
      );
    keyed(this.lists.vehicles, latest, (vehicle) => vehicle.vehicle, make, (item, vehicle) => {
      const [line, name, late, meta] = item.firstElementChild.children;
      setText(line, vehicle.line ?? vehicle.route);
      setText(name, vehicle.headsign ? `→ ${vehicle.headsign}` : vehicle.route ?? "");
      setText(late, delay(vehicle.delay_s));
      late.dataset.delay = punctuality(vehicle.delay_s);
      setText(meta, `${t(punctuality(vehicle.delay_s))} · ${vehicle.mode ?? ""} ${vehicle.vehicle}`);
    });
    this.say(latest.length === 0 && t("no_vehicles"));
  }

  say(words) {
    this.empty.hidden = !words;
    setText(this.empty, words || "");
  }
}

/** What an operator asks last: how much is stored, how fast, what was refused, on which database. */
export class SystemBox {
  constructor(root) {
    this.root = root;
    this.summary = h("summary", {}, h("span"), h("span", { class: "health" }));
    this.facts = h("dl");
    root.append(h("details", {}, this.summary, this.facts));
  }

  update(overview) {
    setText(this.summary.firstElementChild, t("system"));
    const health = this.summary.lastElementChild;
    setText(health, t(`health_${overview.health.status}`));
    health.dataset.health = overview.health.status;
    const refused = Object.entries(overview.dead_letters);
    const total = refused.reduce((sum, [, n]) => sum + n, 0);
    const latency = overview.latencies.readings ?? overview.latencies.vehicles;
    const { counts } = overview;
    const rows = [
      [t("readings_stored"), number(counts.readings)],
      [t("vehicle_events_stored"), number(counts.vehicle_events)],
      [t("indicators_stored"), number(counts.indicators)],
      [t("series"), number(counts.series)],
      [t("stored_after"), latency ? `${duration(latency.p50_s)} · p99 ${duration(latency.p99_s)}` : "–"],
      [t("dead_letters"), total ? `${number(total)} (${refused.map(([reason, n]) => `${reason} ${number(n)}`).join(", ")})` : t("none")],
      [t("tier"), overview.tier ?? "–"],
      ...overview.health.reasons.map((reason) => ["⚠", reason]),
    ];
    keyed(this.facts, rows, ([name, value]) => (name === "⚠" ? value : name), () => h("div", {}, h("dt"), h("dd")), (row, [name, value]) => {
      setText(row.firstElementChild, name);
      setText(row.lastElementChild, value);
    });
  }
}
