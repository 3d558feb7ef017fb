// A timeline in lanes: marks and spans over time, with zoom, hover and keys. Drawn with uPlot's axes and scales.
import uPlot from "./vendor/uplot/uPlot.esm.js";
import { zone } from "./zone.js";

const LANE_PX = 26;
const AXIS_PX = 58;
const REACH_PX = 12;
const SHORTEST_MS = 50;

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const inZone = (seconds) => uPlot.tzDate(new Date(seconds * 1e3), zone);

/**
 * lanes: [{key, label}], from the top. marks: [{at, lane, text, fault?, hollow?, match?}] in order of time.
 * spans: [{from, to, lane, text, colour, thin?}]. groups: [{from, to}], drawn around all lanes. lines: [{at, text}].
 * Times are Unix milliseconds. onOpen(item) is called for a click on a mark or span.
 */
export class Lanes {
  constructor(container, data, { label, onOpen }) {
    this.container = container;
    this.onOpen = onOpen;
    this.hidden = new Set();
    this.hovered = null;
    container.hidden = false;
    this.plotted = container.appendChild(document.createElement("div"));
    this.plotted.className = "chart-plot";
    this.plotted.tabIndex = 0;
    this.plotted.setAttribute("role", "group");
    this.plotted.setAttribute("aria-label", `${label} Arrow keys move, plus and minus zoom, 0 shows all.`);
    this.tip = container.appendChild(document.createElement("div"));
    this.tip.className = "chart-tip";
    this.tip.hidden = true;
    container.append(this.tools());
    this.set(data);
    this.listen();
  }

  /** Other data; what is zoomed to stays if it still lies within. */
  set(data) {
    const kept = this.plot && !this.isWhole() ? this.view : null;
    this.data = data;
    const times = [...data.marks.map((m) => m.at), ...data.spans.flatMap((s) => [s.from, s.to]), ...data.lines.map((l) => l.at)];
    const first = times.reduce((a, b) => Math.min(a, b), Infinity);
    const last = times.reduce((a, b) => Math.max(a, b), -Infinity);
    const margin = Math.max((last - first) * 0.02, 250);
    this.range = [(first - margin) / 1e3, (last + margin) / 1e3];
    this.view = kept ?? this.range;
    this.draw();
  }

  hide(keys) {
    this.hidden = new Set(keys);
    this.draw();
  }

  lanes() {
    const used = new Set([...this.data.marks, ...this.data.spans].map((item) => item.lane));
    return this.data.lanes.filter((lane) => used.has(lane.key) && !this.hidden.has(lane.key));
  }

  draw() {
    const view = this.view;
    this.plot?.destroy();
    this.shown = this.lanes();
    this.place = new Map(this.shown.map((lane, index) => [lane.key, this.shown.length - 1 - index]));
    const text = colour("--text");
    const grid = { stroke: colour("--line"), width: 1 };
    const count = Math.max(1, this.shown.length);
    this.plot = new uPlot(
      {
        width: this.width(),
        height: (count + this.headroom()) * LANE_PX + AXIS_PX,
        padding: [8, 34, 0, 0],
        tzDate: inZone,
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: true, y: false } },
        scales: { x: { time: true, range: (_, min, max) => [min, max] }, y: { range: [-0.5, count - 0.5 + this.headroom()] } },
        axes: [
          { stroke: text, grid, ticks: grid, size: 50, space: 64, values: axisTexts },
          {
            stroke: text, grid: { show: false }, ticks: { show: false }, size: this.width() < 480 ? 78 : 96,
            splits: () => this.shown.map((_, index) => index),
            values: (_, splits) => splits.map((at) => this.shown[this.shown.length - 1 - at]?.label ?? ""),
          },
        ],
        series: [{}, { paths: () => null, points: { show: false } }],
        hooks: { draw: [(plot) => this.paint(plot)], setCursor: [(plot) => this.hover(plot)], setScale: [(plot, key) => this.remember(plot, key)] },
      },
      [this.range, [0, 0]],
      this.plotted,
    );
    this.plot.root.setAttribute("aria-hidden", "true");
    this.plot.setScale("x", { min: view[0], max: view[1] });
  }

  /** In lanes: where the words beside a line stand. */
  headroom() {
    return this.data.lines.length ? 0.5 : 0;
  }

  remember(plot, key) {
    if (key === "x" && plot === this.plot) this.view = [plot.scales.x.min, plot.scales.x.max];
  }

  paint(plot) {
    const { ctx, bbox } = plot;
    const ratio = uPlot.pxRatio;
    const x = (ms) => plot.valToPos(ms / 1e3, "x", true);
    const y = (lane) => plot.valToPos(this.place.get(lane), "y", true);
    const shown = (item) => this.place.has(item.lane);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineWidth = ratio;
    for (const group of this.data.groups) {
      ctx.fillStyle = colour("--accent-soft");
      ctx.fillRect(x(group.from) - 3 * ratio, bbox.top, x(group.to) - x(group.from) + 6 * ratio, bbox.height);
      ctx.strokeStyle = colour("--lane-other");
      ctx.setLineDash([3 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x(group.from), bbox.top + bbox.height / 2);
      ctx.lineTo(x(group.to), bbox.top + bbox.height / 2);
      ctx.stroke();
      ctx.setLineDash([]);
    }
    for (const span of this.data.spans.filter(shown)) {
      ctx.fillStyle = colour(span.colour);
      const width = Math.max(2 * ratio, x(span.to) - x(span.from));
      const half = (span.thin ? 2.5 : 7) * ratio;
      ctx.fillRect(x(span.from), y(span.lane) - half, width, 2 * half);
    }
    for (const line of this.data.lines) {
      ctx.strokeStyle = ctx.fillStyle = colour("--text");
      ctx.beginPath();
      ctx.moveTo(x(line.at), bbox.top);
      ctx.lineTo(x(line.at), bbox.top + bbox.height);
      ctx.stroke();
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.textAlign = x(line.at) > bbox.left + bbox.width / 2 ? "right" : "left";
      ctx.fillText(line.text, x(line.at) + (ctx.textAlign === "right" ? -4 : 4) * ratio, bbox.top + 10 * ratio);
    }
    for (const mark of this.data.marks) if (shown(mark)) this.paintMark(ctx, mark, x(mark.at), y(mark.lane), ratio);
    const ringed = this.data.marks.filter((mark) => mark.match || mark === this.hovered);
    for (const mark of ringed) if (shown(mark)) this.ring(ctx, x(mark.at), y(mark.lane), ratio);
    ctx.restore();
  }

  ring(ctx, x, y, ratio) {
    ctx.strokeStyle = colour("--text");
    ctx.lineWidth = 2 * ratio;
    ctx.beginPath();
    ctx.arc(x, y, 8 * ratio, 0, 2 * Math.PI);
    ctx.stroke();
  }

  paintMark(ctx, mark, x, y, ratio) {
    const size = (mark.fault ? 5.5 : 4) * ratio;
    ctx.beginPath();
    if (mark.fault) {
      // A shape of its own, so that a failure is seen without its colour.
      ctx.moveTo(x, y - size);
      ctx.lineTo(x + size, y);
      ctx.lineTo(x, y + size);
      ctx.lineTo(x - size, y);
      ctx.closePath();
    } else {
      ctx.arc(x, y, size, 0, 2 * Math.PI);
    }
    ctx.fillStyle = ctx.strokeStyle = mark.fault ? colour("--lane-problem") : colour(`--lane-${mark.lane}`);
    ctx.lineWidth = 1.5 * ratio;
    if (mark.hollow) ctx.stroke();
    else ctx.fill();
  }

  /** The mark or span under the pointer. */
  at(left, top) {
    if (left == null || left < 0) return null;
    const lane = this.shown[this.shown.length - 1 - Math.round(this.plot.posToVal(top, "y"))]?.key;
    const ms = this.plot.posToVal(left, "x") * 1e3;
    const reach = (this.plot.posToVal(left + REACH_PX, "x") - this.plot.posToVal(left, "x")) * 1e3;
    let best = null;
    for (const mark of this.data.marks) {
      const away = Math.abs(mark.at - ms);
      if (mark.lane === lane && away <= reach && (!best || away <= Math.abs(best.at - ms))) best = mark;
    }
    return best ?? this.data.spans.find((s) => s.lane === lane && s.from - reach <= ms && ms <= s.to + reach) ?? null;
  }

  hover(plot) {
    const { left, top } = plot.cursor;
    const found = this.at(left, top);
    if (found !== this.hovered) {
      this.hovered = found;
      plot.redraw(false);
    }
    this.tip.hidden = !found;
    plot.over.style.cursor = found ? "pointer" : "crosshair";
    if (!found) return;
    this.tip.textContent = found.text;
    const x = plot.over.offsetLeft + left;
    const limit = this.container.clientWidth - this.tip.offsetWidth - 4;
    this.tip.style.left = `${Math.max(0, Math.min(x + 14, limit))}px`;
    this.tip.style.top = `${plot.over.offsetTop + top + 18}px`;
  }

  tools() {
    const bar = document.createElement("div");
    bar.className = "chart-tools";
    const actions = [["←", "Earlier", () => this.move(-0.3)], ["→", "Later", () => this.move(0.3)], ["+", "Zoom in", () => this.zoom(0.5)],
      ["−", "Zoom out", () => this.zoom(2)], ["All", "Show all", () => this.whole()]];
    for (const [sign, label, action] of actions) {
      const button = bar.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = sign;
      button.title = label;
      if (sign !== "All") button.setAttribute("aria-label", label);
      button.addEventListener("click", action);
    }
    const hint = bar.appendChild(document.createElement("span"));
    hint.className = "faint";
    hint.textContent = matchMedia("(pointer: coarse)").matches ? "Pinch to zoom, swipe to move" : "Drag to zoom";
    return bar;
  }

  listen() {
    const keys = { ArrowLeft: () => this.move(-0.2), ArrowRight: () => this.move(0.2), "+": () => this.zoom(0.5), "=": () => this.zoom(0.5),
      "-": () => this.zoom(2), 0: () => this.whole() };
    this.plotted.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    this.plotted.addEventListener("click", (event) => {
      const over = this.plot.over.getBoundingClientRect();
      const found = this.at(event.clientX - over.left, event.clientY - over.top);
      if (found) this.onOpen(found);
    });
    this.plotted.addEventListener("wheel", (event) => {
      // Plain scrolling belongs to the page.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.plot.posToVal(this.plot.cursor.left, "x"));
    }, { passive: false });
    this.listenToFingers();
    new ResizeObserver(() => {
      if (Math.abs(this.plot.width - this.width()) > 1) this.draw();
    }).observe(this.container);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(true));
  }

  /** One finger moves, two zoom; up and down belongs to the page (touch-action). */
  listenToFingers() {
    const fingers = new Map();
    const apart = () => {
      const [one, other] = fingers.values();
      return other === undefined ? 0 : Math.abs(one - other);
    };
    this.plotted.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") fingers.set(event.pointerId, event.clientX);
    });
    this.plotted.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      const [from, before] = [fingers.get(event.pointerId), apart()];
      fingers.set(event.pointerId, event.clientX);
      if (fingers.size === 1) this.move((from - event.clientX) / this.plot.over.clientWidth);
      else if (before && apart()) this.zoom(before / apart());
    });
    for (const type of ["pointerup", "pointercancel"]) this.plotted.addEventListener(type, (event) => fingers.delete(event.pointerId));
  }

  width() {
    return Math.max(200, this.container.clientWidth);
  }

  isWhole() {
    return this.view[0] <= this.range[0] && this.view[1] >= this.range[1];
  }

  whole() {
    this.plot.setScale("x", { min: this.range[0], max: this.range[1] });
  }

  zoom(factor, around = (this.view[0] + this.view[1]) / 2) {
    const [min, max] = this.view;
    if ((max - min) * factor < SHORTEST_MS / 1e3) return;
    this.show(around - (around - min) * factor, around + (max - around) * factor);
  }

  move(share) {
    const [min, max] = this.view;
    const step = (max - min) * share;
    this.show(min + step, max + step);
  }

  /** A range in seconds, kept within what there is. */
  show(min, max) {
    const [first, last] = this.range;
    const length = Math.min(max - min, last - first);
    const start = Math.min(Math.max(min, first), last - length);
    this.plot.setScale("x", { min: start, max: start + length });
  }
}

/** Times on the axis: as fine as their distance asks for. */
export function axisTexts(_, splits, __, ___, step) {
  const form = step >= 300 * 86400 ? { year: "numeric" } : step >= 86400 ? { day: "numeric", month: "short" } : step >= 60 ? { hour: "2-digit", minute: "2-digit" }
    : step >= 1 ? { hour: "2-digit", minute: "2-digit", second: "2-digit" }
    : { minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 };
  const write = new Intl.DateTimeFormat("en-GB", { ...form, timeZone: zone });
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: zone });
  let before = "";
  return splits.map((at) => {
    const date = new Date(at * 1e3);
    const first = day.format(date) !== before;
    before = day.format(date);
    return first && step < 86400 ? `${write.format(date)}\n${before}` : write.format(date);
  });
}
