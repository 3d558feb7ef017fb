// Bars of sessions over time: a range is dragged over them, or set by two sliders; it becomes the address.
import { local } from "./zone.js";

const MOVED_PX = 5;

function iso(ms) {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}

function words(ms) {
  return local(ms).slice(0, 16).replace("T", " ");
}

class Bars {
  constructor(figure) {
    this.edges = figure.dataset.edges.split(" ").map(Number);
    // Above a list of something else it is that list whose range is set.
    this.list = figure.closest("[data-list]:not(.bars)")?.dataset.list ?? figure.dataset.list;
    this.svg = figure.querySelector("svg");
    this.mark = figure.querySelector(".chosen");
    this.from = figure.querySelector(".bars-from");
    this.to = figure.querySelector(".bars-to");
    this.output = figure.querySelector("output");
    this.width = this.svg.viewBox.baseVal.width / (this.edges.length - 1);
    figure.querySelector(".bars-range").hidden = this.edges.length < 3;
    this.svg.addEventListener("pointerdown", (event) => this.begin(event));
    // A bar is a link, which the browser would take for the focus, and drag by itself.
    this.svg.addEventListener("mousedown", (event) => event.preventDefault());
    this.svg.addEventListener("dragstart", (event) => event.preventDefault());
    for (const slider of [this.from, this.to]) {
      slider.addEventListener("input", () => this.slide(slider));
      slider.addEventListener("keydown", (event) => { if (event.key === "Enter") this.go(); });
    }
    figure.querySelector("button").addEventListener("click", () => this.go());
    this.tell();
  }

  begin(event) {
    if (event.button !== 0) return;
    const first = this.bucket(event), startX = event.clientX;
    let moved = false;
    const stop = new AbortController();
    const on = (name, act, where = window) => where.addEventListener(name, act, { signal: stop.signal, capture: true });
    on("pointermove", (move) => {
      moved ||= Math.abs(move.clientX - startX) > MOVED_PX;
      if (!moved) return;
      const now = this.bucket(move);
      this.choose(Math.min(first, now), Math.max(first, now) + 1);
    });
    on("pointerup", () => {
      stop.abort();
      if (!moved) return;
      // The bar under the pointer is a link, and is not meant.
      window.addEventListener("click", (click) => { click.preventDefault(); click.stopPropagation(); }, { capture: true, once: true });
      this.go();
    });
    // The page is being scrolled, or somebody thought better of it.
    const leave = () => { stop.abort(); this.choose(0, this.edges.length - 1); };
    on("pointercancel", leave);
    on("keydown", (key) => { if (key.key === "Escape") leave(); });
  }

  bucket(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.max(0, Math.min(this.edges.length - 2, Math.floor(share * (this.edges.length - 1))));
  }

  slide(slider) {
    // A range has a length: the other slider gives way.
    if (this.to.valueAsNumber <= this.from.valueAsNumber) {
      if (slider === this.from) this.to.value = this.from.valueAsNumber + 1;
      else this.from.value = this.to.valueAsNumber - 1;
    }
    this.tell();
  }

  choose(from, to) {
    this.from.value = from;
    this.to.value = to;
    this.tell();
  }

  tell() {
    const from = this.from.valueAsNumber, to = this.to.valueAsNumber;
    const isWhole = from === 0 && to === this.edges.length - 1;
    this.mark.setAttribute("x", from * this.width);
    this.mark.setAttribute("width", isWhole ? 0 : (to - from) * this.width);
    this.from.setAttribute("aria-valuetext", words(this.edges[from]));
    this.to.setAttribute("aria-valuetext", words(this.edges[to]));
    this.output.textContent = `${words(this.edges[from])} – ${words(this.edges[to])}`;
  }

  go() {
    const address = new URL(this.list, location.href);
    address.searchParams.set("from", iso(this.edges[this.from.valueAsNumber]));
    address.searchParams.set("to", iso(this.edges[this.to.valueAsNumber]));
    location.assign(address);
  }
}

function setUp() {
  for (const figure of document.querySelectorAll(".bars:not([data-ready])")) {
    figure.dataset.ready = "";
    new Bars(figure);
  }
}

setUp();
// They may come after the page.
const place = document.getElementById("counts");
if (place) new MutationObserver(setUp).observe(place, { childList: true });
