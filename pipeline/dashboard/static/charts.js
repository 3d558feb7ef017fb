// Draws each table marked `data-chart` as lines over time. The table stays beside it, for reading.
import uPlot from "./vendor/uplot/uPlot.esm.js";
import { axisTexts, colour } from "./lanes.js";
import { local, zone } from "./zone.js";

// Red means trouble elsewhere, and says nothing here; a line is told by its dashes too, as the legend shows.
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6", "--lane-other"];
const DASHES = [[], [7, 4], [2, 3]];
const BORDERS = ["solid", "dashed", "dotted"];
const SECOND = 1e3, MINUTE = 6e4, HOUR = 36e5, DAY = 864e5;
const STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 20 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE,
  5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, DAY];
const HEIGHT_PX = 220;
const DAY_S = 86400;

const FORMS = {
  share: (value) => `${+(100 * value).toFixed(2)} %`,
  ms: (value) => (value < SECOND ? `${Math.round(value)} ms` : value < MINUTE ? `${+(value / SECOND).toFixed(1)} s`
    : value < HOUR ? minutes(Math.round(value / SECOND)) : `${+(value / HOUR).toFixed(1)} h`),
  count: (value) => (Number.isInteger(value) || value >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(2))),
};

// Sessions and records come whole.
const STEPS = { ms: STEPS_MS, count: [1, 2, 5].concat(...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((power) => [1, 2, 5].map((step) => step * 10 ** power))) };

function minutes(seconds) {
  return `${Math.floor(seconds / 60)} min${seconds % 60 ? ` ${seconds % 60} s` : ""}`;
}

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
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), zone),
    cursor: { y: false },
    legend: { markers: { width: 3, dash: (_, index) => BORDERS[(index - 1) % BORDERS.length] } },
    scales: { x: { range: (_, min, max) => (data[0].length === 1 ? [data[0][0] - DAY_S, data[0][0] + DAY_S] : [min, max]) }, y: { range: (_, min, max) => bounds(figure.dataset.chart, min, max) } },
    axes: [
      { stroke: text, grid, ticks: grid, size: 50, space: 64, values: axisTexts },
      { stroke: text, grid, ticks: grid, size: 80, values: (_, splits) => splits.map(write), ...(STEPS[figure.dataset.chart] ? { incrs: STEPS[figure.dataset.chart] } : {}) },
    ],
    series: [
      { label: "From", value: (_, at) => (at == null ? "" : local(at * 1e3).slice(0, 16).replace("T", " ")) },
      ...names.map((label, index) => ({
        label, width: 2, spanGaps: true, stroke: colour(COLOURS[index % COLOURS.length]),
        dash: DASHES[index % DASHES.length], points: { show: data[0].length < 40, size: 6 },
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
