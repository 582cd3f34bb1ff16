// legend: what shapes, signs and colours mean

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { symbol } from "./stations.js";

const KINDS = ["air", "traffic", "weather"];
const DELAYS = ["early", "on_time", "late", "very_late"];

/** Draw the legend in the language of the page. */
export function drawLegend(root) {
  const wasOpen = root.querySelector("details")?.open ?? matchMedia("(min-width: 900px)").matches;
  const row = (title, ...items) => h("div", { class: "legend-row" }, h("span", { class: "legend-title" }, title), h("ul", {}, ...items));
  const kinds = KINDS.map((kind) => h("li", {}, symbol(kind, "ok", null), t(`kind_${kind}`)));
  const levels = [0, 1, 2, 3, 4].map((level) => h("li", { class: `swatch level-${level}`, title: t(`level_${level}`) }, t(`level_${level}`)));
  const delays = DELAYS.map((name) => h("li", { class: "delay-key", "data-delay": name }, t(name)));
  root.replaceChildren(
    h(
      "details", { open: wasOpen },
      h("summary", {}, t("legend")),
      h("ul", { class: "legend-kinds" }, ...kinds),
      row(t("value_levels"), ...levels),
      row(t("delays"), ...delays),
    ),
  );
}
