// vehicles: all of them on one canvas, gliding from one known position to the next

import { delay } from "./format.js";

const { L } = window;
const GLIDE_MS = 1_100; // a little more than the pause between two events, so that nobody stops in between
const JUMP_M = 400; // farther than this is a correction, not a drive
const REACH_PX = 14;
const LABEL_ZOOM = 13.5;

/** early, on_time, late, very_late or no_delay; bounds as in the settings of the stream processors, then six minutes. */
export function punctuality(delayS) {
  if (delayS === null) return "no_delay";
  if (delayS < -60) return "early";
  if (delayS <= 180) return "on_time";
  return delayS <= 360 ? "late" : "very_late";
}

export class VehicleLayer {
  constructor(map, { animate, onselect }) {
    this.map = map;
    this.animate = animate;
    this.onselect = onselect;
    this.tracks = new Map();
    this.selected = null;
    this.canvas = L.DomUtil.create("canvas", "vehicle-canvas", map.getPane("vehicles"));
    this.canvas.setAttribute("aria-hidden", "true"); // the list of vehicles says the same in words
    this.context = this.canvas.getContext("2d");
    this.frame = null;
    map.on("move viewreset resize zoomend", () => this.wake());
    map.on("zoomanim", () => this.canvas.classList.add("hidden"));
    map.on("zoomend", () => this.canvas.classList.remove("hidden"));
    map.on("click", (event) => this.click(event));
    map.on("mousemove", (event) => this.hover(event));
    document.addEventListener("visibilitychange", () => this.wake());
    this.readColours();
  }

  /** Colours come from the style sheet; asked again when the theme changes. */
  readColours() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    this.colours = Object.fromEntries(
      ["early", "on_time", "late", "very_late", "no_delay"].map((name) => [name, read(`--delay-${name.replaceAll("_", "-")}`)]),
    );
    this.halo = read("--paper");
    this.ink = read("--ink");
    this.wake();
  }

  update(vehicles, { glide = true } = {}) {
    const now = performance.now();
    for (const key of this.tracks.keys()) if (!vehicles.has(key)) this.tracks.delete(key);
    for (const [key, vehicle] of vehicles) {
      const track = this.tracks.get(key);
      if (track?.vehicle === vehicle) continue;
      const to = L.latLng(vehicle.lat, vehicle.lon);
      const from = track ? this.position(track, now) : to;
      const glides = glide && this.animate && track && from.distanceTo(to) < JUMP_M;
      this.tracks.set(key, { vehicle, from: glides ? from : to, to, began: now });
    }
    this.wake();
  }

  position(track, now) {
    const share = Math.min((now - track.began) / GLIDE_MS, 1);
    const { from, to } = track;
    return L.latLng(from.lat + (to.lat - from.lat) * share, from.lng + (to.lng - from.lng) * share);
  }

  /** Where a vehicle is drawn now, in pixels of the map; null when it is not there. */
  pointOf(key) {
    const track = this.tracks.get(key);
    return track ? this.map.latLngToContainerPoint(this.position(track, performance.now())) : null;
  }

  wake() {
    if (this.frame === null && !document.hidden) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = null;
    const size = this.map.getSize();
    const ratio = Math.min(devicePixelRatio || 1, 2);
    if (this.canvas.width !== size.x * ratio || this.canvas.height !== size.y * ratio) {
      this.canvas.width = size.x * ratio;
      this.canvas.height = size.y * ratio;
      this.canvas.style.width = `${size.x}px`;
      this.canvas.style.height = `${size.y}px`;
    }
    L.DomUtil.setPosition(this.canvas, this.map.containerPointToLayerPoint([0, 0]));
    const { context } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size.x, size.y);
    const now = performance.now();
    let moving = false;
    for (const [key, track] of this.tracks) {
      moving ||= now - track.began < GLIDE_MS && track.from !== track.to;
      const at = this.map.latLngToContainerPoint(this.position(track, now));
      if (at.x > -20 && at.y > -20 && at.x < size.x + 20 && at.y < size.y + 20) this.one(at, track.vehicle, key === this.selected);
    }
    if (moving) this.wake();
  }

  one(at, vehicle, selected) {
    const { context } = this;
    const zoom = this.map.getZoom();
    const size = Math.max(3.4, Math.min(7, (zoom - 8) * 1.15)) * (selected ? 1.5 : 1);
    context.save();
    context.translate(at.x, at.y);
    context.beginPath();
    if (vehicle.heading === null) {
      context.arc(0, 0, size * 0.75, 0, 2 * Math.PI);
    } else {
      context.rotate((vehicle.heading * Math.PI) / 180);
      context.moveTo(0, -size * 1.35);
      context.lineTo(size * 0.9, size);
      context.lineTo(0, size * 0.5);
      context.lineTo(-size * 0.9, size);
      context.closePath();
    }
    context.lineWidth = selected ? 4 : 2;
    context.lineJoin = "round";
    context.strokeStyle = selected ? this.ink : this.halo;
    context.stroke();
    context.fillStyle = this.colours[punctuality(vehicle.delay_s)];
    context.fill();
    context.restore();
    if (zoom >= LABEL_ZOOM || selected) this.label(at, vehicle, size);
  }

  label(at, vehicle, size) {
    const { context } = this;
    const late = vehicle.delay_s !== null && punctuality(vehicle.delay_s) !== "on_time";
    const text = [vehicle.line, late ? delay(vehicle.delay_s) : null].filter(Boolean).join(" ");
    context.font = "600 11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.lineWidth = 3;
    context.strokeStyle = this.halo;
    context.strokeText(text, at.x + size + 5, at.y);
    context.fillStyle = this.ink;
    context.fillText(text, at.x + size + 5, at.y);
  }

  nearest(point) {
    let best = null;
    let bestDistance = REACH_PX;
    for (const key of this.tracks.keys()) {
      const distance = this.pointOf(key).distanceTo(point);
      if (distance < bestDistance) [best, bestDistance] = [key, distance];
    }
    return best;
  }

  hover(event) {
    const key = this.nearest(event.containerPoint);
    this.map.getContainer().classList.toggle("over-vehicle", key !== null);
  }

  click(event) {
    const key = this.nearest(event.containerPoint);
    if (key !== null) this.onselect(key);
  }

  select(key) {
    this.selected = key;
    this.wake();
  }
}
