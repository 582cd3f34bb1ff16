// chart: readings and rolling means over time, and the little one of rates; uPlot draws, we choose

import { h } from "./dom.js";
import { clock, number, unit } from "./format.js";
import { t } from "./i18n.js";

const { uPlot } = window;

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { ink: read("--ink"), muted: read("--muted"), line: read("--line"), accent: read("--accent"), band: read("--accent-soft"), alarm: read("--alarm") };
}

/** Points as uPlot wants them, with a hole where nothing came for long. */
export function columns(series) {
  if (!series.points.length) return windowColumns(series);
  const times = [];
  const values = [];
  const lows = [];
  const highs = [];
  const gaps = series.points.slice(1).map((point, i) => Date.parse(point.time) - Date.parse(series.points[i].time));
  const usual = [...gaps].sort((a, b) => a - b)[gaps.length >> 1] ?? Infinity;
  series.points.forEach((point, i) => {
    const time = Date.parse(point.time) / 1000;
    if (i > 0 && gaps[i - 1] > Math.max(usual * 4, 120_000)) push(times.at(-1) + 0.001, null, null, null);
    push(time, point.value, point.min, point.max);
  });
  return [times, values, lows, highs];

  function push(...row) {
    [times, values, lows, highs].forEach((column, i) => column.push(row[i]));
  }
}

/** What is computed and never read has only windows: each is a point at its end. */
function windowColumns(series) {
  const known = series.windows.filter((window) => window.value !== null);
  const times = known.map((window) => Date.parse(window.window_start) / 1000 + window.window_s);
  return [times, ...["value", "min", "max"].map((name) => known.map((window) => window[name]))];
}

/** The mean of the newest window that has ended at each point. */
function windowMeans(series, times) {
  const windows = series.windows
    .filter((window) => window.value !== null)
    .map((window) => [Date.parse(window.window_start) / 1000 + window.window_s, window.value, window.window_s])
    .sort((a, b) => a[0] - b[0]);
  let i = -1;
  return times.map((time) => {
    while (i + 1 < windows.length && windows[i + 1][0] <= time) i += 1;
    return i >= 0 && time - windows[i][0] < windows[i][2] ? windows[i][1] : null;
  });
}

/** Draw a series into `parent`; returns what takes it away again. */
export function drawSeries(parent, series, { threshold = null } = {}) {
  const [times, values, lows, highs] = columns(series);
  if (!times.length) {
    parent.replaceChildren(h("p", { class: "empty" }, t("no_readings")));
    return () => parent.replaceChildren();
  }
  const means = series.points.length ? windowMeans(series, times) : times.map(() => null);
  const limits = threshold === null ? null : times.map(() => threshold);
  const tint = colours();
  const readout = h("p", { class: "readout", "aria-hidden": "true" });
  const figure = h("div", { class: "chart", role: "img", "aria-label": summary(values, lows, highs, series.series.unit) });
  const axis = { stroke: tint.muted, font: "11px system-ui, sans-serif", grid: { stroke: tint.line, width: 1 }, ticks: { show: false } };
  const options = {
    width: Math.max(parent.clientWidth, 200),
    height: 190,
    padding: [10, 6, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 7, fill: tint.accent }, drag: { setScale: false } },
    scales: { x: { range: () => [Date.parse(series.start) / 1000, Date.parse(series.end) / 1000] } },
    axes: [
      { ...axis, size: 26, space: 64, grid: { show: false }, values: (_plot, ticks) => ticks.map((tick) => clock(tick * 1000)) },
      { ...axis, size: 44, space: 34, values: (_plot, ticks) => ticks.map((tick) => number(tick)) },
    ],
    series: [
      {},
      { stroke: tint.accent, width: 1.25, points: { show: values.length < 40, size: 4, fill: tint.accent }, label: t("reading") },
      { stroke: "transparent", points: { show: false } },
      { stroke: "transparent", points: { show: false } },
      { stroke: tint.ink, width: 2, points: { show: false }, label: t("window_mean") },
      { stroke: tint.alarm, width: 1.25, dash: [5, 4], points: { show: false } },
    ],
    bands: [{ series: [3, 2], fill: tint.band }],
    hooks: { setCursor: [(plot) => read(plot.cursor.idx)] },
  };
  const plot = new uPlot(options, [times, values, lows, highs, means, limits ?? times.map(() => null)], figure);
  const legend = h(
    "ul", { class: "chart-legend" },
    h("li", { class: "key-reading" }, t(series.points.length ? "reading" : "window_median")),
    means.some((mean) => mean !== null) && h("li", { class: "key-mean" }, t("window_mean")),
    limits && h("li", { class: "key-limit" }, t("threshold", { value: number(threshold) })),
  );
  parent.replaceChildren(readout, figure, legend);
  const observer = new ResizeObserver(() => plot.setSize({ width: Math.max(parent.clientWidth, 200), height: 190 }));
  observer.observe(parent);
  read(null);
  return () => {
    observer.disconnect();
    plot.destroy();
    parent.replaceChildren();
  };

  function read(index) {
    const at = index ?? values.length - 1;
    if (values[at] === null || values[at] === undefined) return;
    readout.textContent = `${clock(times[at] * 1000, { seconds: true })}   ${number(values[at])} ${unit(series.series.unit)}`;
  }
}

function summary(values, lows, highs, code) {
  const known = values.filter((value) => value !== null);
  return t("chart_summary", {
    n: known.length, min: number(Math.min(...lows.filter((low) => low !== null))), max: number(Math.max(...highs.filter((high) => high !== null))),
    last: number(known.at(-1)), unit: unit(code),
  });
}

/** The rates of the last minutes, small. */
export class Sparkline {
  constructor(element) {
    this.element = element;
    this.rebuild();
  }

  rebuild() {
    this.plot?.destroy();
    const tint = colours();
    const hidden = { show: false };
    this.plot = new uPlot(
      {
        width: 132, height: 30, padding: [3, 0, 2, 0], legend: hidden, cursor: hidden,
        axes: [hidden, hidden],
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(high ?? 1, 1) * 1.05] } },
        series: [{}, { stroke: tint.accent, width: 1.5, fill: tint.band, points: hidden }],
      },
      [[], []],
      this.element,
    );
  }

  update(history) {
    const known = history.filter(([, readings]) => readings !== null).slice(-180);
    this.plot.setData([known.map(([time]) => time), known.map(([, readings]) => readings)]);
  }
}
