// The user timeline: an overview of the sessions on the page, and older ones added as one scrolls on.
import { Lanes } from "./lanes.js";

const container = document.getElementById("chart");
const groups = document.getElementById("groups");
const loading = document.getElementById("loading");
const LANES = [{ key: "problem", label: "Problems" }, { key: "foreground", label: "Foreground" }, { key: "background", label: "Background" }];

/** What the page shows, read from it. */
function read() {
  const spans = [];
  const marks = [];
  const bounds = new Map();
  for (const member of groups.querySelectorAll("li[data-start]")) {
    const [from, to] = [Number(member.dataset.start), Number(member.dataset.end)];
    const link = member.querySelector("a");
    const text = member.innerText.replace(/\s+/g, " ");
    const colour = member.dataset.state === "foreground" ? "--lane-network" : "--lane-other";
    spans.push({ from, to, lane: member.dataset.state, text, colour, href: link.href });
    if (member.dataset.problem) marks.push({ at: to, lane: "problem", text, fault: true, href: link.href });
    const id = member.closest("[data-group]").dataset.group;
    const known = bounds.get(id) ?? { from, to };
    bounds.set(id, { from: Math.min(known.from, from), to: Math.max(known.to, to) });
  }
  marks.sort((a, b) => a.at - b.at);
  return { lanes: LANES, marks, spans, groups: [...bounds.values()], lines: [] };
}

async function addOlder(link) {
  link.setAttribute("aria-disabled", "true");
  loading.textContent = "Loading older sessions…";
  const answer = await fetch(link.href);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  // A page of our own, escaped by the server; what is parsed here runs no script.
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const added = page.getElementById("groups");
  const count = added?.querySelectorAll("li[data-start]").length ?? 0;
  for (const again of added?.querySelectorAll("article[id]") ?? []) {
    // The part on the page before bears these ids already.
    if (!document.getElementById(again.id)) continue;
    again.removeAttribute("id");
    again.removeAttribute("aria-labelledby");
    again.querySelector("h3").removeAttribute("id");
  }
  if (added) groups.append(...added.childNodes);
  const next = page.getElementById("older");
  if (next) link.href = next.href;
  else link.closest("nav").remove();
  link.removeAttribute("aria-disabled");
  lanes.set(read());
  loading.textContent = `${count} older sessions added.`;
}

let busy = false;
async function more(link) {
  if (busy) return;
  busy = true;
  try {
    await addOlder(link);
  } catch (error) {
    loading.textContent = `Older sessions could not be loaded: ${error.message}`;
  } finally {
    busy = false;
  }
}

let lanes = null;
if (container) {
  lanes = new Lanes(container, read(), {
    label: "Sessions over time, which are also listed below.",
    onOpen: (item) => location.assign(item.href),
  });
  const older = document.getElementById("older");
  if (older) {
    older.addEventListener("click", (event) => {
      event.preventDefault();
      more(older);
    });
    new IntersectionObserver((seen) => {
      if (seen.some((each) => each.isIntersecting)) more(older);
    }, { rootMargin: "300px" }).observe(older);
  }
}
