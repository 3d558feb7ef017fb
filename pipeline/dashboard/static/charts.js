// Draws each table marked `data-chart` as lines over time. The table stays beside it, for reading.
import uPlot from "./vendor/uplot/uPlot.esm.js";
import { axisTexts, colour } from "./lanes.js";

const COLOURS = ["--lane-network", "--lane-problem", "--lane-view", "--lane-tap", "--lane-log", "--lane-lifecycle", "--lane-other"];
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];
const HEIGHT_PX = 220;
const DAY_S = 86400;

const FORMS = {
  share: (value) => (value === 1 ? "100 %" : `${(100 * value).toFixed(2)} %`),
  ms: (value) => (value < 1e3 ? `${Math.round(value)} ms` : value < 6e4 ? `${+(value / 1e3).toFixed(1)} s` : `${+(value / 6e4).toFixed(1)} min`),
  count: (value) => (Number.isInteger(value) || value >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(2))),
};

function read(figure) {
  const rows = [...figure.querySelectorAll("details tbody tr")];
  const names = [...figure.querySelectorAll("details thead th")].slice(1).map((cell) => cell.textContent);
  const times = rows.map((row) => Number(row.querySelector("[data-at]").dataset.at) / 1e3);
  const lines = names.map((_, index) => rows.map((row) => {
    const text = row.querySelectorAll("[data-value]")[index].dataset.value;
    return text === "" ? null : Number(text);
  }));
  return { names, data: [times, ...lines] };
}

export function draw(figure) {
  const place = figure.querySelector(".chart");
  const { names, data } = read(figure);
  if (data[0].length === 0) return;
  const form = FORMS[figure.dataset.chart];
  const write = (value) => (value == null ? "" : form(value));
  place.hidden = false;
  place.replaceChildren();
  const text = colour("--text");
  const grid = { stroke: colour("--line"), width: 1 };
  const plot = new uPlot({
    width: Math.max(200, place.clientWidth),
    height: HEIGHT_PX,
    padding: [8, 30, 0, 0],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "UTC"),
    cursor: { y: false },
    scales: { x: { range: (_, min, max) => (min === max ? [min - DAY_S, max + DAY_S] : [min, max]) }, y: { range: (_, min, max) => bounds(figure.dataset.chart, min, max) } },
    axes: [
      { stroke: text, grid, ticks: grid, size: 50, space: 64, values: axisTexts },
      { stroke: text, grid, ticks: grid, size: 72, values: (_, splits) => splits.map(write) },
    ],
    series: [
      { label: "From", value: (_, at) => (at == null ? "" : new Date(at * 1e3).toISOString().slice(0, 16).replace("T", " ")) },
      ...names.map((label, index) => ({
        label, width: 2, spanGaps: true, stroke: colour(COLOURS[index % COLOURS.length]),
        dash: DASHES[Math.floor(index / 2) % DASHES.length], points: { show: data[0].length < 40, size: 6 },
        value: (_, value) => write(value),
      })),
    ],
  }, data, place);
  plot.root.querySelector("canvas").setAttribute("aria-hidden", "true");
  figure.plot = plot;
}

/** Room around a line that is flat; shares never beyond one. */
function bounds(unit, min, max) {
  if (min == null) return [0, 1];
  const margin = (max - min) * 0.08 || Math.abs(max) * 0.05 || 1;
  const top = unit === "share" ? Math.min(1.002, max + margin) : max + margin;
  return [Math.max(0, unit === "share" ? min - margin : 0), top];
}

const figures = [...document.querySelectorAll("[data-chart]")];
for (const figure of figures) {
  draw(figure);
  new ResizeObserver(() => {
    const place = figure.querySelector(".chart");
    if (figure.plot && Math.abs(figure.plot.width - place.clientWidth) > 1) figure.plot.setSize({ width: place.clientWidth, height: HEIGHT_PX });
  }).observe(figure);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => figures.forEach(draw));
