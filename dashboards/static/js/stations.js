// stations: one marker a station; shape says what it measures, a sign its state, colour how good the value is

import { h, s, setText } from "./dom.js";
import { number, unit } from "./format.js";
import { quantityName, t } from "./i18n.js";

const { L } = window;

// Each in a box of 24 by 24. A shape for each kind, so that colour is never the only sign.
const SHAPES = {
  air: "M12 3a9 9 0 1 1 0 18a9 9 0 0 1 0-18z",
  traffic: "M7 4h10a3 3 0 0 1 3 3v10a3 3 0 0 1-3 3H7a3 3 0 0 1-3-3V7a3 3 0 0 1 3-3z",
  weather: "M12 2.5l9.5 17.5h-19z",
  noise: "M12 2l9 5.2v9.6L12 22l-9-5.2V7.2z",
  system: "M12 2l10 10l-10 10L2 12z",
};
const SIGNS = { alert: "!", stale: "–", flagged: "?", ok: "" };
const PRIORITY = { alert: 0, flagged: 1, ok: 2, stale: 3 };

/** The drawing of a station, for the map, the lists and the legend. */
export function symbol(kind, state, level) {
  const children = [s("path", { d: SHAPES[kind] ?? SHAPES.system })];
  if (SIGNS[state]) children.push(s("text", { x: 12, y: kind === "weather" ? 18 : 16.5 }, SIGNS[state]));
  const classes = `symbol ${state} ${level === null ? "level-none" : `level-${level}`}`;
  return s("svg", { viewBox: "0 0 24 24", class: classes, "aria-hidden": "true", focusable: "false" }, ...children);
}

/** The value that stands for a station. */
export function headline(station) {
  return station.values.find((value) => value.series_id === station.headline) ?? station.values[0];
}

/** The sentence that a screen reader says for a station. */
export function describe(station) {
  const value = headline(station);
  const level = station.level === null ? "" : `, ${t(`level_${station.level}`)}`;
  const name = station.name || station.device_id;
  return `${name}: ${t(`state_${station.state}`)}, ${quantityName(value.quantity)} ${number(value.value)} ${unit(value.unit)}${level}`;
}

export class StationLayer {
  constructor(map, onselect) {
    this.map = map;
    this.onselect = onselect;
    this.markers = new Map();
    this.shown = () => true;
    this.onplaced = () => {}; // told which boxes of the map are taken
    map.on("zoomend moveend resize", () => this.placeLabels());
  }

  /** Bring the markers in line with the stations that pass the filter. */
  update(stations, shown = this.shown) {
    this.shown = shown;
    for (const [id, marker] of this.markers) {
      if (!stations.has(id) || !shown(stations.get(id))) {
        marker.remove();
        this.markers.delete(id);
      }
    }
    for (const station of stations.values()) {
      if (station.lat !== null && station.lon !== null && shown(station)) this.draw(station);
    }
    this.placeLabels();
  }

  draw(station) {
    let marker = this.markers.get(station.device_id);
    if (!marker) {
      const icon = L.divIcon({ html: h("span", { class: "station-box" }), className: "station", iconSize: [44, 44] });
      marker = L.marker([station.lat, station.lon], { icon, keyboard: true, riseOnHover: true });
      marker.on("click", () => this.onselect(station.device_id));
      marker.on("keypress", ({ originalEvent }) => originalEvent.key === "Enter" && this.onselect(station.device_id));
      marker.addTo(this.map);
      this.markers.set(station.device_id, marker);
    }
    marker.setLatLng([station.lat, station.lon]);
    marker.setZIndexOffset(station.state === "alert" ? 1_000 : 0);
    const element = marker.getElement();
    const look = `${station.kind} ${station.state} ${station.level}`;
    if (element.dataset.look !== look) {
      element.dataset.look = look;
      const label = h("span", { class: "station-value" });
      element.firstElementChild.replaceChildren(symbol(station.kind, station.state, station.level), label);
      element.dataset.state = station.state;
      element.dataset.device = station.device_id;
    }
    const value = headline(station);
    setText(element.querySelector(".station-value"), number(value.value));
    const words = describe(station);
    element.setAttribute("aria-label", words);
    element.title = words;
    element.setAttribute("role", "button");
    marker.station = station;
  }

  /** Labels by importance, each only where it covers no other label or marker of more weight. */
  placeLabels() {
    const size = this.map.getSize();
    const taken = [];
    const markers = [...this.markers.values()].map((marker) => ({ marker, at: this.map.latLngToContainerPoint(marker.getLatLng()) }));
    markers.sort((a, b) => PRIORITY[a.marker.station.state] - PRIORITY[b.marker.station.state] || kindOrder(a) - kindOrder(b));
    for (const { at } of markers) taken.push([at.x - 7, at.y - 7, at.x + 7, at.y + 7]);
    for (const { marker, at } of markers) {
      const text = marker.getElement().querySelector(".station-value");
      const inside = at.x > -40 && at.y > -20 && at.x < size.x + 40 && at.y < size.y + 20;
      const box = [at.x + 9, at.y - 8, at.x + 15 + text.textContent.length * 7, at.y + 8];
      const free = inside && !taken.some((other) => overlaps(box, other));
      marker.getElement().classList.toggle("unlabelled", !free);
      if (free) taken.push(box);
    }
    this.onplaced(taken);
  }

  select(id) {
    for (const [key, marker] of this.markers) marker.getElement().classList.toggle("selected", key === id);
  }
}

function kindOrder({ marker }) {
  return marker.station.kind === "air" ? 0 : 1;
}

export function overlaps(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
