// main: the parts of the page, wired together

import { Sparkline } from "./chart.js";
import { Detail } from "./detail.js";
import { h, setText } from "./dom.js";
import { clock, compact, duration } from "./format.js";
import { LANGUAGES, language, setLanguage, t } from "./i18n.js";
import { drawLegend } from "./legend.js";
import { CityMap } from "./map.js";
import { Panel, SystemBox } from "./panel.js";
import { StationLayer } from "./stations.js";
import { Store, isOpen } from "./store.js";
import { VehicleLayer } from "./vehicles.js";

const $ = (id) => document.getElementById(id);
const animate = !matchMedia("(prefers-reduced-motion: reduce)").matches;

async function start() {
  const districts = await fetchDistricts();
  const store = new Store();
  const city = new CityMap($("map"), districts, { animate });
  const districtName = (code) => city.districtName(code);
  const detail = new Detail($("detail"), { districtName, onclose: () => choose(null) });
  const stations = new StationLayer(city.map, (id) => choose("station", id));
  stations.onplaced = (taken) => city.placeNames(taken);
  const vehicles = new VehicleLayer(city.map, { animate, onselect: (key) => choose("vehicle", key) });
  const panel = new Panel($("panel"), {
    districtName,
    onalert: (id) => openAlert(id),
    onstation: (id) => choose("station", id, { fly: true }),
    onvehicle: (key) => choose("vehicle", key, { fly: true }),
    onfilter: () => stations.update(store.stations),
  });
  const system = new SystemBox($("system"));
  const spark = new Sparkline($("spark"));
  let opener = null;

  function choose(kind, key = null, { fly = false, series = null } = {}) {
    if (kind && $("detail").hidden) opener = document.activeElement;
    stations.select(kind === "station" ? key : null);
    vehicles.select(kind === "vehicle" ? key : null);
    $("lists").hidden = Boolean(kind);
    history.replaceState(null, "", kind ? `#${kind}=${encodeURIComponent(key)}` : location.pathname + location.search);
    if (!kind) {
      detail.clear();
      opener?.focus?.({ preventScroll: true });
      return;
    }
    detail.open(kind, key, store, series);
    const target = kind === "station" ? store.stations.get(key) : store.vehicles.get(key);
    if (fly && target && target.lat !== null) flyTo(target);
  }

  function openAlert(id) {
    const alert = store.alerts.get(id);
    if (!alert) return;
    if (store.stations.has(alert.device_id)) choose("station", alert.device_id, { series: alert.series_id });
    if (alert.lat !== null && alert.lon !== null) flyTo(alert);
  }

  function flyTo({ lat, lon }) {
    scrollTo({ top: 0 }); // on a phone the map is above the lists
    city.flyTo(lat, lon);
  }

  function followLink() {
    const [kind, key] = location.hash.slice(1).split("=");
    if (!key) return;
    if (kind === "alert") openAlert(decodeURIComponent(key));
    if (kind === "station" || kind === "vehicle") choose(kind, decodeURIComponent(key), { fly: true });
  }

  function refresh({ type }) {
    stations.update(store.stations, (station) => panel.passes(station));
    vehicles.update(store.vehicles, { glide: type === "tick" });
    city.tint(store.alerts.values());
    panel.update(store);
    detail.update(store);
    system.update(store.overview);
    spark.update(store.history);
    drawFigures();
    document.body.classList.add("ready");
  }

  function drawFigures() {
    const rates = store.overview?.rates;
    setText($("readings"), compact(rates?.readings_per_s));
    setText($("vehicle-events"), compact(rates?.vehicle_events_per_s));
    setText($("age"), duration(store.overview ? store.dataAge() : null));
    const open = [...store.alerts.values()].filter(isOpen).length;
    document.title = open ? `(${open}) ${t("title")}` : t("title");
  }

  function drawConnection() {
    const old = store.connection === "reconnecting" || store.connection === "away";
    const when = old && store.overview ? ` · ${t("as_of", { time: clock(store.overview.time, { seconds: true }) })}` : "";
    setText($("connection-text"), t(store.connection) + when);
    $("connection").dataset.state = store.connection;
    document.body.classList.toggle("out-of-date", old);
  }

  function relabel() {
    document.documentElement.lang = language();
    for (const element of document.querySelectorAll("[data-t]")) setText(element, t(element.dataset.t));
    for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
    for (const button of $("languages").children) button.setAttribute("aria-pressed", String(button.lang === language()));
    city.relabel();
    panel.relabel();
    drawLegend($("legend"));
    drawConnection();
    if (store.overview) refresh({ type: "relabel" });
    if (detail.kind) detail.open(detail.kind, detail.key, store, detail.series);
  }

  $("languages").append(
    ...LANGUAGES.map((tag) =>
      h("button", { type: "button", lang: tag, onclick: () => (setLanguage(tag), relabel()) }, tag.toUpperCase()),
    ),
  );
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    vehicles.readColours();
    spark.rebuild();
    spark.update(store.history);
    detail.load();
  });
  store.addEventListener("sync", refresh);
  store.addEventListener("sync", followLink, { once: true });
  store.addEventListener("tick", refresh);
  store.addEventListener("connection", drawConnection);
  store.addEventListener("clock", drawFigures);
  addEventListener("hashchange", followLink);
  relabel();
  store.start();
  return { store, city, stations, vehicles, panel, detail };
}

async function fetchDistricts() {
  for (;;) {
    try {
      const answer = await fetch("/api/districts");
      if (answer.ok) return await answer.json();
    } catch {
      // the server is away; the page says "connecting" meanwhile
    }
    await new Promise((resolve) => setTimeout(resolve, 2_000));
  }
}

/** The running page, for tests and the curious. */
export const page = start();
