// store: what the page knows, kept in step with the live stream

const AWAY_AFTER_MS = 5_000;
const RETRY_MS = 3_000;

export class Store extends EventTarget {
  constructor(url = "/api/stream") {
    super();
    this.url = url;
    this.stations = new Map();
    this.vehicles = new Map();
    this.alerts = new Map();
    this.history = [];
    this.overview = null;
    this.connection = "connecting"; // connecting, live, stale, away, reconnecting
    this.heard = 0; // performance.now() of the newest event
    this.databaseAway = false;
  }

  /** Connect and stay connected. */
  start() {
    this.connect();
    setInterval(() => this.judge(), 1_000);
    addEventListener("online", () => this.connect());
  }

  connect() {
    this.source?.close();
    clearTimeout(this.retry);
    const source = new EventSource(this.url);
    this.source = source;
    source.addEventListener("sync", (event) => this.sync(JSON.parse(event.data)));
    source.addEventListener("tick", (event) => this.tick(JSON.parse(event.data)));
    source.addEventListener("away", () => this.news(true));
    source.addEventListener("error", () => {
      this.setConnection("reconnecting");
      // The browser tries again by itself unless the server refused; then we do.
      if (source.readyState === EventSource.CLOSED) this.retry = setTimeout(() => this.connect(), RETRY_MS);
    });
  }

  sync(all) {
    this.stations = byKey(all.stations, "device_id");
    this.vehicles = byKey(all.vehicles, "vehicle");
    this.alerts = byKey(all.alerts, "alert_id");
    this.history = all.history;
    this.look(all.overview);
    this.news(false);
    this.emit("sync");
  }

  tick(change) {
    if (!this.overview) return;
    for (const station of change.stations) this.stations.set(station.device_id, station);
    for (const vehicle of change.vehicles) this.vehicles.set(vehicle.vehicle, vehicle);
    for (const alert of change.alerts) this.alerts.set(alert.alert_id, alert);
    for (const key of change.gone.stations) this.stations.delete(key);
    for (const key of change.gone.vehicles) this.vehicles.delete(key);
    for (const key of change.gone.alerts) this.alerts.delete(key);
    this.look(change.overview);
    const rates = change.overview.rates;
    this.history.push([Date.parse(change.overview.time) / 1000, rates.readings_per_s, rates.vehicle_events_per_s]);
    if (this.history.length > 600) this.history.shift();
    this.news(false);
    this.emit("tick", change);
  }

  look(overview) {
    this.overview = overview;
    this.looked = performance.now(); // the clocks of server and browser need not agree
  }

  news(databaseAway) {
    this.heard = performance.now();
    this.databaseAway = databaseAway;
    this.judge();
  }

  /** Say honestly how things stand; also when nothing comes. */
  judge() {
    if (!this.heard) return;
    if (performance.now() - this.heard > AWAY_AFTER_MS) this.setConnection("reconnecting");
    else if (this.databaseAway) this.setConnection("away");
    else this.setConnection(this.overview?.health.status === "ok" ? "live" : "stale");
    this.emit("clock");
  }

  /** Seconds since the newest data reached the system, growing while nothing is heard. */
  dataAge() {
    const age = this.overview?.health.data_age_s;
    if (age === null || age === undefined) return null;
    return age + (this.databaseAway || this.connection === "reconnecting" ? this.silence() : 0);
  }

  silence() {
    return (performance.now() - this.looked) / 1000;
  }

  setConnection(state) {
    if (this.connection === state) return;
    this.connection = state;
    this.emit("connection");
  }

  emit(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function byKey(items, key) {
  return new Map(items.map((item) => [item[key], item]));
}

const SEVERITY = { critical: 0, warning: 1, info: 2 };
export const isOpen = (alert) => alert.state === "firing" || alert.state === "acknowledged";

/** Open ones first, worst first, newest first. */
export function sortedAlerts(alerts) {
  return [...alerts].sort(
    (a, b) =>
      isOpen(b) - isOpen(a) || SEVERITY[a.severity] - SEVERITY[b.severity] || b.onset_time.localeCompare(a.onset_time),
  );
}
