// map: Helsinki and its districts, drawn from GeoJSON; no tiles, nothing from elsewhere

import { h } from "./dom.js";
import { language, t } from "./i18n.js";
import { overlaps } from "./stations.js";
import { isOpen } from "./store.js";

const { L } = window;
const CITY = L.latLngBounds([60.135, 24.80], [60.285, 25.19]);
const SEA = "Aluemeri"; // the territorial sea is a district of its own
const LABEL_ROOM_PX = 8;

/** The map with its districts; stations and vehicles are layers of their own. */
export class CityMap {
  constructor(element, districts, { animate }) {
    this.map = L.map(element, {
      zoomControl: false, attributionControl: false, zoomSnap: 0.25, zoomDelta: 0.5, wheelPxPerZoomLevel: 120,
      minZoom: 9.5, maxZoom: 17, maxBounds: CITY.pad(1.5), zoomAnimation: animate, fadeAnimation: animate, markerZoomAnimation: animate,
    });
    this.animate = animate;
    this.fit(false);
    this.map.createPane("vehicles").style.zIndex = 450;
    this.map.createPane("places").style.zIndex = 420;
    this.names = [];
    this.taken = [];
    this.areas = L.geoJSON(districts, {
      style: (feature) => ({ className: feature.properties.code === SEA ? "district sea" : "district" }),
      onEachFeature: (feature, layer) => this.name(feature, layer),
    }).addTo(this.map);
    this.map.on("zoomend resize", () => this.placeNames());
    this.controls(element);
    this.relabel();
  }

  fit(animate = this.animate) {
    this.map.fitBounds(CITY, { animate, padding: [8, 8] });
  }

  flyTo(lat, lon) {
    const zoom = Math.max(this.map.getZoom(), 13.5);
    if (this.animate) this.map.flyTo([lat, lon], zoom, { duration: 0.8 });
    else this.map.setView([lat, lon], zoom, { animate: false });
  }

  name(feature, layer) {
    const text = h("span", { class: "district-name" });
    const icon = L.divIcon({ html: text, className: "district-label", iconSize: [0, 0] });
    const marker = L.marker(layer.getBounds().getCenter(), { icon, interactive: false, keyboard: false, pane: "places" });
    this.names.push({ feature, layer, marker, text });
  }

  /** Districts in the language of the page. */
  relabel() {
    for (const { feature, text } of this.names) {
      text.textContent = language() === "sv" ? feature.properties.name_sv : feature.properties.name_fi;
    }
    this.buttons.forEach(({ button, key }) => {
      button.setAttribute("aria-label", t(key));
      button.title = t(key);
    });
    this.map.getContainer().setAttribute("aria-label", t("map"));
    this.credit.textContent = t("sources");
    this.placeNames();
  }

  /** A name is shown where its district has room for it and no station needs the place. */
  placeNames(taken = this.taken) {
    this.taken = taken;
    for (const { feature, layer, marker, text } of this.names) {
      const bounds = layer.getBounds();
      const west = this.map.latLngToContainerPoint(bounds.getSouthWest());
      const east = this.map.latLngToContainerPoint(bounds.getNorthEast());
      const at = this.map.latLngToContainerPoint(bounds.getCenter());
      const half = text.textContent.length * 3.1 + LABEL_ROOM_PX / 2;
      const box = [at.x - half, at.y - 7, at.x + half, at.y + 7];
      const roomy = feature.properties.code !== SEA && east.x - west.x > 2 * half && west.y - east.y > 22;
      const fits = roomy && !taken.some((other) => overlaps(box, other));
      if (fits && !this.map.hasLayer(marker)) marker.addTo(this.map);
      if (!fits && this.map.hasLayer(marker)) marker.remove();
    }
  }

  /** Districts with an open alert are tinted. */
  tint(alerts) {
    const affected = new Set([...alerts].filter(isOpen).map((alert) => alert.district));
    for (const { feature, layer } of this.names) {
      const element = layer.getElement();
      const isAffected = affected.has(feature.properties.code);
      if (!element || element.classList.contains("affected") === isAffected) continue;
      element.classList.toggle("affected", isAffected);
      if (isAffected) layer.bringToFront(); // its whole outline, not just what the neighbours leave
    }
  }

  districtName(code) {
    const found = this.names.find(({ feature }) => feature.properties.code === code);
    return found ? found.text.textContent : null;
  }

  controls(element) {
    const button = (key, sign, onclick) => ({ key, button: h("button", { type: "button", onclick }, sign) });
    this.buttons = [
      button("zoom_in", "+", () => this.map.zoomIn()),
      button("zoom_out", "−", () => this.map.zoomOut()),
      button("home", "⌂", () => this.fit()),
    ];
    this.credit = h("p", { class: "credit" });
    element.parentElement.append(
      h("div", { class: "map-buttons" }, ...this.buttons.map(({ button: control }) => control)),
      this.credit,
    );
  }
}
